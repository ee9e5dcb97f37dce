"""The store for more than one machine: PostgreSQL, shared by any number of processes."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from raincheck.core.clock import DAY, Clock
from raincheck.core.webhooks import DELIVERY_LOG_KEPT
from raincheck.store.postgres.batches import PostgresBatches
from raincheck.store.postgres.changes import PostgresChanges
from raincheck.store.postgres.database import connect
from raincheck.store.postgres.deliveries import PostgresDeliveries
from raincheck.store.postgres.endpoints import PostgresEndpoints
from raincheck.store.postgres.files import PostgresFiles
from raincheck.store.postgres.leases import PostgresLeases
from raincheck.store.postgres.registry import PostgresRegistry
from raincheck.store.postgres.requests import PostgresRequests
from raincheck.store.postgres.strays import PostgresStrays
from raincheck.store.postgres.upkeep import PostgresBlobs, PostgresUpkeep
from raincheck.store.protocol import Store


@asynccontextmanager
async def open_store(
    url: str, *, clock: Clock | None = None, retention: int = 7 * DAY, log_retention: int = DELIVERY_LOG_KEPT
) -> AsyncGenerator[Store]:
    """Connect, creating and migrating the tables as needed, and let go at the end.

    `retention` is how long (microseconds) a result is kept after the end, `log_retention` how long deliveries are kept
    after what they tell of. Without a `clock` the database's own decides,
    which all workers share. Raises StoreUnavailable when the database cannot be reached or written, SchemaTooNew when
    a newer Raincheck has changed it.
    """
    database = await connect(url, clock)
    try:
        async with PostgresChanges(database).running() as changes:
            yield Store(
                requests=PostgresRequests(database, retention=retention),
                leases=PostgresLeases(database, retention=retention),
                strays=PostgresStrays(database),
                files=PostgresFiles(database),
                batches=PostgresBatches(database, retention=retention),
                endpoints=PostgresEndpoints(database),
                deliveries=PostgresDeliveries(database),
                registry=PostgresRegistry(database),
                upkeep=PostgresUpkeep(database, retention=retention, log_retention=log_retention),
                blobs=PostgresBlobs(database),
                changes=changes,
            )
    finally:
        await database.close()

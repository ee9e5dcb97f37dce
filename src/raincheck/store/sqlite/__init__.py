"""The embedded store: one SQLite file, owned by one process."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from raincheck.core.clock import DAY, Clock
from raincheck.core.webhooks import DELIVERY_LOG_KEPT
from raincheck.store.protocol import Store
from raincheck.store.sqlite.batches import SqliteBatches
from raincheck.store.sqlite.changes import SqliteChanges
from raincheck.store.sqlite.database import Database
from raincheck.store.sqlite.deliveries import SqliteDeliveries
from raincheck.store.sqlite.endpoints import SqliteEndpoints
from raincheck.store.sqlite.files import SqliteFiles
from raincheck.store.sqlite.leases import SqliteLeases
from raincheck.store.sqlite.registry import SqliteRegistry
from raincheck.store.sqlite.requests import SqliteRequests
from raincheck.store.sqlite.strays import SqliteStrays
from raincheck.store.sqlite.upkeep import SqliteBlobs, SqliteUpkeep


@asynccontextmanager
async def open_store(
    path: str | Path,
    *,
    clock: Clock,
    retention: int = 7 * DAY,
    log_retention: int = DELIVERY_LOG_KEPT,
    own: bool = True,
) -> AsyncGenerator[Store]:
    """Open the file, creating and migrating it as needed, and close it at the end.

    `retention` is how long (microseconds) a result is kept after the end, `log_retention` how long deliveries are kept
    after what they tell of. With `own` the file is locked against other
    servers (StoreTaken), and what an earlier owner left running is up for claims at once: it can only be dead. Without,
    short work beside a running server is possible, such as making an API key. Raises
    StoreUnavailable when the file cannot be written, SchemaTooNew when a newer Raincheck has changed it.
    """
    database = Database(Path(path), clock, own=own)
    leases = SqliteLeases(database, retention=retention)
    try:
        if own:
            await leases.take_back()
        yield Store(
            requests=SqliteRequests(database, retention=retention),
            leases=leases,
            strays=SqliteStrays(database),
            files=SqliteFiles(database),
            batches=SqliteBatches(database, retention=retention),
            endpoints=SqliteEndpoints(database),
            deliveries=SqliteDeliveries(database),
            registry=SqliteRegistry(database),
            upkeep=SqliteUpkeep(database, retention=retention, log_retention=log_retention),
            blobs=SqliteBlobs(database),
            changes=SqliteChanges(database),
        )
    finally:
        await database.close()

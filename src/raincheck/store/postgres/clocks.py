"""A store's URL in, how far this machine's clock is from the one that all workers go by out."""

# asyncpg ships hardly any types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from raincheck.core.clock import SECOND, now
from raincheck.store.postgres.address import CONNECT_WITHIN, parse
from raincheck.store.postgres.outages import FAILURES, unopened

LEEWAY = 2 * SECOND
"""What two clocks may differ by before it is spoken of."""


async def lag(url: str) -> int:
    """By how many microseconds this machine's clock is behind the database's; below 0 when it is ahead. Raises
    StoreUnavailable, SettingsInvalid."""
    address = parse(url)
    try:
        connection = await address.connect(command_timeout=CONNECT_WITHIN, statement_cache_size=0)
        try:
            before = now()
            theirs: int = await connection.fetchval("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
            return theirs - (before + now()) // 2
        finally:
            await connection.close(timeout=CONNECT_WITHIN)
    except FAILURES as error:
        raise unopened(error, address.place) from error

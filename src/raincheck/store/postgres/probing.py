"""A store's URL in, what is dangerous or slow about the server behind it out, in words for `raincheck check`."""

# asyncpg ships hardly any types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from contextlib import AsyncExitStack
from secrets import token_hex
from typing import Any

import asyncpg

from raincheck.store.postgres.address import CONNECT_WITHIN, Address, parse
from raincheck.store.postgres.migrating import refuse_old
from raincheck.store.postgres.outages import FAILURES, unopened

HEARD_WITHIN = 2.0
"""Seconds for a notification to come back to its sender."""
LOSES = "{} is off there: what was accepted can be lost, or all of it damaged, when its machine fails. Switch it on."
READ_ONLY = "The store is read-only, as a standby is: nothing can be accepted. Name the primary in its URL."
DEAF = (
    "Notifications of the store do not come through, as behind a transaction pooler: workers on other machines find "
    "new requests only when they look again. Name the server itself in its URL, or a pool in session mode."
)
FORGETFUL = (
    "A pooler stands between that knows no prepared statements: add statement_cache_size=0 to the store's URL, or "
    "switch them on there (max_prepared_statements of PgBouncer 1.21 and later)."
)


async def probe(url: str) -> list[str]:
    """What to change or to know, a sentence or two each. Nothing is written. Raises SettingsInvalid and
    StoreUnavailable when the server cannot be reached or used."""
    address = parse(url)
    try:
        async with AsyncExitStack() as stack:
            return await _look(address, stack)
    except FAILURES as error:
        raise unopened(error, address.place) from error


async def _look(address: Address, stack: AsyncExitStack) -> list[str]:
    async def connected(**options: Any) -> Any:
        connection = await address.connect(command_timeout=CONNECT_WITHIN, **options)
        stack.callback(connection.terminate)
        return connection

    plain = await connected(statement_cache_size=0)
    refuse_old(plain)
    found: list[str] = []
    async with plain.transaction():
        if await plain.fetchval("select current_setting('transaction_read_only')") == "on":
            found.append(READ_ONLY)
        found += [
            LOSES.format(name)
            for name in ("fsync", "full_page_writes")
            if await plain.fetchval("select current_setting($1)", name) == "off"
        ]
    if address.statements and not await _remembers(await connected(), plain):
        found.append(FORGETFUL)
    if READ_ONLY not in found and not await _hears(await connected(statement_cache_size=0), plain):
        found.append(DEAF)
    return found


async def _remembers(connection: Any, other: Any) -> bool:
    """Whether what was prepared is still there after somebody else has had the server's attention."""
    question = "select pg_backend_pid()"
    try:
        await connection.fetchval(question)
        async with other.transaction():
            await other.fetchval(question)
            await connection.fetchval(question)
    except (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError):
        return False
    return True


async def _hears(connection: Any, other: Any) -> bool:
    channel, heard = f"raincheck_{token_hex(4)}", asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    await connection.add_listener(channel, hear)
    async with other.transaction():
        # As long as this one is busy, a pooler cannot give us the connection that happens to listen.
        await other.fetchval("select 1")
        async with connection.transaction():
            await connection.fetchval("select pg_notify($1, '')", channel)
        try:
            async with asyncio.timeout(HEARD_WITHIN):
                await heard.wait()
        except TimeoutError:
            return False
    return True

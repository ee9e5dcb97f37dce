"""Connections of one process, lent for a transaction or a read each.

Ours, because asyncpg's own asks the server to reset each connection that comes back, wraps each call, and cannot drop
at once what an outage has made useless. No question to the server, no task and no wrapper is spent on lending here.
"""

import asyncio
from typing import Any

from raincheck.core.errors import StoreUnavailable
from raincheck.store.postgres.address import STATEMENT_WITHIN, Address

ACQUIRE_WITHIN = 10.0
"""Seconds to wait for a connection, new or free."""
CLOSE_WITHIN = 1.0
IDLE_FOR = 300.0
"""Seconds after which an unused connection is not trusted: something between may have forgotten it."""


class Pool:
    """Up to `address.pool` connections; the one that came back last is lent first, so that the others may go."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._places = asyncio.Semaphore(address.pool)
        self._idle: list[tuple[Any, float]] = []
        self._lent: set[Any] = set()
        self._closed = False

    async def acquire(self) -> Any:
        """A connection, to be given back with `release`. Raises what connecting does, or TimeoutError."""
        async with asyncio.timeout(ACQUIRE_WITHIN):
            await self._places.acquire()
            try:
                connection = self._rested() or await self._address.connect(command_timeout=STATEMENT_WITHIN)
            except BaseException:
                self._places.release()
                raise
        self._lent.add(connection)
        return connection

    async def replace(self, dead: Any) -> Any:
        """A new connection in the place of one that leads nowhere, like all that were made before."""
        dead.terminate()
        self.expire()
        async with asyncio.timeout(ACQUIRE_WITHIN):
            connection = await self._address.connect(command_timeout=STATEMENT_WITHIN)
        self._lent.discard(dead)
        self._lent.add(connection)
        return connection

    def release(self, connection: Any) -> None:
        """Take back a connection that is in no transaction; one that is closed makes room for a new one."""
        self._lent.discard(connection)
        if self._closed:
            connection.terminate()  # It was still being made when the others were closed.
        elif not connection.is_closed():
            self._idle.append((connection, asyncio.get_running_loop().time()))
        self._places.release()

    def expire(self) -> None:
        """Drop what is not in use: it leads to where nobody is, or to one that is not the primary any more."""
        for connection, _ in self._idle:
            connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Close all connections; who still has one loses it."""
        self._closed = True
        for connection in list(self._lent):
            connection.terminate()
        for connection, _ in self._idle:
            try:
                await connection.close(timeout=CLOSE_WITHIN)
            except Exception:  # noqa: BLE001 - it goes in any case
                connection.terminate()

    def _rested(self) -> Any:
        if self._closed:
            raise StoreUnavailable("The store is closed.")
        oldest = asyncio.get_running_loop().time() - IDLE_FOR
        while self._idle:
            connection, since = self._idle.pop()
            if since > oldest and not connection.is_closed():
                return connection
            connection.terminate()
        return None

"""A worker's sign of life in the record, so that others can see who holds what."""

import asyncio
import os
import secrets
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

from raincheck.core.clock import Clock
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Worker
from raincheck.store.protocol import Registry

SHOW_UP_EVERY = 10.0
LEAVE_WITHIN = 2.0


def introduce(clock: Clock) -> Worker:
    """This process as a worker. The name is new at each start: pids come again, in containers every time."""
    host, pid, moment = socket.gethostname(), os.getpid(), clock()
    return Worker(
        name=f"{host}-{pid}-{secrets.token_hex(3)}",
        host=host,
        pid=pid,
        version=version("raincheck"),
        started_at=moment,
        seen_at=moment,
    )


async def show_up(registry: Registry, me: Worker) -> None:
    """Keep telling the others that this worker is there."""
    while True:
        with suppress(StoreUnavailable):
            await registry.put_worker(me)
        await asyncio.sleep(SHOW_UP_EVERY)


@asynccontextmanager
async def leaving(registry: Registry, me: Worker) -> AsyncGenerator[None]:
    """At the end, take the name out of the record; a worker that cannot is forgotten by itself."""
    try:
        yield
    finally:
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVE_WITHIN):
                await registry.drop_worker(me.name)

"""A connection that breaks at the worst moment: the server has done its part, and its answer never arrives."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from tests.grpc.server import RunningGrpc


@asynccontextmanager
async def cutting(server: RunningGrpc, done: Callable[[], Awaitable[bool]]) -> AsyncGenerator[RunningGrpc]:
    """The server behind a relay that hangs up once: instead of handing on the first bytes that come back when `done`
    is true. To clients that is UNAVAILABLE, which the SDK's gRPC library answers by sending the call again."""
    cuts = list[int]()

    async def relay(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", server.port)

        async def answers() -> None:
            while data := await far.read(1 << 16):
                if not cuts and await done():
                    cuts.append(len(data))
                    return
                back.write(data)

        asking = asyncio.create_task(_copied(near, forth))
        with suppress(ConnectionError):
            await answers()
        asking.cancel()
        back.transport.abort()
        forth.transport.abort()

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with listener:
        yield replace(server, port=listener.sockets[0].getsockname()[1])
        assert cuts, "nothing was ever cut"


async def _copied(near: asyncio.StreamReader, forth: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await near.read(1 << 16):
            forth.write(data)
    forth.transport.abort()

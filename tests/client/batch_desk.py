"""A server that keeps files, and an upstream whose answers depend on what it is asked."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from raincheck import AsyncRaincheck, Raincheck
from tests.scripted import error, text
from tests.scripted.exchange import Exchange
from tests.server import Running, running_server


class Gate:
    """Lines that ask for `later` are answered once it is open."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def answer(self, exchange: Exchange) -> None:
        content = exchange.request.json["messages"][-1]["content"]
        if "later" in content:
            await self.open.wait()
        await (error(400, "I do not like it") if "bad" in content else text(f"heard {content}"))(exchange)


@asynccontextmanager
async def answering(folder: Path) -> AsyncGenerator[tuple[Running, Gate]]:
    gate = Gate()
    async with running_server(folder, blobs_url=(folder / "blobs").as_uri()) as server:
        server.upstream.always(gate.answer)
        yield server, gate


def blocking(server: Running) -> Raincheck:
    return Raincheck(base_url=server.base_url, max_retries=0)


def awaiting(server: Running) -> AsyncRaincheck:
    return AsyncRaincheck(base_url=server.base_url, max_retries=0)

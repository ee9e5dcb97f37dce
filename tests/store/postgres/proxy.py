"""A network between a client and PostgreSQL that can be cut, can go silent, and can lose what matters most."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from enum import StrEnum, auto
from urllib.parse import urlsplit, urlunsplit


class AtCommit(StrEnum):
    """What becomes of the next durable commit."""

    CUT_BEFORE = auto()
    """The server never hears of it, and the connection is gone."""
    SILENT_BEFORE = auto()
    """The server never hears of it, and nobody learns that the connection is gone."""
    CUT_AFTER = auto()
    """The server has done it, and the connection is gone before the answer."""


class Proxy:
    """Forwards bytes between clients and the server of `url`; `self.url` is what clients are given."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._target = parts.hostname, parts.port or 5432
        self._parts = parts
        self._pipes: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.url = ""
        self.at_commit: AtCommit | None = None
        self.lost_commit = asyncio.Event()
        self.said: tuple[bytes, bytes] = b"", b""
        """What the server says, and what the client is made to hear instead (of the same length)."""

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Proxy"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.url = urlunsplit(self._parts._replace(netloc=f"postgres@127.0.0.1:{port}"))
        try:
            yield self
        finally:
            server.close()
            await self.cut()

    def silence(self) -> None:
        """Connections stand and are made, and no byte gets through."""
        self._flowing.clear()

    def restore(self) -> None:
        self._flowing.set()

    def lose_silently(self) -> None:
        """What stands is lost without a word to the clients; new connections are as good as ever."""
        lost, self._flowing = self._flowing, asyncio.Event()
        lost.clear()
        self._flowing.set()

    async def cut(self) -> None:
        """Close all connections; new ones may be made."""
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def _connected(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        pipe = asyncio.create_task(self._forward(client, to_client))
        self._pipes.add(pipe)
        pipe.add_done_callback(self._pipes.discard)

    async def _forward(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        writers = [to_client]
        try:
            await self._flowing.wait()
            server, to_server = await asyncio.open_connection(*self._target)
            writers.append(to_server)
            lost, flowing = asyncio.Event(), self._flowing
            ways = [
                asyncio.create_task(self._there(client, to_server, lost, flowing)),
                asyncio.create_task(self._back(server, to_client, lost, flowing)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            for writer in writers:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

    async def _there(
        self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter, lost: asyncio.Event, flowing: asyncio.Event
    ) -> None:
        while data := await client.read(65536):
            await flowing.wait()
            if self.at_commit is not None and b"insert into witness" in data and b"; commit\0" in data:
                fate, self.at_commit = self.at_commit, None
                self.lost_commit.set()
                if fate is AtCommit.CUT_BEFORE:
                    return
                if fate is AtCommit.CUT_AFTER:
                    lost.set()
                    to_server.write(data)
                await asyncio.Event().wait()
            to_server.write(data)
            await to_server.drain()

    async def _back(
        self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, lost: asyncio.Event, flowing: asyncio.Event
    ) -> None:
        while data := await server.read(65536):
            await flowing.wait()
            if lost.is_set():
                return
            said, heard = self.said
            to_client.write(data.replace(said, heard) if said else data)
            await to_client.drain()

"""A server on a real socket that answers each connection with whatever bytes a test wants."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Stranger:
    """Where it listens, and what it was asked."""

    port: int = 0
    asked: list[bytes] = field(default_factory=list[bytes])
    """The head of each request."""

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}/clip.mp4?secret=hush"


@asynccontextmanager
async def a_stranger(answer: Answer | bytes, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Stranger]:
    """Listens on a free loopback port as long as the context lasts."""
    stranger = Stranger()
    talking = set[asyncio.Task[None]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talking.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            stranger.asked.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(answer, bytes):
                writer.write(answer)
            else:
                await answer(writer)
            await writer.drain()
        writer.close()
        talking.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    stranger.port = server.sockets[0].getsockname()[1]
    async with server:
        yield stranger
        for task in list(talking):
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)


def http(body: bytes = b"", *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A whole answer; `length` is what it claims to be."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body

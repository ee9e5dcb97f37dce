"""HTTP/1.1 on the bare protocol: keep-alive, one call at a time per connection, as little work per call as possible.

What goes over a connection is decided by its script, a generator: it yields requests and is sent what came back.
"""

import asyncio
from collections.abc import Generator, Sequence
from typing import cast

Reply = tuple[int, bytes]
"""Status and body."""
Script = Generator[bytes, Reply, None]


async def play(port: int, scripts: Sequence[Script]) -> None:
    """Play each script on a connection of its own, all at once. Raises what a script raises, and ConnectionError."""
    connections = await connect(port, scripts)
    for connection in connections:
        connection.start()
    await asyncio.gather(*(connection.over for connection in connections))


async def connect(port: int, scripts: Sequence[Script]) -> list["Connection"]:
    """Open a connection for each script, without starting it."""
    loop = asyncio.get_running_loop()
    connections: list[Connection] = []
    for script in scripts:
        connection = Connection(script, loop.create_future())
        await loop.create_connection(lambda connection=connection: connection, "127.0.0.1", port)
        connections.append(connection)
    return connections


class Connection(asyncio.Protocol):
    """One connection, which ends with its script."""

    def __init__(self, script: Script, over: "asyncio.Future[None]") -> None:
        self.over = over
        self._script = script
        self._buffer = b""

    def start(self) -> None:
        self._transport.write(next(self._script))

    def close(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        head_end = data.find(b"\r\n\r\n") + 4
        if head_end < 4 or len(data) < head_end + _length(data, head_end):
            self._buffer = data
            return
        self._buffer = b""
        try:
            self._transport.write(self._script.send((int(data[9:12]), data[head_end:])))
        except StopIteration:
            self.close()
        except Exception as error:  # noqa: BLE001 - whoever waits for the end is to hear of it
            self.over.set_exception(error)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.over.done():
            self.over.set_exception(exc or ConnectionError("the server closed the connection"))


def _length(data: bytes, head_end: int) -> int:
    at = data.find(b"content-length: ", 0, head_end)
    if at < 0:
        at = data.lower().find(b"content-length: ", 0, head_end)
    if at < 0:
        raise ValueError(f"a reply without a length: {data[:head_end]!r}")
    return int(data[at + 16 : data.find(b"\r\n", at)])

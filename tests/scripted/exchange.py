"""One request as it arrived, and the answer to it under way."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

Json = dict[str, Any]


class Received:
    """One POST as it arrived, and what became of it."""

    def __init__(self, path: str, headers: Mapping[str, str], body: bytes, connection: int) -> None:
        self.path = path
        """Below the base URL, as in `/chat/completions`."""
        self.headers = headers
        """Names in lower case."""
        self.body = body
        self.connection = connection
        """The number of the connection it came on, from 1."""
        self.number = 0
        """Which POST of all it is, from 1; 0 for what is no POST."""
        self.answered = asyncio.Event()
        self.left = asyncio.Event()
        """Set when the client hung up before the answer was whole."""

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.body)


class Exchange:
    """One answer under way: what an `Answer` writes to."""

    def __init__(self, request: Received, transport: asyncio.Transport) -> None:
        self.request = request
        self.cut_after: int | None = None
        """Drop the connection once so many bytes of the body are sent."""
        self._transport = transport
        self._chunked = False

    def head(self, status: int, headers: Mapping[str, str], length: int | None = None) -> None:
        self._chunked = length is None
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} Scripted", framing, *(f"{name}: {value}" for name, value in headers.items())]
        self._transport.write("\r\n".join([*lines, "", ""]).encode())
        if self.cut_after == 0:
            self.drop()

    def write(self, data: bytes) -> None:
        """A piece of the body; in a chunked answer, one HTTP chunk."""
        if self.cut_after is not None:
            data = data[: self.cut_after]
            self.cut_after -= len(data)
        if data:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        if self.cut_after == 0:
            self.drop()

    def end(self) -> None:
        if self._chunked and not self._transport.is_closing():
            self._transport.write(b"0\r\n\r\n")

    def drop(self) -> None:
        self._transport.close()


Answer = Callable[[Exchange], Awaitable[None]]

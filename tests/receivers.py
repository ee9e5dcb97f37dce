"""A scripted receiver of webhooks on a real socket: answers by a script for each path and notes every delivery.

    async with Receiver() as receiver:
        receiver.script("/hook", status(503, retry_after="1"))  # the first; what comes behind is answered 204
        ...                                                     # send something to receiver.at("/hook")
        [failed, taken] = await receiver.wait(2, path="/hook")

A raw protocol, so that it keeps up with thousands a second and can break a connection at any byte.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self, cast

import msgspec

from raincheck.core.clock import now

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivered:
    """One POST as it came."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    at: int
    """When it was there in whole."""
    connection: int
    """On which connection, counted from 1."""
    left: asyncio.Event = field(default_factory=asyncio.Event, repr=False, compare=False)
    """Set when the sender hung up before it had an answer."""

    @property
    def id(self) -> str:
        """What tells one event from another, and a repetition from both."""
        return self.headers["webhook-id"]

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.body)

    @property
    def type(self) -> str:
        return self.json["type"]

    @property
    def data(self) -> Json:
        return self.json["data"]


Scripted = Callable[[Delivered, asyncio.Transport], Awaitable[None]]
"""Writes an answer, or does something worse, with a connection that has brought a delivery."""
Answer = bytes | Scripted
"""Bytes are the quick way: written as they are, without a task."""


def status(code: int, body: bytes = b"", **headers: str) -> bytes:
    """A whole answer at once; header names with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if code != HTTPStatus.NO_CONTENT:
        named.setdefault("content-length", str(len(body)))
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {code} {_phrase(code)}\r\n{lines}\r\n".encode("latin-1") + body


def redirect(to: str, code: int = 302) -> bytes:
    return status(code, location=to)


def delayed(seconds: float, then: Answer | None = None) -> Scripted:
    """Takes its time, and answers then."""

    async def answer(delivered: Delivered, transport: asyncio.Transport) -> None:
        await asyncio.sleep(seconds)
        await _give(then or TAKEN, delivered, transport)

    return answer


def held(until: asyncio.Event, then: Answer | None = None) -> Scripted:
    """Answers when the test says so."""

    async def answer(delivered: Delivered, transport: asyncio.Transport) -> None:
        await until.wait()
        await _give(then or TAKEN, delivered, transport)

    return answer


async def never(delivered: Delivered, transport: asyncio.Transport) -> None:
    """Takes the delivery and says nothing, until the sender hangs up."""
    await delivered.left.wait()


async def reset(delivered: Delivered, transport: asyncio.Transport) -> None:
    """Cuts the connection instead of an answer."""
    transport.abort()


def drip(every: float = 0.05, start: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n") -> Scripted:
    """The beginning of an answer, and then a byte at a time without end: no read times out, the whole never comes."""

    async def answer(delivered: Delivered, transport: asyncio.Transport) -> None:
        transport.write(start)
        while not transport.is_closing():
            transport.write(b".")
            await asyncio.sleep(every)

    return answer


def endless(block: bytes = b"x" * 65536) -> Scripted:
    """An answer whose body never ends, as fast as it is read."""

    async def answer(delivered: Delivered, transport: asyncio.Transport) -> None:
        transport.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while not transport.is_closing():
            transport.write(b"%x\r\n%s\r\n" % (len(block), block))
            while transport.get_write_buffer_size() > len(block) and not transport.is_closing():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0)

    return answer


class Receiver:
    """The receiver; it listens within `async with`, or between `start()` and `close()`."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, keep: bool = True) -> None:
        self.host = host
        self.received: list[Delivered] = []
        """Every delivery, in the order of arrival."""
        self.connections = 0
        self.mistakes: list[Exception] = []
        """What scripts raised; leaving the `async with` raises the first."""
        self._port = port
        self._keep = keep
        self._scripts: dict[str, deque[Answer]] = defaultdict(deque)
        self._defaults: dict[str, Answer] = {}
        self._watchers: list[Callable[[Delivered], None]] = []
        self._arrival = asyncio.Event()
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self._port}"

    def at(self, path: str = "/hook") -> str:
        """The URL of a path here."""
        return self.url + path

    def script(self, path: str, *answers: Answer) -> None:
        """What the next deliveries to this path are answered, one each, in this order."""
        self._scripts[path].extend(answers)

    def always(self, path: str, answer: Answer) -> None:
        """What a delivery to this path is answered when its script is empty, instead of 204."""
        self._defaults[path] = answer

    def watch(self, watcher: Callable[[Delivered], None]) -> None:
        """Call this with each delivery before it is answered."""
        self._watchers.append(watcher)

    def on(self, path: str) -> list[Delivered]:
        """What has come to one path so far."""
        return [each for each in self.received if each.path == path]

    async def wait(
        self,
        count: int = 1,
        *,
        path: str | None = None,
        where: Callable[[Delivered], bool] = lambda _: True,
        timeout: float = 20,
    ) -> list[Delivered]:
        """So many deliveries, to this path, for which `where` is true; waits for them."""
        try:
            async with asyncio.timeout(timeout):
                while True:
                    self._arrival.clear()
                    found = [each for each in self.received if path in (None, each.path) and where(each)]
                    if len(found) >= count:
                        return found
                    await self._arrival.wait()
        except TimeoutError:
            came = [(each.path, each.type) for each in self.received[-20:]]
            raise AssertionError(f"no {count} such deliveries within {timeout} s; the last that came: {came}") from None

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), self.host, self._port, backlog=1024)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and drop every connection; a later `start()` takes the same port again."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._open):
                connection.abort()
            await self._server.wait_closed()
            self._server = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        await self.close()
        if self.mistakes and kind is None:
            raise self.mistakes[0]

    # --- for its connections

    def opened(self, connection: "_Connection") -> int:
        self._open.add(connection)
        self.connections += 1
        return self.connections

    def closed(self, connection: "_Connection") -> None:
        self._open.discard(connection)

    def take(self, delivered: Delivered) -> Answer:
        """Note a delivery; what it is answered."""
        for watcher in self._watchers:
            watcher(delivered)
        if self._keep:
            self.received.append(delivered)
            self._arrival.set()
        script = self._scripts.get(delivered.path)
        return script.popleft() if script else self._defaults.get(delivered.path, TAKEN)


class _Connection(asyncio.Protocol):
    """One sender's connection: reads a delivery, answers it, reads the next."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = bytearray()
        self._number = 0
        self._transport: asyncio.Transport
        self._delivered: Delivered | None = None
        self._task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._receiver.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._receiver.closed(self)
        if self._delivered is not None:
            self._delivered.left.set()
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._delivered is None:
            self._next()

    def _next(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        start, size = end + 4, int(headers.get("content-length", 0))
        if len(self._buffer) < start + size:
            return
        _, target, _ = first.split(" ")
        body = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        self._delivered = delivered = Delivered(target, headers, body, now(), self._number)
        answer = self._receiver.take(delivered)
        if isinstance(answer, bytes):
            self._transport.write(answer)
            self._done()
        else:
            self._task = asyncio.ensure_future(self._answer(answer, delivered))

    async def _answer(self, answer: Answer, delivered: Delivered) -> None:
        try:
            await _give(answer, delivered, self._transport)
        except Exception as error:  # noqa: BLE001  a script with a mistake in it: the test is told at the end
            self._receiver.mistakes.append(error)
            self._transport.close()
        self._task = None
        self._done()

    def _done(self) -> None:
        self._delivered = None
        if self._buffer:
            self._next()


async def _give(answer: Answer, delivered: Delivered, transport: asyncio.Transport) -> None:
    if isinstance(answer, bytes):
        transport.write(answer)
    else:
        await answer(delivered, transport)


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Scripted"


TAKEN = status(204)

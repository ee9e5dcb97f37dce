"""The server: a raw protocol, so that it is fast and can break a connection at any byte."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from typing import Self, TextIO, cast

import msgspec

from tests.scripted.answers import error, reply
from tests.scripted.completions import CREATED, Asked, instant
from tests.scripted.exchange import Answer, Exchange, Json, Received


class ScriptedUpstream:
    """The server; start it with `async with`, or `start()` and `close()`."""

    def __init__(
        self,
        models: Sequence[str] = ("m",),
        *,
        port: int = 0,
        unix_socket: str | None = None,
        default: Answer | None = None,
        keep_requests: bool = True,
        log: TextIO | None = None,
    ) -> None:
        self.models = list(models)
        self.requests: list[Received] = []
        """Every POST, in the order of arrival."""
        self.connections = 0
        self.count = 0
        self.by_content: Counter[str] = Counter()
        """POSTs by the content of their last message."""
        self.mistakes: list[Exception] = []
        """What answers raised; leaving the `async with` raises the first."""
        self.probes = 0
        self.on_models: Answer | None = None
        """What GET /models answers instead of the list."""
        self._default = default
        self._port = port
        self._unix_socket = unix_socket
        self._keep = keep_requests
        self._log = log
        self._script: deque[Answer] = deque()
        self._arrival = asyncio.Event()
        self._open: set[_Connection] = set()
        self._instant: dict[tuple[str, str, bool, bool], bytes] = {}
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    def script(self, *answers: Answer) -> None:
        """What the next POSTs are answered, one each, in this order."""
        self._script.extend(answers)

    def always(self, answer: Answer | None) -> None:
        """What every POST is answered when the script is empty; None: a small instant completion."""
        self._default = answer

    async def received(self, count: int = 1, timeout: float = 10) -> Received:
        """Wait until so many POSTs have arrived; the last of them."""
        async with asyncio.timeout(timeout):
            while len(self.requests) < count:
                self._arrival.clear()
                await self._arrival.wait()
        return self.requests[count - 1]

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if self._unix_socket is not None:
            self._server = await loop.create_unix_server(lambda: _Connection(self), self._unix_socket)
            return
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port, backlog=1024)
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

    def get(self, path: str) -> Answer:
        if path == "/v1/models":
            self.probes += 1
            listed = [
                {"id": model, "object": "model", "created": CREATED, "owned_by": "script"} for model in self.models
            ]
            return self.on_models or reply({"object": "list", "data": listed})
        if path == "/__log":
            return reply({"requests": self.count, "by_content": dict(self.by_content)})
        return error(404, f"no {path} here")

    def post(self, request: Received) -> Answer | bytes:
        """The answer to a POST, or the bytes of the instant one."""
        try:
            asked = msgspec.json.decode(request.body, type=Asked)
        except msgspec.DecodeError as refused:
            return error(400, str(refused))
        self._note(request, asked)
        if self._script:
            return self._script.popleft()
        return self._default or self._instant_answer(request.path, asked)

    def _note(self, request: Received, asked: "Asked") -> None:
        content = asked.messages[-1].get("content") if asked.messages else None
        self.count += 1
        self.by_content[content if isinstance(content, str) else request.path] += 1
        request.number = self.count
        self.log("began", request, path=request.path, content=content)
        if self._keep:
            self.requests.append(request)
            self._arrival.set()

    def log(self, event: str, request: Received, **facts: object) -> None:
        """One line of the log: a call began, or is over because it was answered or its client hung up."""
        if self._log is not None and request.number:
            line: Json = {"event": event, "number": request.number, "at": time.monotonic(), **facts}
            print(msgspec.json.encode(line).decode(), file=self._log, flush=True)

    def _instant_answer(self, path: str, asked: "Asked") -> bytes:
        key = (path, asked.model, asked.stream, asked.wants_usage)
        if key not in self._instant:
            self._instant[key] = instant(path, asked)
        return self._instant[key]


class _Connection(asyncio.Protocol):
    """One client's connection: reads a request, answers it, reads the next."""

    def __init__(self, upstream: ScriptedUpstream) -> None:
        self._upstream = upstream
        self._buffer = bytearray()
        self._number = 0
        self._transport: asyncio.Transport
        self._request: Received | None = None
        self._task: asyncio.Task[None] | None = None

    def abort(self) -> None:
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._number = self._upstream.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._upstream.closed(self)
        if self._request is not None:
            self._request.left.set()
            self._upstream.log("ended", self._request, answered=False)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._request is None:
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
        method, target, _ = first.split(" ")
        self._request = Received(
            target.removeprefix("/v1"), headers, bytes(self._buffer[start : start + size]), self._number
        )
        del self._buffer[: start + size]
        answer = (
            self._upstream.post(self._request) if method == "POST" else self._upstream.get(target.partition("?")[0])
        )
        if isinstance(answer, bytes):
            self._transport.write(answer)
            self._done()
        else:
            self._task = asyncio.ensure_future(self._answer(answer, self._request))

    async def _answer(self, answer: Answer, request: Received) -> None:
        try:
            await answer(Exchange(request, self._transport))
        except Exception as error:  # noqa: BLE001  a script with a mistake in it: the test is told at the end
            self._upstream.mistakes.append(error)
            self._transport.close()
        self._task = None
        self._done()

    def _done(self) -> None:
        if self._request is not None:
            self._request.answered.set()
            self._upstream.log("ended", self._request, answered=True)
        self._request = None
        if self._buffer:
            self._next()

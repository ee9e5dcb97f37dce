"""An OpenAI-compatible server on a real socket that answers as a test tells it to, and remembers what it was asked.

    async with ScriptedUpstream(models=["m"]) as up:
        up.script(error(503), text("Hello there"))  # the next two POSTs, in this order
        ...                                         # every later one: a small instant completion
        assert up.requests[0].json["stream"] is True
        await up.requests[0].left.wait()            # the client hung up before it had its answer

As a process of its own: `python -m tests.scripted --port 0 --models m`; `GET /__log` tells what it was asked.
"""

import argparse
import asyncio
import contextlib
import re
import sys
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import EllipsisType
from typing import Any, Self, TextIO, cast

import msgspec

Json = dict[str, Any]
CREATED = 1_700_000_000
HELLO = "Hello from the script."


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


# --- answers


def reply(body: Json | list[Any] | str | bytes, status: int = 200, **headers: str) -> Answer:
    """A whole answer: JSON, or text or bytes as they are; header names with `_` for `-`."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else msgspec.json.encode(body)

    async def answer(exchange: Exchange) -> None:
        exchange.head(status, {"content-type": "application/json"} | _names(headers), len(data))
        exchange.write(data)

    return answer


def error(status: int, message: str = "scripted", code: str | int | None = None, **headers: str) -> Answer:
    """An error in the OpenAI envelope."""
    body = {"error": {"message": message, "type": "scripted_error", "param": None, "code": code}}
    return reply(body, status, **headers)


def stream(
    *steps: Json | str | bytes | float | asyncio.Event | EllipsisType,
    done: bool = True,
    status: int = 200,
    **headers: str,
) -> Answer:
    """Server-sent events: a dict or str is an event's data, bytes are sent raw, a number is slept, an Event awaited.

    `...` waits until the client hangs up.
    """

    async def answer(exchange: Exchange) -> None:
        exchange.head(status, {"content-type": "text/event-stream"} | _names(headers))
        for step in (*steps, "[DONE]") if done else steps:
            match step:
                case asyncio.Event():
                    await step.wait()
                case EllipsisType():
                    await asyncio.Event().wait()
                case int() | float():
                    await asyncio.sleep(step)
                case bytes():
                    exchange.write(step)
                case str():
                    exchange.write(_event(step.encode()))
                case _:
                    exchange.write(_event(msgspec.json.encode(step)))
        exchange.end()

    return answer


def text(content: str = HELLO, *, delay: float = 0, pause: float = 0, before: asyncio.Event | None = None) -> Answer:
    """A completion with this content, whole or streamed word by word as was asked.

    It starts after `before` is set and `delay` seconds, with `pause` seconds between the words.
    """

    async def answer(exchange: Exchange) -> None:
        if before is not None:
            await before.wait()
        await asyncio.sleep(delay)
        asked = msgspec.json.decode(exchange.request.body, type=_Asked)
        if not asked.stream:
            await asyncio.sleep(pause * len(_words(content)))
            await reply(_whole(exchange.request.path, asked.model, content))(exchange)
            return
        steps: list[Json | float] = []
        for piece in _pieces(exchange.request.path, asked, content):
            steps += [piece, pause] if pause else [piece]
        await stream(*steps)(exchange)

    return answer


def drop() -> Answer:
    """Close the connection without a byte."""

    async def answer(exchange: Exchange) -> None:
        exchange.drop()

    return answer


def cut(answer: Answer, *, after: int) -> Answer:
    """Close the connection when so many bytes of this answer's body are sent."""

    async def cut_answer(exchange: Exchange) -> None:
        exchange.cut_after = after
        await answer(exchange)

    return cut_answer


def closing(answer: Answer) -> Answer:
    """This answer, and then the connection is closed without having said so, as llama.cpp does."""

    async def closing_answer(exchange: Exchange) -> None:
        await answer(exchange)
        exchange.drop()

    return closing_answer


def silence() -> Answer:
    """Never answer."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    return answer


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> Json:
    """One `chat.completion.chunk` with one choice."""
    if content is not None:
        delta["content"] = content
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return _chunk("chat.completion.chunk", "m", [choice])


# --- the server


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
            asked = msgspec.json.decode(request.body, type=_Asked)
        except msgspec.DecodeError as refused:
            return error(400, str(refused))
        self._note(request, asked)
        if self._script:
            return self._script.popleft()
        return self._default or self._instant_answer(request.path, asked)

    def _note(self, request: Received, asked: "_Asked") -> None:
        content = asked.messages[-1].get("content") if asked.messages else None
        self.count += 1
        self.by_content[content if isinstance(content, str) else request.path] += 1
        if self._log is not None:
            line: Json = {"number": self.count, "path": request.path, "content": content}
            print(msgspec.json.encode(line).decode(), file=self._log, flush=True)
        if self._keep:
            self.requests.append(request)
            self._arrival.set()

    def _instant_answer(self, path: str, asked: "_Asked") -> bytes:
        key = (path, asked.model, asked.stream, asked.wants_usage)
        if key not in self._instant:
            self._instant[key] = _rendered(path, asked)
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
        self._request = None
        if self._buffer:
            self._next()


# --- the small instant completion


class _Options(msgspec.Struct):
    include_usage: bool = False


class _Asked(msgspec.Struct):
    """What an answer needs to know of a payload."""

    model: str = "m"
    stream: bool = False
    stream_options: _Options | None = None
    messages: list[Json] = msgspec.field(default_factory=list[Json])

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def _rendered(path: str, asked: _Asked) -> bytes:
    if not asked.stream:
        body = msgspec.json.encode(_whole(path, asked.model, HELLO))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body
    data = [msgspec.json.encode(piece) for piece in _pieces(path, asked, HELLO)]
    body = b"".join(_event(piece) for piece in [*data, b"[DONE]"])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def _whole(path: str, model: str, content: str) -> Json:
    usage = _usage(content)
    match path:
        case "/chat/completions":
            message = {"role": "assistant", "content": content}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return _chunk("chat.completion", model, [choice]) | {"usage": usage}
        case "/completions":
            choice = {"index": 0, "text": content, "logprobs": None, "finish_reason": "stop"}
            return _chunk("text_completion", model, [choice]) | {"usage": usage}
        case "/embeddings":
            vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
            return {"object": "list", "model": model, "data": [vector], "usage": usage}
        case _:
            return {"object": "scripted", "path": path, "model": model, "usage": usage}


def _pieces(path: str, asked: _Asked, content: str) -> list[Json]:
    if path == "/completions":
        kind = "text_completion"
        choices: list[Json] = [{"index": 0, "text": word, "finish_reason": None} for word in _words(content)]
        last: Json = {"index": 0, "text": "", "finish_reason": "stop"}
    else:
        kind = "chat.completion.chunk"
        deltas: list[Json] = [{"role": "assistant", "content": ""}, *({"content": word} for word in _words(content))]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    pieces = [_chunk(kind, asked.model, [choice]) for choice in [*choices, last]]
    if asked.wants_usage:
        pieces.append(_chunk(kind, asked.model, []) | {"usage": _usage(content)})
    return pieces


def _chunk(kind: str, model: str, choices: list[Json]) -> Json:
    return {"id": "chatcmpl-scripted", "object": kind, "created": CREATED, "model": model, "choices": choices}


def _usage(content: str) -> Json:
    tokens = len(_words(content))
    return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}


def _words(content: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", content)


def _event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


# --- as a process


async def _serve(options: argparse.Namespace, log: TextIO | None) -> None:
    words = " ".join(f"word{number}" for number in range(options.tokens)) if options.tokens else HELLO
    slow = bool(options.delay or options.pause or options.tokens)
    default = text(words, delay=options.delay, pause=options.pause) if slow else None
    upstream = ScriptedUpstream(options.models, port=options.port, default=default, keep_requests=False, log=log)
    async with upstream:
        print(f"listening on {upstream.base_url}", flush=True)
        await asyncio.Event().wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted", description="A scripted upstream.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--models", nargs="+", default=["m"])
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each word")
    parser.add_argument("--tokens", type=int, default=0, help="how many words to answer")
    parser.add_argument("--json-log", type=Path, help="append one JSON line per request to this file")
    options = parser.parse_args(arguments)
    log = options.json_log.open("a") if options.json_log else None
    if sys.platform != "win32":
        import uvloop

        runner = uvloop.run
    else:
        runner = asyncio.run
    with contextlib.suppress(KeyboardInterrupt):
        runner(_serve(options, log))


if __name__ == "__main__":
    main()

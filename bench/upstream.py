"""An OpenAI-compatible upstream that answers at once with a small fixed completion, or with `--hold` never.

Written by hand on the bare protocol, so that in every comparison it costs next to nothing.
"""

import asyncio
import re
import sys
import time
from typing import cast

import msgspec
import uvloop

from bench import child
from bench.calls import MODEL

ANSWER = "Rain is water that comes down."
USAGE = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": MODEL,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
    "usage": USAGE,
}
STREAM_ASKED = re.compile(rb'"stream"\s*:\s*true')


def _json(body: object) -> bytes:
    encoded = msgspec.json.encode(body)
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(encoded),
        encoded,
    )


def _event(**changes: object) -> bytes:
    chunk = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_790_000_000, "model": MODEL, **changes}
    return b"data: " + msgspec.json.encode(chunk) + b"\n\n"


def _stream() -> bytes:
    deltas: list[dict[str, str]] = [
        {"role": "assistant", "content": ""},
        *({"content": f"{word} "} for word in ANSWER.split()),
    ]
    events = [_event(choices=[{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
    events.append(_event(choices=[{"index": 0, "delta": dict[str, str](), "finish_reason": "stop"}]))
    events.append(_event(choices=[], usage=USAGE))
    body = b"".join(events) + b"data: [DONE]\n\n"
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


WHOLE, STREAM = _json(COMPLETION), _stream()
MODELS = _json({"object": "list", "data": [{"id": MODEL, "object": "model", "created": 0, "owned_by": "bench"}]})


class Calls:
    """How many POSTs came, and when the first and the last did."""

    def __init__(self) -> None:
        self.count = 0
        self.first_at: float | None = None
        self.last_at: float | None = None

    def add(self) -> None:
        self.count += 1
        self.last_at = time.monotonic()
        if self.first_at is None:
            self.first_at = self.last_at


class Answering(asyncio.Protocol):
    """One connection."""

    def __init__(self, calls: Calls, *, hold: bool) -> None:
        self._calls = calls
        self._hold = hold
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            whole = end + 4 + (int(length) if length else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end + 4 : whole], self._buffer[whole:]
            self._transport.write(self._answer(head, body))

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"post"):
            self._calls.add()
            if self._hold:
                return b""
            return STREAM if STREAM_ASKED.search(body) else WHOLE
        if b" /calls " not in head:
            return MODELS
        if head.startswith(b"delete"):
            self._calls.count, self._calls.first_at = 0, None
        seen = {"count": self._calls.count, "first_at": self._calls.first_at, "last_at": self._calls.last_at}
        return _json(seen)


async def main(*, hold: bool) -> None:
    calls = Calls()
    loop = asyncio.get_running_loop()
    site = await loop.create_server(lambda: Answering(calls, hold=hold), "127.0.0.1", 0)
    ears = await child.ears()
    child.say(port=site.sockets[0].getsockname()[1])
    await ears.read()


if __name__ == "__main__":
    uvloop.run(main(hold="--hold" in sys.argv))

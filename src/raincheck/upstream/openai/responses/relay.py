"""A call to `/responses` whose caller waits: passed through, or translated where the server has no such API."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import msgspec

from raincheck.core import clock
from raincheck.core.errors import UpstreamBroke
from raincheck.core.ids import new_id
from raincheck.core.outcome import Failure, FailureKind, Reply, envelope
from raincheck.core.responses import error_object, plain
from raincheck.upstream.openai.responses.asking import CHAT, has_no_responses
from raincheck.upstream.openai.responses.frame import Frame
from raincheck.upstream.openai.responses.perform import PATH, Responses, members_of
from raincheck.upstream.openai.responses.scribe import Scribe
from raincheck.upstream.protocol import Relayed, Work, whole
from raincheck.upstream.python.direct import NoBench, Unheard, relayed

Passed = Callable[[], AbstractAsyncContextManager[Relayed]]
"""Passes the call through as it is."""
Guarded = Callable[[Coroutine[Any, Any, Reply | Failure]], Coroutine[Any, Any, Reply | Failure]]
"""Turns what the wire raises into a Failure."""


@asynccontextmanager
async def relay(responses: Responses, payload: bytes, passed: Passed, guarded: Guarded) -> AsyncGenerator[Relayed]:
    """As `Upstream.relay`."""
    members = members_of(payload)
    model = plain(members.get("model"))
    model = model if isinstance(model, str) else ""
    refusal = None
    if responses.way(model).native:
        async with passed() as answer:
            if answer.status not in (404, 405, 501):
                if answer.headers.get("content-type", "").startswith("text/event-stream"):
                    responses.has(model)  # Of any other success only its body would tell.
                yield answer
                return
            body = b"".join([piece async for piece in answer.body])
            if not has_no_responses(answer.status, body):
                yield whole(answer.status, body, answer.headers)
                return
            refusal = responses.server.refused(answer.status, answer.headers, body)
    frame = Frame(members, new_id("resp"), clock.now(), background=False)
    work = Work(
        request_id=frame.id, operation="response", path=PATH, model=model, payload=payload, attempt=1, bench=NoBench()
    )
    heard, streams = _Heard(), plain(members.get("stream")) is True
    scribe = Scribe(heard if streams else Unheard(), None, responses.server.most_of_events)
    task = asyncio.create_task(guarded(responses.respond(work, frame, scribe, CHAT, refusal)))
    try:
        if streams and await heard.anything(task):
            yield Relayed(200, {"content-type": "text/event-stream"}, _told(heard, task, frame, scribe))
        else:
            yield _answered(await task)
    finally:
        task.cancel()
        await asyncio.wait({task})


class _Heard(Unheard):
    """The report of such a call: its events as lines, for the one who reads them."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        """None ends it."""

    def delta(self, data: bytes) -> None:
        kind = msgspec.json.decode(data, type=_Typed).type
        self.lines.put_nowait(b"event: %b\ndata: %b\n\n" % (kind.encode(), data))

    async def anything(self, task: "asyncio.Task[Reply | Failure]") -> bool:
        """Wait for the first event; False when the task ends without one."""
        task.add_done_callback(lambda _: self.lines.put_nowait(None))
        first = await self.lines.get()
        if first is None:
            return False
        self._first = first
        return True

    async def all(self) -> AsyncIterator[bytes]:
        yield self._first
        while (line := await self.lines.get()) is not None:
            yield line


class _Typed(msgspec.Struct):
    type: str


async def _told(
    heard: _Heard, task: "asyncio.Task[Reply | Failure]", frame: Frame, scribe: Scribe
) -> AsyncIterator[bytes]:
    async for line in heard.all():
        yield line
    answer = await task
    if isinstance(answer, Failure):
        error = error_object(answer.error.code, answer.error.message)
        scribe.write({"type": "response.failed", "response": frame.response("failed", error=error)})
        yield heard.lines.get_nowait() or b""


def _answered(answer: Reply | Failure) -> Relayed:
    """As one whole body. Raises UpstreamDown and UpstreamBroke."""
    if isinstance(answer, Failure) and answer.kind is FailureKind.TRANSIENT:
        status = answer.error.upstream and answer.error.upstream.status
        if status is None:
            raise UpstreamBroke(answer.error.message)
        return whole(status, envelope(answer.error))
    return relayed(answer)

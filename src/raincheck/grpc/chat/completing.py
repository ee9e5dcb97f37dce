"""GetCompletion and GetCompletionChunk: a chat is passed on to its upstream, and what that answers told as it comes.

Nothing is recorded unless the caller asks for that (`store_messages`). When the caller hangs up, the call ends.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial

from raincheck.core.clock import SECOND
from raincheck.core.errors import RaincheckError, UpstreamBroke
from raincheck.core.responses import aside
from raincheck.grpc.call import Call
from raincheck.grpc.chat import stored
from raincheck.grpc.chat.answering import completion
from raincheck.grpc.chat.asking import chat_submission
from raincheck.grpc.chat.chunks import Chunk, Chunks, as_chunk
from raincheck.grpc.problems import LARGEST, Ended, result_too_large, told_by_upstream
from raincheck.grpc.protos import chat_pb2
from raincheck.intake.admit import Submission
from raincheck.upstream.openai.failures import KEPT, answered
from raincheck.upstream.openai.payload import Asking, Payload, ask_for_less
from raincheck.upstream.openai.sse import Event, EventReader, EventTooLarge
from raincheck.upstream.protocol import Relayed, whole

_GOODBYE = 0.05
"""Seconds for the end of a body after its last event, so that the connection to the upstream can be used again."""


async def get_completion(call: Call, request: chat_pb2.GetCompletionsRequest) -> chat_pb2.GetChatCompletionResponse:
    """A whole answer. Raises as `chat_submission`, what `Relay.call` does, and Ended for what the upstream refused."""
    tenant = await call.writer()
    kept = request.store_messages
    asked = await chat_submission(call, tenant, request, deferred=kept)
    del request  # It may be large, and the answer may take long.
    if kept:
        request_id = await stored.keep(call, tenant, asked)
        del asked
        return await stored.sample(call, tenant, request_id)
    async with _asked(call, asked) as relayed:
        body = await _whole(relayed)
    return await aside(len(body), partial(completion, body))


async def get_completion_chunk(
    call: Call, request: chat_pb2.GetCompletionsRequest
) -> AsyncGenerator[chat_pb2.GetChatCompletionChunk]:
    """The same piece by piece. Raises UpstreamBroke for one that breaks off, too."""
    tenant = await call.writer()
    kept = request.store_messages
    asked = await chat_submission(call, tenant, request, deferred=kept)
    del request  # As above.
    told = stored.stream(call, tenant, await stored.keep(call, tenant, asked)) if kept else _streamed(call, asked)
    del asked
    async with aclosing(told) as chunks:
        async for chunk in chunks:
            yield chunk


async def _streamed(call: Call, asked: Submission) -> AsyncGenerator[Chunk]:
    async with _asked(call, asked, Asking.STREAM_WITH_USAGE) as relayed:
        pieces = relayed.body
        if not relayed.headers.get("content-type", "").startswith("text/event-stream"):
            # Some cannot stream and answer in one piece, and some stream under another name.
            body = await _whole(relayed)
            if not body.lstrip().startswith((b"data:", b"event:", b":")):
                yield as_chunk(await aside(len(body), partial(completion, body)))
                return
            pieces = whole(relayed.status, body).body
        async with aclosing(_told(pieces, asked.choices)) as chunks:
            async for chunk in chunks:
                yield chunk
        await _part(relayed.body)


async def _told(body: AsyncIterator[bytes], choices: int) -> AsyncGenerator[Chunk]:
    """What the events of a stream tell. It is whole when it says so ([DONE]), or when each choice said why it ended."""
    chunks = Chunks()
    done = False
    async with aclosing(_events(body)) as events:
        try:
            async for event in events:
                if done := event.data == b"[DONE]":
                    break
                for chunk in await aside(len(event.data), partial(chunks.take, event.data, event.name)):
                    yield chunk
        except UpstreamBroke:
            if not chunks.whole(choices):
                raise
    if not done and not chunks.whole(choices):
        raise UpstreamBroke
    yield await aside(chunks.size, chunks.end)


async def _events(body: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    reader = EventReader(LARGEST)
    try:
        async for piece in body:
            for event in reader.feed(piece):
                yield event
        for event in reader.end():
            yield event
    except EventTooLarge:
        raise result_too_large() from None


@asynccontextmanager
async def _asked(call: Call, asked: Submission, asking: Asking = Asking.WHOLE) -> AsyncGenerator[Relayed]:
    """The upstream's answer, once it has begun as a success; what refuses to stream, or to count then, is asked for
    less. Raises Ended with the upstream's words when it refuses."""
    wanted: Asking | None = asking
    problem = None
    while wanted is not None:
        body = await aside(len(asked.payload), partial(_body, asked.payload, wanted))
        relaying = call.edge.relay.call(model=asked.model, path=asked.path, payload=body)
        async with relaying as relayed:
            if 200 <= relayed.status < 300:
                yield relayed
                return
            words = await _beginning(relayed.body)
        failure = answered(asked.model, relayed.status, relayed.headers, words, now=call.edge.clock())
        wanted = ask_for_less(wanted, failure)
        wait = failure.retry_after
        problem = told_by_upstream(relayed.status, words, None if wait is None else wait / SECOND)
    assert problem is not None  # noqa: S101 - it was asked for once
    raise Ended(problem)


def _body(payload: bytes, asking: Asking) -> bytes:
    """The payload with what asks for a stream. It says nothing of that itself."""
    if asking is Asking.WHOLE:
        return payload
    read = Payload.read(payload)
    assert read is not None  # noqa: S101 - a submission's payload is an object
    return read.encode(asking)


async def _whole(relayed: Relayed) -> bytes:
    body = bytearray()
    async for piece in relayed.body:
        body += piece
        if len(body) > LARGEST:
            raise result_too_large()
    return bytes(body)


async def _beginning(body: AsyncIterator[bytes]) -> bytes:
    """As much of an error as is worth telling; it may well be cut off."""
    words = bytearray()
    with suppress(RaincheckError):
        async for piece in body:
            words += piece
            if len(words) > KEPT:
                break
    return bytes(words)


async def _part(body: AsyncIterator[bytes]) -> None:
    with suppress(RaincheckError, TimeoutError):
        async with asyncio.timeout(_GOODBYE):
            async for _ in body:
                pass

"""Completions with `store_messages`: recorded as deferred ones are, and answered in the same call; then read again by
the id of their answer, gone on from (`earlier.py`), or deleted."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager

from raincheck.core.canonical import Canonical
from raincheck.core.clock import MINUTE
from raincheck.core.errors import RaincheckError
from raincheck.core.model import Request, Tenant
from raincheck.grpc.call import Call
from raincheck.grpc.chat.following import follow, still_under_way
from raincheck.grpc.chat.reading import completed, completion, find, has_completion
from raincheck.grpc.protos import chat_pb2
from raincheck.grpc.recording import record
from raincheck.intake.admit import Submission

BROKEN_WITHIN = 30 * MINUTE
"""How long a call that a client's library sends again finds its record: it may break at any time until it is answered,
and the xai-sdk waits for 27 minutes."""


async def keep(call: Call, tenant: Tenant, asked: Submission) -> str:
    """Record a completion to be made, hand on its id. Raises what `record` does, and ScopeMissing."""
    await call.caller("read")  # What is recorded is read in the same call.
    return (await record(call, tenant, asked, repeat_within=BROKEN_WITHIN)).request.id


async def sample(call: Call, tenant: Tenant, request_id: str) -> chat_pb2.GetChatCompletionResponse:
    """Wait for one that was just recorded; when the client hangs up it goes on. Raises Ended for one that failed or is
    not there in time."""
    with _recorded_as(request_id):
        request = await _ended(call, tenant, request_id)
        return await completion(has_completion(request), call.edge)


async def stream(call: Call, tenant: Tenant, request_id: str) -> AsyncGenerator[chat_pb2.GetChatCompletionChunk]:
    """The same, told as its upstream says it."""
    with _recorded_as(request_id):
        async with aclosing(follow(call, tenant, request_id)) as chunks:
            async for chunk in chunks:
                yield chunk


async def get(call: Call, message: chat_pb2.GetStoredCompletionRequest) -> chat_pb2.GetChatCompletionResponse:
    """A completion that was recorded, deferred ones too. Raises NotFound, NotEnded, and Ended for one that failed."""
    tenant = await call.caller("read")
    return await completion(await completed(message.response_id, tenant, call.edge), call.edge)


async def delete(
    call: Call, message: chat_pb2.DeleteStoredCompletionRequest
) -> chat_pb2.DeleteStoredCompletionResponse:
    """Forget one that has ended. Raises NotFound, NotEnded."""
    tenant = await call.caller("write")
    await find(message.response_id, tenant, call.edge)
    await call.edge.store.requests.delete(tenant.name, message.response_id)
    return chat_pb2.DeleteStoredCompletionResponse(response_id=message.response_id)


async def _ended(call: Call, tenant: Tenant, request_id: str) -> Request:
    live = call.edge.live
    with live.watch(request_id) as watch:
        request = await find(request_id, tenant, call.edge)
        request = await call.edge.desk.wait(watch, request, seconds=call.patience)
    await call.caller("read")  # Keys are revoked while calls are held.
    if not request.status.final:
        raise still_under_way(request_id, "this server is stopping" if live.closed else "the time of this call is over")
    return request


@contextmanager
def _recorded_as(request_id: str) -> Generator[None]:
    """What goes wrong from here on is no reason to send the call again: its work is under way."""
    try:
        yield
    except RaincheckError as error:
        if error.grpc is not Canonical.UNAVAILABLE:
            raise
        raise still_under_way(request_id, "its record cannot be read now") from error

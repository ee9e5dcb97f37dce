"""Deferred completions: Start records one, Get holds the caller until there is something to tell."""

from raincheck.core.clock import SECOND
from raincheck.core.errors import ResultGone
from raincheck.core.status import Status
from raincheck.grpc.call import Call
from raincheck.grpc.chat.asking import chat_submission
from raincheck.grpc.chat.reading import completion, find
from raincheck.grpc.problems import Ended, problem_of_end
from raincheck.grpc.protos import chat_pb2, deferred_pb2
from raincheck.grpc.recording import record

SHORTEST, LONGEST = 1.0, 30.0
"""Seconds a Get is held, at least and at most. In between it is held for as long as the request is old already: who
gives up after a time of its own, which it checks between two calls, does so within about twice that time."""

_PENDING = chat_pb2.GetDeferredCompletionResponse(status=deferred_pb2.DeferredStatus.PENDING)
_EXPIRED = chat_pb2.GetDeferredCompletionResponse(status=deferred_pb2.DeferredStatus.EXPIRED)


async def start(call: Call, message: chat_pb2.GetCompletionsRequest) -> deferred_pb2.StartDeferredResponse:
    """Record a completion to be made. Raises BadInput, NotFound, and what `record` does."""
    tenant = await call.writer()
    submitted = await record(call, tenant, await chat_submission(call, tenant, message, deferred=True))
    return deferred_pb2.StartDeferredResponse(request_id=submitted.request.id)


async def get(call: Call, message: deferred_pb2.GetDeferredRequest) -> chat_pb2.GetDeferredCompletionResponse:
    """The completion, or that it is pending still. Raises NotFound, and Ended for one that failed or was cancelled."""
    tenant = await call.caller("read")
    edge = call.edge
    with edge.live.watch(message.request_id) as watch:
        request = await find(message.request_id, tenant, edge)
        if not request.status.final:
            age = (edge.clock() - request.created_at) / SECOND
            request = await edge.desk.wait(watch, request, seconds=min(held(age), call.patience))
            await call.caller("read")  # Keys are revoked while calls are held.
    if not request.status.final:
        return _PENDING
    if request.purged or request.status is Status.EXPIRED:
        return _EXPIRED
    if (problem := problem_of_end(request)) is not None:
        raise Ended(problem)
    try:
        return chat_pb2.GetDeferredCompletionResponse(
            status=deferred_pb2.DeferredStatus.DONE, response=await completion(request, edge)
        )
    except ResultGone:
        return _EXPIRED


def held(age: float) -> float:
    """How long a call for a request of that age is held. (All in seconds.)"""
    return min(max(SHORTEST, age), LONGEST)

"""Takes the id of a completion that was recorded, hands on its record; and takes that, hands on what was answered."""

from functools import partial

from raincheck.core.canonical import Canonical
from raincheck.core.errors import BadInput, NotEnded, ResultGone
from raincheck.core.model import Request, Tenant
from raincheck.core.operations import is_video
from raincheck.core.responses import aside
from raincheck.grpc.chat.answering import NotACompletion, response
from raincheck.grpc.edge import Edge
from raincheck.grpc.problems import LARGEST, Ended, Problem, problem_of_end, result_too_large
from raincheck.grpc.protos import chat_pb2

OPERATION = "chat.completion"
READ_AT_MOST = 64 << 20
"""Bytes of its JSON, which may say at length what a message says shortly (log probabilities do)."""


async def find(request_id: str, tenant: Tenant, edge: Edge) -> Request:
    """The record of a completion. Raises NotFound, BadInput for an id of something else."""
    request = await edge.store.requests.get(tenant.name, request_id)
    if request.operation == OPERATION:
        return request
    where = "GetDeferredVideo (client.video.get)" if is_video(request.operation) else f"GET /v1/requests/{request_id}"
    raise BadInput(f"{request_id} is no chat completion but a {request.operation}; read it with {where}.")


async def completed(request_id: str, tenant: Tenant, edge: Edge) -> Request:
    """The same for one that has a completion to show. Raises NotEnded, and Ended for another end."""
    request = await find(request_id, tenant, edge)
    if not request.status.final:
        raise NotEnded(f"{request_id} is {request.status}; wait for its end, for example with GetDeferredCompletion.")
    return has_completion(request)


def has_completion(request: Request) -> Request:
    """The same request. Raises Ended when it ended without a completion, or has none any more."""
    if (problem := problem_of_end(request)) is not None:
        raise Ended(problem)
    return request


async def completion(request: Request, edge: Edge) -> chat_pb2.GetChatCompletionResponse:
    """What a completed request has to show, under the record's id: that is what goes on from it or reads it again.

    Raises ResultGone, StoreUnavailable, and Ended for what is no completion or too large for a message.
    """
    body = await result_of(request, edge)
    try:
        told = await aside(len(body), partial(response, body, request.id, request.created_at, request.priority))
    except NotACompletion as error:
        raise not_a_completion(request.id, error.problem.message) from None
    if told.ByteSize() > LARGEST:
        raise result_too_large(request.id)
    return told


async def result_of(request: Request, edge: Edge) -> bytes:
    """The JSON that a completed request was answered with. Raises as `completion` does."""
    result = await edge.store.requests.result(request.tenant, request.id)
    if result is None:
        raise ResultGone
    if (result.size or 0) > READ_AT_MOST:
        raise result_too_large(request.id)
    return await edge.desk.body(result)


def not_a_completion(request_id: str, why: str = "What answered it is no chat completion.") -> Ended:
    """For a record whose answer is something else, as an upstream in Python may give."""
    words = f"{why} GET /v1/requests/{request_id}/result has what was recorded."
    return Ended(Problem(Canonical.INTERNAL, words, "not_a_completion"))

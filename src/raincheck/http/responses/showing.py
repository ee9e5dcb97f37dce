"""Takes a response's record, hands on the Response object that tells of it."""

from collections.abc import Sequence
from typing import Any

import msgspec

from raincheck.core.errors import NotFound
from raincheck.core.model import Request, Tenant
from raincheck.core.outcome import why_ended
from raincheck.core.responses import ResponseStatus, error_object, response_object
from raincheck.core.status import Status
from raincheck.http.answer import Answer
from raincheck.http.auth import may_read
from raincheck.http.deferred import outcome
from raincheck.http.edge import Call, edge_of
from raincheck.http.stored import StoredAnswer
from raincheck.intake.responses import OPERATION

Members = dict[str, msgspec.Raw]
_MEMBERS = msgspec.json.Decoder(Members)
STATUS: dict[Status, ResponseStatus] = {
    Status.PENDING: "queued",
    Status.PROCESSING: "in_progress",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
    Status.EXPIRED: "failed",
}
"""OpenAI knows no word for a deadline that passed; the error says so."""


def response_id(call: Call) -> str:
    return call.scope["path_params"]["response_id"]


async def response_record(call: Call, tenant: Tenant) -> Request:
    """The record of the response that the path names. Raises NotFound for what is no response, too."""
    return checked(await edge_of(call).store.requests.get(tenant.name, response_id(call)))


def checked(request: Request) -> Request:
    """The record, when it is a response's that is still there. Raises NotFound."""
    if request.operation != OPERATION:
        raise NotFound(f"{request.id} is no response; read it with GET /v1/requests/{request.id}.")
    if request.purged:
        raise NotFound(f"{request.id} was purged when its retention ended; submit it again.")
    return request


async def answer(
    call: Call, request: Request, headers: Sequence[tuple[str, str]] = (), *, status: int = 200
) -> Answer | StoredAnswer:
    """The Response as it stands: the upstream's own once it is completed, one of ours before and otherwise."""
    if request.status is Status.COMPLETED:
        return await outcome(call, request, headers)
    return Answer(msgspec.json.encode(await response_of(call, request)), status, headers=headers)


async def written(
    call: Call, request: Request, headers: Sequence[tuple[str, str]], *, status: int = 200
) -> Answer | StoredAnswer:
    """The same for a caller who has just written to it; a key that may only write is told where it stands alone."""
    if await may_read(call):
        return await answer(call, request, headers, status=status)
    shown = msgspec.structs.replace(request, error=None)
    return Answer(msgspec.json.encode(await response_of(call, shown)), status, headers=headers)


async def response_of(call: Call, request: Request) -> dict[str, Any]:
    """The Response without an output: all that the record itself can say."""
    members = await members_of(call, request)
    return response_object(members, request.id, request.created_at, STATUS[request.status], error=_error(request))


async def members_of(call: Call, request: Request) -> Members:
    """What was asked for. Raises NotFound once that is purged."""
    payloads = await edge_of(call).store.requests.payloads(request.tenant, [request.id])
    if (payload := payloads.get(request.id)) is None:
        raise NotFound(f"{request.id} was purged when its retention ended; submit it again.")
    return _MEMBERS.decode(payload)


def _error(request: Request) -> dict[str, Any] | None:
    """Why one that `failed` did. `code` is one that OpenAI's clients know; `type` is this server's own."""
    said = why_ended(request.status, request.error)
    if said is None or STATUS[request.status] != "failed":
        return None
    if request.status is Status.EXPIRED:
        return error_object("server_error", said.message) | {"type": said.code}
    told = error_object(said.code, said.message)
    if told["code"] == "server_error":
        told = error_object(said.type, said.message)
    return told | {"type": said.code or said.type}

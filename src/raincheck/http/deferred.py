"""GET …/chat/deferred-completion/{id}: the completion once there is one, as xAI's deferred API has it."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from litestar import get
from litestar.types import ASGIApp

from raincheck.core.errors import ResultGone
from raincheck.core.model import Request
from raincheck.core.status import Status
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.openapi import DEFERRED
from raincheck.http.problems import problem_of_end
from raincheck.http.render import ticket_json
from raincheck.http.stored import StoredAnswer, result_answer
from raincheck.http.waiting import read, wait_of

ASK_AGAIN = ("retry-after", "1")


@get("/v1/chat/deferred-completion/{request_id:str}", operation_class=DEFERRED, tags=["Deferred"])
async def retrieve_deferred(request: Call) -> ASGIApp:
    return await collect(request)


async def _ticket(request: Request) -> bytes:
    """By default a completion without choices."""
    return ticket_json(request)


async def collect(call: Call, *, pending: Callable[[Request], Awaitable[bytes]] = _ticket) -> Answer | StoredAnswer:
    """The result's bytes, or 202 with what `pending` makes of the record as it stands, or why there is none."""
    tenant = await caller(call, "read")
    wait = wait_of(call)
    request = await read(call, tenant, call.scope["path_params"]["request_id"], wait)
    if not request.status.final:
        return Answer(await pending(request), 202, headers=(ASK_AGAIN, *wait.applied))
    return await outcome(call, request, wait.applied)


async def outcome(call: Call, request: Request, headers: Sequence[tuple[str, str]]) -> Answer | StoredAnswer:
    """The end of a request: its result's bytes, or why there is none. Raises ResultGone."""
    if request.status is Status.COMPLETED and not request.purged:
        edge = edge_of(call)
        result = await edge.store.requests.result(request.tenant, request.id)
        if result is not None and result.blob is not None:
            return result_answer(edge.desk, result, headers)
        if result is not None:
            content_type = result.content_type.encode("latin-1", "replace")
            return Answer(result.body, result.status, headers=headers, content_type=content_type)
    problem = problem_of_end(request)
    if problem is None:
        raise ResultGone
    return replace(problem, headers=(*problem.headers, *headers)).answer(call.scope["path"])

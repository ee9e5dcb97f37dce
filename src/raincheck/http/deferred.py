"""GET …/chat/deferred-completion/{id}: the completion once there is one, as xAI's deferred API has it."""

from litestar import get

from raincheck.core.errors import ResultGone
from raincheck.core.status import Status
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.openapi import DEFERRED
from raincheck.http.problems import problem_of_end
from raincheck.http.render import ticket_json
from raincheck.http.waiting import read, wait_of

ASK_AGAIN = ("retry-after", "1")


@get("/v1/chat/deferred-completion/{request_id:str}", operation_class=DEFERRED, tags=["Deferred"])
async def retrieve_deferred(request: Call) -> Answer:
    return await collect(request)


async def collect(call: Call, *, pending: bytes | None = None) -> Answer:
    """The result's bytes, or 202 with `pending` (by default a completion without choices), or why there is none."""
    tenant = await caller(call, "read")
    wait = wait_of(call)
    request = await read(call, tenant, call.scope["path_params"]["request_id"], wait)
    if not request.status.final:
        body = ticket_json(request) if pending is None else pending
        return Answer(body, 202, headers=(ASK_AGAIN, *wait.applied))
    if request.status is Status.COMPLETED and not request.purged:
        result = await edge_of(call).store.requests.result(tenant.name, request.id)
        if result is not None:
            content_type = result.content_type.encode("latin-1", "replace")
            return Answer(result.body, result.status, headers=wait.applied, content_type=content_type)
    problem = problem_of_end(request)
    if problem is None:
        raise ResultGone
    return problem.answer(call.scope["path"])

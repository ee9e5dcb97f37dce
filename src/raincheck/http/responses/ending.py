"""Cancelling and forgetting a response."""

import msgspec
from litestar import delete, post
from litestar.types import ASGIApp

from raincheck.core.errors import AlreadyEnded, BadInput, NotEnded
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.responses import docs
from raincheck.http.responses.showing import STATUS, response_id, response_record, written

TAGS = ["Responses"]


@post("/v1/responses/{response_id:str}/cancel", operation_class=docs.CANCEL, status_code=200, tags=TAGS)
async def cancel_response(request: Call) -> ASGIApp:
    tenant = await caller(request, "write")
    requests = edge_of(request).store.requests
    await response_record(request, tenant)
    try:
        record = await requests.cancel(tenant.name, response_id(request))
    except AlreadyEnded:
        ended = await response_record(request, tenant)
        raise BadInput(f"Cannot cancel a {STATUS[ended.status]} response.") from None
    return await written(request, record, ())


@delete("/v1/responses/{response_id:str}", operation_class=docs.DELETE, status_code=200, tags=TAGS)
async def delete_response(request: Call) -> Answer:
    tenant = await caller(request, "write")
    record = await response_record(request, tenant)
    try:
        await edge_of(request).store.requests.delete(tenant.name, record.id)
    except NotEnded as error:
        word = "its batch goes on" if record.status.final else f"it is {STATUS[record.status]}; cancel it first"
        raise BadInput(f"Cannot delete {record.id}: {word}.") from error
    return Answer(msgspec.json.encode({"id": record.id, "object": "response", "deleted": True}))


HANDLERS = (cancel_response, delete_response)

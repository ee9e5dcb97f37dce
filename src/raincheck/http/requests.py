"""/v1/requests: the native view of deferred requests."""

from collections.abc import Mapping, Sequence

import msgspec
from litestar import delete, get, post
from litestar.types import ASGIApp
from msgspec.structs import replace

from raincheck.core.errors import BadInput, Stopping
from raincheck.core.model import Query, Request
from raincheck.core.status import Status
from raincheck.http import openapi
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.deferred import collect
from raincheck.http.edge import Call, base_of, edge_of
from raincheck.http.posting import request_id
from raincheck.http.render import page_json, view_json
from raincheck.http.showing import shown
from raincheck.http.waiting import read, wait_of
from raincheck.intake.options import read_after, read_limit, read_moment

MOST = 100
TAGS = ["Requests"]


@get("/v1/requests/{request_id:str}", operation_class=openapi.RETRIEVE, tags=TAGS)
async def retrieve_request(request: Call) -> Answer:
    tenant = await caller(request, "read")
    wait = wait_of(request)
    record = await read(request, tenant, _id(request), wait)
    return Answer(view_json(await edge_of(request).desk.complete(record), base_of(request)), headers=wait.applied)


@get("/v1/requests", operation_class=openapi.LIST, tags=TAGS)
async def list_requests(request: Call) -> Answer:
    tenant = await caller(request, "read")
    page = await edge_of(request).store.requests.search(tenant.name, query_of(request.query_params.dict()))
    return Answer(page_json(page))


@post("/v1/requests/{request_id:str}/cancel", operation_class=openapi.CANCEL, status_code=200, tags=TAGS)
async def cancel_request(request: Call) -> Answer:
    tenant = await caller(request, "write")
    record = await edge_of(request).store.requests.cancel(tenant.name, _id(request))
    return Answer(await shown(request, record))


@post("/v1/requests/{request_id:str}/requeue", operation_class=openapi.REQUEUE, status_code=200, tags=TAGS)
async def requeue_request(request: Call) -> Answer:
    tenant = await caller(request, "write")
    edge = edge_of(request)
    if edge.stopping():
        raise Stopping(retry_after=2)
    record = await edge.store.requests.requeue(
        tenant.name, _id(request), new_id=request_id(), max_pending=tenant.max_pending
    )
    return Answer(await shown(request, record))


@delete("/v1/requests/{request_id:str}", operation_class=openapi.DELETE, status_code=200, tags=TAGS)
async def delete_request(request: Call) -> Answer:
    tenant = await caller(request, "write")
    await edge_of(request).store.requests.delete(tenant.name, _id(request))
    return Answer(msgspec.json.encode({"id": _id(request), "object": "request.deleted", "deleted": True}))


@get("/v1/requests/{request_id:str}/result", operation_class=openapi.RESULT, tags=TAGS)
async def retrieve_result(request: Call) -> ASGIApp:
    async def whole(record: Request) -> bytes:
        return view_json(await edge_of(request).desk.complete(record), base_of(request))

    return await collect(request, pending=whole)


def query_of(params: Mapping[str, Sequence[str]]) -> Query:
    """The query a list call asks for; its parameters as in `metadata[team]=blue`. Raises BadInput."""
    query = Query()
    metadata: dict[str, str] = {}
    for name, values in params.items():
        value = values[-1]
        if name.startswith("metadata[") and name.endswith("]"):
            metadata[name[len("metadata[") : -1]] = value
            continue
        match name:
            case "status":
                query = replace(query, status=_status(value))
            case "limit":
                query = replace(query, limit=read_limit(value, MOST))
            case "order":
                query = replace(query, oldest_first=_oldest_first(value))
            case "created_after":
                query = replace(query, created_after=read_moment(value, name))
            case "created_before":
                query = replace(query, created_before=read_moment(value, name))
            case "model":
                query = replace(query, model=value)
            case "queue":
                query = replace(query, queue=value)
            case "operation":
                query = replace(query, operation=value)
            case "after":
                query = replace(query, after=read_after({name: value}))
            case _:
                raise BadInput(f"There is no filter {name!r}; see /schema for those there are.", param=name)
    return replace(query, metadata=metadata)


def _status(text: str) -> Status:
    try:
        return Status(text)
    except ValueError:
        raise BadInput(f"status must be one of {', '.join(Status)}, not {text!r}.", param="status") from None


def _oldest_first(text: str) -> bool:
    if text not in ("asc", "desc"):
        raise BadInput(f"order must be asc (oldest first) or desc (newest first), not {text!r}.", param="order")
    return text == "asc"


def _id(call: Call) -> str:
    return call.scope["path_params"]["request_id"]

"""/v1/batches as OpenAI's clients use it; where xAI's clients use the same paths, the call or the id tells."""

import msgspec
from litestar import get, post
from litestar.types import ASGIApp

from raincheck.core.batches import BatchDialect, BatchPage
from raincheck.core.errors import NotFound
from raincheck.core.model import Tenant
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.batches import docs
from raincheck.http.batches.as_openai import openai
from raincheck.http.batches.as_xai import xai
from raincheck.http.batches.calling import create_batch, told
from raincheck.http.batches.reading import batch_id, batch_json, read, shown, spoken
from raincheck.http.batches.xai import DEFAULT as XAI_DEFAULT
from raincheck.http.batches.xai import cancelled, limit_of
from raincheck.http.edge import Call, edge_of
from raincheck.http.waiting import wait_of
from raincheck.intake.batches.tokens import page_token
from raincheck.intake.options import read_after

TAGS = ["Batches"]
MOST = 100
DEFAULT = 20
_NO_PAGE = BatchPage([], has_more=False)
_XAI_PARAMS = ("pagination_token", "page_size")
_CANCEL = ":cancel"


@post("/v1/batches", operation_class=docs.CREATE, status_code=200, tags=TAGS)
async def create_any(request: Call) -> Answer:
    created = await create_batch(request, None)
    return Answer(await shown(request, created.batch), headers=told(created))


@get("/v1/batches", operation_class=docs.LIST, tags=TAGS)
async def list_any(request: Call) -> Answer:
    """Each dialect's batches in the array where its clients look; a call that pages on in one of them gets that one."""
    tenant = await caller(request, "read")
    params = request.query_params
    pages_on, of_xai = "after" in params, any(name in params for name in _XAI_PARAMS)
    ours = _NO_PAGE if of_xai else await _page(request, tenant, BatchDialect.OPENAI)
    theirs = _NO_PAGE if pages_on else await _page(request, tenant, BatchDialect.XAI)
    first, last = (ours.batches[0].id, ours.batches[-1].id) if ours.batches else (None, None)
    body = {
        "object": "list",
        "data": [openai(batch) for batch in ours.batches],
        "first_id": first,
        "last_id": last,
        "has_more": ours.has_more,
        "batches": [xai(batch) for batch in theirs.batches],
        "pagination_token": page_token(theirs),
    }
    return Answer(msgspec.json.encode(body))


@get("/v1/batches/{batch_id:str}", operation_class=docs.RETRIEVE, tags=TAGS)
async def retrieve_any(request: Call) -> Answer:
    tenant = await caller(request, "read")
    wait = wait_of(request)
    batch = await read(request, tenant, wait)
    return Answer(batch_json(batch, spoken(request, batch)), headers=wait.applied)


@post(
    ["/v1/batches/{batch_id:str}/cancel", "/xai/v1/batches/{batch_id:str}/cancel"],
    operation_class=docs.CANCEL,
    status_code=200,
    tags=TAGS,
)
async def cancel_any(request: Call) -> Answer:
    return await cancelled(request, batch_id(request))


# A path's parameter is a whole segment here, so this takes `{id}:cancel` apart itself.
@post(
    ["/v1/batches/{batch_id:str}", "/xai/v1/batches/{batch_id:str}"],
    operation_class=docs.XAI_CANCEL,
    status_code=200,
    tags=TAGS,
)
async def cancel_in_xai_s_way(request: Call) -> ASGIApp:
    name = batch_id(request)
    if not name.endswith(_CANCEL):
        raise NotFound(f"There is nothing to POST to at {request.scope['path']}; /schema lists what there is.")
    return await cancelled(request, name.removesuffix(_CANCEL))


async def _page(call: Call, tenant: Tenant, dialect: BatchDialect) -> BatchPage:
    mine = dialect is BatchDialect.OPENAI
    return await edge_of(call).store.batches.list(
        tenant.name,
        dialect=dialect,
        after=read_after(call.query_params) if mine else call.query_params.get("pagination_token") or None,
        limit=limit_of(call, MOST, DEFAULT if mine else XAI_DEFAULT),
    )


HANDLERS = (create_any, list_any, retrieve_any, cancel_any, cancel_in_xai_s_way)

"""xAI's batches: on /xai/v1, and what only its clients ask for on /v1 as well."""

import msgspec
from litestar import get, post

from raincheck.core.batches import ENDED_BY_CANCEL, BatchDialect
from raincheck.core.errors import Stopping
from raincheck.core.model import Tenant
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.batches import docs
from raincheck.http.batches.as_xai import XaiRequestObject, moment, page, xai
from raincheck.http.batches.calling import create_batch, json_body, told
from raincheck.http.batches.reading import batch_id, batch_json, read, shown, source_of
from raincheck.http.edge import Call, edge_of
from raincheck.http.waiting import wait_of
from raincheck.intake.batches.adding import add, understand
from raincheck.intake.batches.line import Lines
from raincheck.intake.batches.overview import Overview, Standing
from raincheck.intake.batches.tokens import Mark, page_token, read_token, write_token
from raincheck.intake.options import idempotency_key, read_limit

TAGS = ["xAI"]
MOST = 1_000
DEFAULT = 100


@post("/xai/v1/batches", operation_class=docs.XAI_CREATE, status_code=200, tags=TAGS)
async def create_xai_batch(request: Call) -> Answer:
    created = await create_batch(request, BatchDialect.XAI)
    return Answer(await shown(request, created.batch), headers=told(created))


@get("/xai/v1/batches", operation_class=docs.XAI_LIST, tags=TAGS)
async def list_xai_batches(request: Call) -> Answer:
    tenant = await caller(request, "read")
    found = await edge_of(request).store.batches.list(
        tenant.name,
        dialect=BatchDialect.XAI,
        after=request.query_params.get("pagination_token") or None,
        limit=limit_of(request),
    )
    return Answer(msgspec.json.encode(page("batches", [xai(batch) for batch in found.batches], page_token(found))))


@get("/xai/v1/batches/{batch_id:str}", operation_class=docs.XAI_RETRIEVE, tags=TAGS)
async def retrieve_xai_batch(request: Call) -> Answer:
    tenant = await caller(request, "read")
    wait = wait_of(request)
    return Answer(batch_json(await read(request, tenant, wait), BatchDialect.XAI), headers=wait.applied)


@post(
    ["/v1/batches/{batch_id:str}/requests", "/xai/v1/batches/{batch_id:str}/requests"],
    operation_class=docs.ADD,
    status_code=200,
    tags=TAGS,
)
async def add_requests(request: Call) -> Answer:
    tenant = await caller(request, "write")
    edge = edge_of(request)
    if edge.stopping():
        raise Stopping(retry_after=2)
    key = idempotency_key(dict(request.scope["headers"]))
    body = await json_body(request, tenant)
    # Before anything is understood or kept for it.
    await edge.store.batches.get(tenant.name, batch_id(request))
    lines = Lines(endpoint=None, xai=False, videos=edge.videos, catalogue=edge.catalogue)
    added = await understand(body, lines)
    batch = await add(added, tenant.name, batch_id(request), key, batches=edge.store.batches, inbox=edge.inbox)
    return Answer(await shown(request, batch))


@get(
    ["/v1/batches/{batch_id:str}/requests", "/xai/v1/batches/{batch_id:str}/requests"],
    operation_class=docs.REQUESTS,
    tags=TAGS,
)
async def list_requests(request: Call) -> Answer:
    tenant = await caller(request, "read")
    after, limit = token_of(request), limit_of(request)
    batches = edge_of(request).store.batches
    batch = await batches.get(tenant.name, batch_id(request))
    standing, mark = await Overview(batches, source_of(request)).page(batch, after, limit)
    shown = [_shown(each) for each in standing]
    token = None if mark is None else write_token(mark)
    return Answer(msgspec.json.encode(page("batch_request_metadata", shown, token)))


async def cancelled(call: Call, name: str) -> Answer:
    """Cancel a batch, in whatever way it was asked for."""
    tenant: Tenant = await caller(call, "write")
    batch = await edge_of(call).store.batches.cancel(tenant.name, name, limit=ENDED_BY_CANCEL)
    return Answer(await shown(call, batch))


def token_of(call: Call) -> Mark:
    """Where the page of lines begins that a call asks for. Raises BadInput."""
    return read_token(call.query_params.get("pagination_token"))


def limit_of(call: Call, most: int = MOST, default: int = DEFAULT) -> int:
    """How many items a call asks for, under either name. Raises BadInput."""
    for name in ("page_size", "limit"):
        if (text := call.query_params.get(name)) is not None:
            return read_limit(text, most, param=name)
    return default


def _shown(each: Standing) -> XaiRequestObject:
    return XaiRequestObject(
        batch_request_id=each.custom_id,
        endpoint=each.url,
        model=each.model,
        create_time=moment(each.created_at),
        finish_time=None if each.ended_at is None else moment(each.ended_at),
        state=each.state,
    )


HANDLERS = (create_xai_batch, list_xai_batches, retrieve_xai_batch, add_requests, list_requests)

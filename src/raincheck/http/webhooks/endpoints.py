"""/v1/webhook_endpoints: where a tenant is told of events, as OpenAI's clients manage them.

Who says where events go learns what they tell, and whoever has a secret can pass for this server: both take a key that
may read as well as write.
"""

import asyncio

import msgspec
from litestar import delete, get, post

from raincheck.core.errors import BadInput, SecretSealed
from raincheck.core.events import known_types
from raincheck.core.webhooks import MOST_ENDPOINTS, Endpoint
from raincheck.delivery.keys import hint, new_secret, shown
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.webhooks import docs
from raincheck.http.webhooks.reading import (
    ChangeBody,
    NewBody,
    RotateBody,
    TestBody,
    change_of,
    is_like,
    new_endpoint,
    read_said,
)
from raincheck.http.webhooks.showing import EndpointObject, endpoint_object, list_json
from raincheck.http.webhooks.testing import send_test
from raincheck.intake.admit import REPEAT_WINDOW
from raincheck.intake.options import client_retry, read_after, read_limit

TAGS = ["Webhooks"]
MOST = 100
DEFAULT = 20


@post("/v1/webhook_endpoints", operation_class=docs.CREATE, status_code=200, tags=TAGS)
async def create_endpoint(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    edge = edge_of(request)
    endpoint = new_endpoint(request, tenant, await read_said(request, tenant, NewBody))
    if client_retry(dict(request.scope["headers"])) and (before := await _made_before(edge, endpoint)) is not None:
        return _with_secret(edge, *before)
    secret = new_secret(endpoint.signature)
    await edge.store.endpoints.create(endpoint, edge.carrier.sealer.seal(secret))
    return _with_secret(edge, endpoint, secret)


@get("/v1/webhook_endpoints", operation_class=docs.LIST, tags=TAGS)
async def list_endpoints(request: Call) -> Answer:
    tenant = await caller(request, "read")
    params = request.query_params
    order = params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadInput(f"order must be asc or desc, not {order!r}.", param="order")
    page = await edge_of(request).store.endpoints.list(
        tenant.name,
        after=read_after(params),
        limit=read_limit(params.get("limit", str(DEFAULT)), MOST),
        newest=order == "desc",
    )
    items = await asyncio.gather(*(_shown(request, endpoint) for endpoint in page.endpoints))
    return Answer(list_json(items, has_more=page.has_more))


@get("/v1/webhook_endpoints/{endpoint_id:str}", operation_class=docs.RETRIEVE, tags=TAGS)
async def retrieve_endpoint(request: Call) -> Answer:
    tenant = await caller(request, "read")
    endpoint = await edge_of(request).store.endpoints.get(tenant.name, _id(request))
    return Answer(msgspec.json.encode(await _shown(request, endpoint)))


@post("/v1/webhook_endpoints/{endpoint_id:str}", operation_class=docs.UPDATE, status_code=200, tags=TAGS)
async def update_endpoint(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    change = change_of(request, await read_said(request, tenant, ChangeBody))
    endpoint = await edge_of(request).store.endpoints.update(tenant.name, _id(request), change)
    return Answer(msgspec.json.encode(await _shown(request, endpoint)))


@delete("/v1/webhook_endpoints/{endpoint_id:str}", operation_class=docs.DELETE, status_code=200, tags=TAGS)
async def delete_endpoint(request: Call) -> Answer:
    tenant = await caller(request, "write")
    await edge_of(request).store.endpoints.delete(tenant.name, _id(request))
    return Answer(msgspec.json.encode({"id": _id(request), "object": "webhook_endpoint.deleted", "deleted": True}))


@post("/v1/webhook_endpoints/{endpoint_id:str}/rotate_secret", operation_class=docs.ROTATE, status_code=200, tags=TAGS)
async def rotate_endpoint_secret(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    edge, endpoints = edge_of(request), edge_of(request).store.endpoints
    body = await read_said(request, tenant, RotateBody)
    secret = new_secret((await endpoints.get(tenant.name, _id(request))).signature)
    await endpoints.rotate(tenant.name, _id(request), edge.carrier.sealer.seal(secret), overlap=body.overlap)
    return _with_secret(edge, await endpoints.get(tenant.name, _id(request)), secret)


@post("/v1/webhook_endpoints/{endpoint_id:str}/test", operation_class=docs.TEST, status_code=200, tags=TAGS)
async def test_endpoint(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    endpoint = await edge_of(request).store.endpoints.get(tenant.name, _id(request))
    body = await read_said(request, tenant, TestBody)
    status_code = await send_test(edge_of(request), endpoint, body.event_type)
    answer = {
        "object": "webhook_endpoint.test",
        "event_type": body.event_type,
        "status_code": status_code,
        "success": True,
        "webhook_endpoint_id": endpoint.id,
    }
    return Answer(msgspec.json.encode(answer))


@get("/v1/webhook_event_types", operation_class=docs.TYPES, tags=TAGS)
async def list_event_types(request: Call) -> Answer:
    await caller(request, "read")
    return Answer(msgspec.json.encode({"object": "list", "data": known_types()}))


async def _made_before(edge: Edge, wanted: Endpoint) -> tuple[Endpoint, str] | None:
    """The same endpoint and its secret, when a first try made it whose answer the client never had. Raises
    SecretSealed."""
    endpoints = edge.store.endpoints
    page = await endpoints.list(wanted.tenant, limit=MOST_ENDPOINTS)
    for each in page.endpoints:
        if is_like(each, wanted) and each.created_at > wanted.created_at - REPEAT_WINDOW:
            key = await endpoints.signing_key(each.tenant, each.id)
            return key and (each, edge.carrier.sealer.unseal(key.secret))
    return None


def _with_secret(edge: Edge, endpoint: Endpoint, secret: str) -> Answer:
    return Answer(msgspec.json.encode(endpoint_object(endpoint, hint(secret), edge.clock(), secret=shown(secret))))


async def _shown(call: Call, endpoint: Endpoint) -> EndpointObject:
    edge = edge_of(call)
    key = await edge.store.endpoints.signing_key(endpoint.tenant, endpoint.id)
    try:
        told = key and hint(edge.carrier.sealer.unseal(key.secret))
    except SecretSealed:
        told = None  # All else about it is there to be seen, and a new secret puts it right.
    return endpoint_object(endpoint, told, edge.clock())


def _id(call: Call) -> str:
    return call.scope["path_params"]["endpoint_id"]


HANDLERS = (
    create_endpoint,
    list_endpoints,
    retrieve_endpoint,
    update_endpoint,
    delete_endpoint,
    rotate_endpoint_secret,
    test_endpoint,
    list_event_types,
)

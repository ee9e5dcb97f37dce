"""/v1/webhook_secret: what deliveries to a tenant's webhook_urls are signed with."""

import msgspec
from litestar import get, post

from raincheck.core.clock import seconds
from raincheck.core.webhooks import SigningKey
from raincheck.delivery.keys import hint, new_secret, shown
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.webhooks import docs
from raincheck.http.webhooks.reading import RotateBody, read_said

TAGS = ["Webhooks"]


@get("/v1/webhook_secret", operation_class=docs.SECRET, tags=TAGS)
async def retrieve_secret(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    edge = edge_of(request)
    key = await edge.store.endpoints.signing_key(tenant.name)
    if key is None:
        key = await edge.store.endpoints.signing_key(tenant.name, offered=edge.carrier.sealer.seal(new_secret()))
    return _answer(edge, key)


@post("/v1/webhook_secret/rotate", operation_class=docs.ROTATE_SECRET, status_code=200, tags=TAGS)
async def rotate_secret(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    edge = edge_of(request)
    body = await read_said(request, tenant, RotateBody)
    sealed = edge.carrier.sealer.seal(new_secret())
    return _answer(edge, await edge.store.endpoints.rotate(tenant.name, None, sealed, overlap=body.overlap))


def _answer(edge: Edge, key: SigningKey | None) -> Answer:
    """Raises SecretSealed."""
    assert key is not None  # noqa: S101 - What is offered is taken, or there was one already.
    secret = edge.carrier.sealer.unseal(key.secret)
    until = max((until for _, until in key.previous), default=None)
    answer = {
        "object": "webhook_secret",
        "signing_secret": shown(secret),
        "signing_secret_hint": hint(secret),
        "created_at": seconds(key.created_at),
        "previous_active_until": None if until is None or until <= edge.clock() else seconds(until),
    }
    return Answer(msgspec.json.encode(answer))


HANDLERS = (retrieve_secret, rotate_secret)

"""/v1/webhook_deliveries: the log of what was sent to whom and what came of it, and sending it again."""

from collections.abc import Mapping, Sequence

import msgspec
from litestar import get, post
from msgspec.structs import replace

from raincheck.core.errors import BadInput
from raincheck.core.webhooks import DeliveryQuery, DeliveryStatus, Redelivery
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.webhooks import docs
from raincheck.http.webhooks.reading import RedeliverBody, read_said
from raincheck.http.webhooks.showing import delivery_object, list_json
from raincheck.intake.options import moment, read_after, read_limit, read_moment

TAGS = ["Webhooks"]
MOST = 100
AT_ONCE = 500
"""Deliveries that one transaction looks at when many are sent again."""


@get("/v1/webhook_deliveries", operation_class=docs.DELIVERIES, tags=TAGS)
async def list_deliveries(request: Call) -> Answer:
    tenant = await caller(request, "read")
    page = await edge_of(request).store.deliveries.list(tenant.name, _query(request.query_params.dict()))
    return Answer(list_json([delivery_object(each) for each in page.deliveries], has_more=page.has_more))


@get("/v1/webhook_deliveries/{delivery_id:str}", operation_class=docs.DELIVERY, tags=TAGS)
async def retrieve_delivery(request: Call) -> Answer:
    tenant = await caller(request, "read")
    deliveries = edge_of(request).store.deliveries
    delivery = await deliveries.get(tenant.name, _id(request))
    attempts = await deliveries.attempts(tenant.name, delivery.id)
    return Answer(msgspec.json.encode(delivery_object(delivery, attempts)))


@post("/v1/webhook_deliveries/{delivery_id:str}/redeliver", operation_class=docs.REDELIVER, status_code=200, tags=TAGS)
async def redeliver_one(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    delivery = await edge_of(request).store.deliveries.redeliver(tenant.name, _id(request))
    return Answer(msgspec.json.encode(delivery_object(delivery)))


@post("/v1/webhook_deliveries/redeliver", operation_class=docs.REDELIVER_ALL, status_code=200, tags=TAGS)
async def redeliver_all(request: Call) -> Answer:
    tenant = await caller(request, "read", "write")
    edge = edge_of(request)
    body = await read_said(request, tenant, RedeliverBody)
    if body.endpoint_id is not None:
        await edge.store.endpoints.get(tenant.name, body.endpoint_id)
    wanted = Redelivery(
        endpoint_id=body.endpoint_id,
        since=moment(body.since, "since") or 0,
        until=moment(body.until, "until"),
        delivered_too=body.delivered_too,
    )
    count, after = await edge.store.deliveries.redeliver_all(tenant.name, wanted, after=None, limit=AT_ONCE)
    while after is not None:
        more, after = await edge.store.deliveries.redeliver_all(tenant.name, wanted, after=after, limit=AT_ONCE)
        count += more
    return Answer(msgspec.json.encode({"object": "webhook_redelivery", "count": count}))


def _query(params: Mapping[str, Sequence[str]]) -> DeliveryQuery:
    """What a list call asks for. Raises BadInput."""
    query = DeliveryQuery()
    for name, values in params.items():
        value = values[-1]
        match name:
            case "endpoint_id":
                query = replace(query, endpoint_id=value)
            case "object_id":
                query = replace(query, object_id=value)
            case "status":
                query = replace(query, status=_status(value))
            case "since":
                query = replace(query, since=read_moment(value, name))
            case "after":
                query = replace(query, after=read_after({name: value}))
            case "limit":
                query = replace(query, limit=read_limit(value, MOST))
            case _:
                raise BadInput(f"There is no filter {name!r}; see /schema for those there are.", param=name)
    return query


def _status(text: str) -> DeliveryStatus:
    try:
        return DeliveryStatus(text)
    except ValueError:
        raise BadInput(f"status must be one of {', '.join(DeliveryStatus)}, not {text!r}.", param="status") from None


def _id(call: Call) -> str:
    return call.scope["path_params"]["delivery_id"]


HANDLERS = (list_deliveries, retrieve_delivery, redeliver_one, redeliver_all)

"""Takes an endpoint and a type of event, sends it a sample of one, hands on what it answered."""

from msgspec import json
from msgspec.structs import replace

from raincheck.core.errors import BadInput, WebhookUnreachable
from raincheck.core.events import ALL, ENDPOINT_DISABLED
from raincheck.core.ids import new_id
from raincheck.core.model import Fence
from raincheck.core.webhooks import Delivery, DeliveryLease, DeliveryStatus, Endpoint, Sent
from raincheck.http.edge import Edge
from raincheck.http.webhooks.reading import check_type

_PREFIXES = {"batch": "batch", "response": "resp", "video": "video"}
"""What ids of the OpenAI objects begin with that a type speaks of."""


async def send_test(edge: Edge, endpoint: Endpoint, event_type: str) -> int:
    """The status it answered with; what became of it is in the delivery log, and nowhere else.

    Raises BadInput for what no event is called, TooManyTests, WebhookUnreachable when there was no answer.
    """
    if event_type == ALL:
        raise BadInput("event_type must be the name of one type of event.", param="event_type")
    check_type([event_type], "event_type")
    delivery = _sample(endpoint, event_type, edge.clock())
    with edge.test_places.place(endpoint.tenant, endpoint.id):
        key = await edge.store.endpoints.signing_key(endpoint.tenant, endpoint.id)
        lease = DeliveryLease(fence=Fence(delivery.id, 1), delivery=delivery, signature=endpoint.signature, key=key)
        sent = await edge.carrier.carry(lease)
        await edge.store.deliveries.note(_ended(delivery, sent), sent.attempt)
    if sent.attempt.status_code is None:
        raise WebhookUnreachable(f"There was no answer from {endpoint.url}. {sent.attempt.error or ''}")
    return sent.attempt.status_code


def _sample(endpoint: Endpoint, event_type: str, now: int) -> Delivery:
    """An event about something that never was; its type says how that ended."""
    return Delivery(
        id=new_id("whd"),
        tenant=endpoint.tenant,
        event_id=new_id("evt"),
        type=event_type,
        object_id=endpoint.id if event_type == ENDPOINT_DISABLED else _sample_id(event_type),
        endpoint_id=endpoint.id,
        url=endpoint.url,
        created_at=now,
        detail=_detail(endpoint, event_type),
        test=True,
        attempt=1,
    )


def _detail(endpoint: Endpoint, event_type: str) -> bytes:
    """What marks it, also when it is sent again."""
    told = {"url": endpoint.url, "reason": "test"} if event_type == ENDPOINT_DISABLED else {}
    return json.encode(told | {"test": True})


def _sample_id(event_type: str) -> str:
    family, _, rest = event_type.partition(".")
    prefix = _PREFIXES.get(family, "req") if "." not in rest else "req"
    return new_id(prefix)


def _ended(delivery: Delivery, sent: Sent) -> Delivery:
    """It is not tried again, whatever the schedule would have."""
    done = sent.status is DeliveryStatus.DELIVERED
    return replace(
        delivery,
        status=DeliveryStatus.DELIVERED if done else DeliveryStatus.FAILED,
        ended_at=sent.attempt.ended_at,
        status_code=sent.attempt.status_code,
        error=sent.attempt.error,
    )

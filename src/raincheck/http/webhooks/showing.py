"""Takes endpoints and deliveries, hands on their JSON: OpenAI's members, and what only this server tells."""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from raincheck.core.clock import SECOND, seconds
from raincheck.core.webhooks import Delivery, DeliveryAttempt, DeliveryStatus, Endpoint, Signature


class EndpointStateObject(msgspec.Struct, kw_only=True):
    """How an endpoint has been doing, and how it is told."""

    status: str
    """`enabled`, `failing` or `disabled`."""
    disabled_at: float | None
    disabled_reason: str | None
    """Why, when it was the server that did it."""
    failures: int
    """Attempts in a row that failed."""
    failing_since: float | None
    next_try_at: float | None
    """Set while it is left alone because it keeps failing."""
    include_result: bool
    signature: Signature


class EndpointObject(msgspec.Struct, kw_only=True):
    """Where a tenant is told of events, as OpenAI has it."""

    id: str
    object: str = "webhook_endpoint"
    created_at: int
    updated_at: int
    event_types: list[str]
    name: str
    url: str
    signing_secret_hint: str | None
    """None when the secret was sealed with a key that the server does not have."""
    signing_secret: str | UnsetType = UNSET
    """Only in the answer that makes it."""
    raincheck: EndpointStateObject


class DeliveryAttemptObject(msgspec.Struct, kw_only=True):
    """One try to deliver."""

    number: int
    started_at: float
    duration_ms: float
    status_code: int | None
    error_code: str | None
    error: str | None
    response: str | None
    """The beginning of what the receiver answered."""


class ReceiverStateObject(msgspec.Struct):
    """How the receiver of a delivery has been doing, whatever was to be delivered there."""

    failures: int
    """Attempts in a row that failed."""
    next_try_at: float | None
    """Set while it is left alone because of that, or because it asked for it."""


class DeliveryObject(msgspec.Struct, kw_only=True):
    """One event on its way to one receiver."""

    id: str
    object: str = "webhook_delivery"
    event_id: str
    """The `webhook-id`, the same each time it is sent."""
    event_type: str
    object_id: str
    """What it tells of: a request, a batch or an endpoint."""
    endpoint_id: str | None
    """None: it goes to the `webhook_url` of what it tells of."""
    url: str
    status: DeliveryStatus
    attempt: int
    created_at: float
    next_attempt_at: float | None
    """None while it is being sent, while it waits for others to the same receiver, and at the end."""
    sending: bool
    test: bool
    """A sample that was asked for."""
    ended_at: float | None
    status_code: int | None
    """What the receiver answered to the last attempt."""
    error: str | None
    receiver: ReceiverStateObject
    attempts: list[DeliveryAttemptObject] | UnsetType = UNSET
    """Left out of lists."""


def endpoint_object(
    endpoint: Endpoint, hint: str | None, now: int, *, secret: str | UnsetType = UNSET
) -> EndpointObject:
    """`secret` as its owner verifies with it, when it has just been made."""
    return EndpointObject(
        id=endpoint.id,
        created_at=endpoint.created_at // SECOND,
        updated_at=endpoint.updated_at // SECOND,
        event_types=list(endpoint.event_types),
        name=endpoint.name,
        url=endpoint.url,
        signing_secret_hint=hint,
        signing_secret=secret,
        raincheck=_state(endpoint, now),
    )


def delivery_object(delivery: Delivery, attempts: Sequence[DeliveryAttempt] | None = None) -> DeliveryObject:
    waits = delivery.status is DeliveryStatus.PENDING and not delivery.sending
    return DeliveryObject(
        id=delivery.id,
        event_id=delivery.event_id,
        event_type=delivery.type,
        object_id=delivery.object_id,
        endpoint_id=delivery.endpoint_id,
        url=delivery.url,
        status=delivery.status,
        attempt=delivery.attempt,
        created_at=seconds(delivery.created_at),
        next_attempt_at=_time(delivery.due_at) if waits else None,
        sending=delivery.sending,
        test=delivery.test,
        ended_at=_time(delivery.ended_at),
        status_code=delivery.status_code,
        error=delivery.error,
        receiver=ReceiverStateObject(delivery.failures, _time(delivery.open_until)),
        attempts=UNSET if attempts is None else [_attempt(each) for each in attempts],
    )


def list_json(items: Sequence[EndpointObject] | Sequence[DeliveryObject], *, has_more: bool) -> bytes:
    first, last = (items[0].id, items[-1].id) if items else (None, None)
    return msgspec.json.encode(
        {"object": "list", "data": items, "first_id": first, "last_id": last, "has_more": has_more}
    )


def _state(endpoint: Endpoint, now: int) -> EndpointStateObject:
    status = "enabled" if endpoint.failures == 0 else "failing"
    is_open = endpoint.open_until is not None and endpoint.open_until > now
    disabled = endpoint.disabled_at is not None
    return EndpointStateObject(
        status="disabled" if disabled else status,
        disabled_at=_time(endpoint.disabled_at),
        disabled_reason=endpoint.disabled_reason,
        failures=endpoint.failures,
        failing_since=_time(endpoint.failing_since),
        next_try_at=_time(endpoint.open_until) if is_open and not disabled else None,
        include_result=endpoint.include_result,
        signature=endpoint.signature,
    )


def _attempt(attempt: DeliveryAttempt) -> DeliveryAttemptObject:
    return DeliveryAttemptObject(
        number=attempt.number,
        started_at=seconds(attempt.started_at),
        duration_ms=(attempt.ended_at - attempt.started_at) / 1_000,
        status_code=attempt.status_code,
        error_code=attempt.error_code,
        error=attempt.error,
        response=attempt.response,
    )


def _time(us: int | None) -> float | None:
    return None if us is None else seconds(us)

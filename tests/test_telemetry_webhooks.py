"""What the server says of webhooks: how attempts went and which endpoints were given up, never where to or what."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from raincheck.core.clock import HOUR, SECOND, now
from raincheck.core.model import Fence
from raincheck.core.webhooks import (
    ClaimedDeliveries,
    Delivery,
    DeliveryAttempt,
    DeliveryLease,
    DeliveryStatus,
    Sent,
    Strangers,
)
from raincheck.store.protocol import Store
from raincheck.telemetry import Metrics, observe
from raincheck.telemetry.webhooks import ObservedCarrier, delivery_crashed
from tests.delivery.office import Office, an_office
from tests.logs import logged

HOOK = "https://example.com/hook?token=geheim"


def a_lease(*, attempt: int = 1, created_at: int | None = None) -> DeliveryLease:
    delivery = Delivery(
        id="whd_1",
        tenant="t",
        event_id="evt_1",
        type="chat.completion.completed",
        object_id="req_1",
        endpoint_id="we_1",
        url=HOOK,
        created_at=now() if created_at is None else created_at,
        attempt=attempt,
    )
    return DeliveryLease(fence=Fence("whd_1", attempt), delivery=delivery)


def an_outcome(lease: DeliveryLease, outcome: DeliveryStatus, **attempt: Any) -> Sent:
    begun = lease.delivery.created_at + SECOND
    tried = DeliveryAttempt(number=lease.delivery.attempt, started_at=begun, ended_at=begun + SECOND, **attempt)
    return Sent(fence=lease.fence, status=outcome, attempt=tried)


async def carried(*outcomes: Sent, metrics: Metrics | None = None, clock: Any = now) -> list[dict[str, Any]]:
    """What was logged of these."""
    left = list(outcomes)

    async def carry(_: DeliveryLease) -> Sent:
        return left.pop(0)

    with logged() as events:
        carrier = ObservedCarrier(carry, metrics or Metrics(), clock)
        for each in outcomes:
            assert await carrier.carry(a_lease(attempt=each.attempt.number)) is each
    return events


async def test_attempts_are_spoken_of_by_how_they_went() -> None:
    lease = a_lease()
    events = await carried(
        an_outcome(lease, DeliveryStatus.DELIVERED, status_code=204),
        an_outcome(lease, DeliveryStatus.PENDING, status_code=500, error_code="status", error="geheim"),
        an_outcome(lease, DeliveryStatus.FAILED, error_code="refused_address", error="geheim", response="geheim"),
    )
    assert [(each["event"], each["log_level"]) for each in events] == [
        ("webhook.delivered", "debug"),
        ("webhook.retried", "info"),
        ("webhook.failed", "warning"),
    ]
    assert {(each["id"], each["endpoint"], each["attempt"]) for each in events} == {("whd_1", "we_1", 1)}
    assert [each["code"] for each in events[1:]] == ["status", "refused_address"]
    assert events[1]["receiver_status"] == 500
    # Neither where to, nor what was answered.
    assert "geheim" not in str(events)


async def test_attempts_are_counted_and_timed() -> None:
    metrics = Metrics()
    first, second = a_lease(), a_lease(attempt=2)
    await carried(
        an_outcome(first, DeliveryStatus.PENDING, error_code="timeout"),
        an_outcome(first, DeliveryStatus.DELIVERED),
        an_outcome(second, DeliveryStatus.DELIVERED),
        metrics=metrics,
    )
    page = metrics.page().decode()
    assert 'raincheck_deliveries_total{outcome="retried"} 1.0' in page
    assert 'raincheck_deliveries_total{outcome="delivered"} 2.0' in page
    assert "raincheck_delivery_attempt_seconds_sum 3.0" in page
    # How long an event takes says nothing of this server when its receiver was away meanwhile.
    assert "raincheck_delivery_seconds_count 1.0" in page


async def test_a_missing_sealing_key_is_told_of_once_an_hour() -> None:
    moment = now()
    sealed = an_outcome(a_lease(), DeliveryStatus.PENDING, error_code="secret_sealed", error="Set the key.")
    moments = iter([moment, moment, moment + 1, moment + HOUR, moment + HOUR])
    events = await carried(sealed, sealed, sealed, clock=lambda: next(moments))
    told = [each for each in events if each["event"] == "webhook.sealed"]
    assert [(each["log_level"], each["reason"]) for each in told] == [("error", "Set the key.")] * 2


def test_a_fault_of_ours_is_told_with_the_delivery() -> None:
    with logged() as events:
        delivery_crashed(KeyError("a bug"), "whd_1")
    assert [(each["event"], each["id"], each["log_level"]) for each in events] == [
        ("webhook.crashed", "whd_1", "error")
    ]


# --- the outbox


async def leased(office: Office, store: Store) -> DeliveryLease:
    claimed: ClaimedDeliveries = await store.deliveries.claim(
        worker="w", lease_for=60 * SECOND, limit=1, places=8, strangers=Strangers(1, each=1)
    )
    [lease] = claimed.leases
    return lease


async def test_an_endpoint_that_is_disabled_is_told_of(tmp_path: Path) -> None:
    metrics = Metrics()
    with logged() as events:
        async with an_office(tmp_path) as office:
            store = observe(office.store, metrics)
            endpoint = await office.endpoint(HOOK)
            await office.end()
            lease = await leased(office, store)
            gone = replace(an_outcome(lease, DeliveryStatus.FAILED, status_code=410), gone=True)
            finished = await store.deliveries.finish([gone], places=8, disable_after=HOUR)
            assert [each.id for each in finished.disabled] == [endpoint.id]
    [told] = [each for each in events if each["event"] == "webhook.endpoint_disabled"]
    assert (told["id"], told["tenant"], told["log_level"]) == (endpoint.id, "t", "warning")
    assert "geheim" not in str(events)
    assert "raincheck_endpoints_disabled_total 1.0" in metrics.page().decode()


async def test_an_outcome_that_came_too_late_is_told_of(tmp_path: Path) -> None:
    metrics = Metrics()
    with logged() as events:
        async with an_office(tmp_path) as office:
            store = observe(office.store, metrics)
            await office.end(HOOK)
            lease = await leased(office, store)
            office.clock.advance(seconds=61)
            await leased(office, store)
            await store.deliveries.finish([an_outcome(lease, DeliveryStatus.DELIVERED)], places=8, disable_after=HOUR)
    assert [each["id"] for each in events if each["event"] == "webhook.lost"] == [lease.delivery.id]
    assert 'raincheck_deliveries_total{outcome="lost"} 1.0' in metrics.page().decode()


def test_how_long_the_next_webhook_has_been_due_is_shown() -> None:
    metrics, moment = Metrics(), now()
    for due, shown in ((moment - 3 * SECOND, "3.0"), (moment + SECOND, "0.0"), (None, "0.0")):
        metrics.lag(due, now=moment)
        assert f"raincheck_delivery_overdue_seconds {shown}" in metrics.page().decode()

"""What is said and counted of webhooks: each attempt, and the endpoints that were given up. Where they go is not
logged, since such URLs may hold passwords, nor what a receiver answered: that is in the delivery log, for its tenant.
"""

from collections.abc import Sequence

import structlog

from raincheck.core.clock import HOUR, SECOND, Clock, seconds
from raincheck.core.clock import now as system_clock
from raincheck.core.errors import SecretSealed
from raincheck.core.webhooks import DeliveryLease, DeliveryStatus, FinishedDeliveries, Sent
from raincheck.delivery.loop import Carry
from raincheck.store.outbox import Deliveries
from raincheck.telemetry.metrics import Metrics

SAY_AGAIN_AFTER = HOUR
"""Without the key that secrets are sealed with every attempt fails: how often that is said."""

log = structlog.stdlib.get_logger("raincheck")


def delivery_crashed(error: Exception, delivery_id: str) -> None:
    """Log that a delivery met an error nobody expected; it is tried again."""
    log.error("webhook.crashed", id=delivery_id, exc_info=error)


class ObservedCarrier:
    """Attempts to deliver, timed and spoken of; otherwise what it wraps."""

    def __init__(self, inner: Carry, metrics: Metrics, clock: Clock = system_clock) -> None:
        self._inner = inner
        self._metrics = metrics
        self._clock = clock
        self._log = log.bind()
        self._say_sealed_at = 0

    async def carry(self, lease: DeliveryLease) -> Sent:
        sent = await self._inner(lease)
        self._count(lease, sent)
        self._speak_of(lease, sent)
        return sent

    def _count(self, lease: DeliveryLease, sent: Sent) -> None:
        attempt = sent.attempt
        retried = sent.status is DeliveryStatus.PENDING
        self._metrics.deliveries["retried" if retried else sent.status.value].inc()
        self._metrics.delivery_took.observe((attempt.ended_at - attempt.started_at) / SECOND)
        if sent.status is DeliveryStatus.DELIVERED and attempt.number == 1:
            self._metrics.arrived.observe(max(0, attempt.ended_at - lease.delivery.created_at) / SECOND)

    def _speak_of(self, lease: DeliveryLease, sent: Sent) -> None:
        attempt, delivery = sent.attempt, lease.delivery
        said = self._log.bind(id=delivery.id, endpoint=delivery.endpoint_id, attempt=attempt.number)
        if sent.status is DeliveryStatus.DELIVERED:
            said.debug("webhook.delivered")
        elif sent.status is DeliveryStatus.PENDING:
            said.info("webhook.retried", code=attempt.error_code, receiver_status=attempt.status_code)
        else:
            said.warning("webhook.failed", code=attempt.error_code, receiver_status=attempt.status_code)
        if attempt.error_code == SecretSealed.code and self._clock() >= self._say_sealed_at:
            self._say_sealed_at = self._clock() + SAY_AGAIN_AFTER
            self._log.error("webhook.sealed", reason=attempt.error)


class ObservedDeliveries:
    """The outbox with its losses and its disabled endpoints spoken of; everything else is passed on."""

    def __init__(self, inner: Deliveries, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self._log = log.bind()
        self.list, self.get, self.attempts = inner.list, inner.get, inner.attempts
        self.redeliver, self.redeliver_all, self.note = inner.redeliver, inner.redeliver_all, inner.note
        self.claim, self.next_due = inner.claim, inner.next_due

    async def finish(self, sent: Sequence[Sent], *, places: int, disable_after: int) -> FinishedDeliveries:
        finished = await self._inner.finish(sent, places=places, disable_after=disable_after)
        for fence in finished.lost:
            self._metrics.deliveries["lost"].inc()
            self._log.warning("webhook.lost", id=fence.request_id)
        for endpoint in finished.disabled:
            self._metrics.endpoints_disabled.inc()
            since = endpoint.failing_since
            self._log.warning(
                "webhook.endpoint_disabled",
                id=endpoint.id,
                tenant=endpoint.tenant,
                failures=endpoint.failures,
                failing_since=None if since is None else seconds(since),
            )
        return finished

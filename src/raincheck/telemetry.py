"""Logs and metrics: wraps the seams of store and upstream, so that no room has to speak of itself. Owns all wording.

Ids and times are logged, payloads and keys never. Every event has one name; docs/reference/telemetry.md lists them.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, assert_never

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from raincheck.core.clock import SECOND
from raincheck.core.errors import RaincheckError
from raincheck.core.model import Beat, Fence, Finish, Lease, NewRequest, Submitted
from raincheck.core.outcome import Ended, Failure, Released, Reply, Retry, Succeeded
from raincheck.core.status import Status
from raincheck.store.protocol import Leases, Requests, Store
from raincheck.upstream.protocol import Report, Upstream, Work

log = structlog.stdlib.get_logger("raincheck")

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


def configure_logs(level: str) -> None:
    """One line of `key=value` per event on stderr for people, JSON when stderr is not a terminal."""
    person = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer() if person else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def crashed(error: Exception, request_id: str) -> None:
    """Log what nobody expected, under the x-request-id its caller was shown."""
    log.error("http.crashed", x_request_id=request_id, exc_info=error)


class Metrics:
    """The numbers `/metrics` shows."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.submitted = Counter("raincheck_submitted", "Requests accepted.", ["queue"], registry=registry)
        self.refused = Counter("raincheck_refused", "Submits the store refused.", ["code"], registry=registry)
        self.claimed = Counter("raincheck_claimed", "Leases handed out.", ["queue"], registry=registry)
        self.attempts = Counter("raincheck_attempts", "Attempts by how they went.", ["upstream", "outcome"],
                                registry=registry)  # fmt: skip
        self.lost = Counter("raincheck_leases_lost", "Outcomes refused because the fence was lost.", registry=registry)
        self.waited = Histogram(
            "raincheck_wait_seconds", "From submit to first claim.", ["queue"], buckets=SECONDS, registry=registry
        )
        self.took = Histogram(
            "raincheck_attempt_seconds", "One attempt.", ["upstream"], buckets=SECONDS, registry=registry
        )
        self.standing = Gauge("raincheck_requests", "Requests in the record now.", ["queue", "status"],
                              registry=registry)  # fmt: skip

    def page(self) -> bytes:
        """The Prometheus text page."""
        return generate_latest(self._registry)

    def stand(self, counts: Mapping[tuple[str, Status], int]) -> None:
        """Take over how many requests stand where."""
        for (queue, status), count in counts.items():
            self.standing.labels(queue, status.value).set(count)


def observe(store: Store, metrics: Metrics) -> Store:
    """The same store, with every transition counted and logged."""
    return replace(
        store,
        requests=_ObservedRequests(store.requests, metrics),
        leases=_ObservedLeases(store.leases, metrics),
    )


class _ObservedRequests:
    """Submits and cancels, spoken of; everything else is passed on."""

    def __init__(self, inner: Requests, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self.get, self.place, self.attempts = inner.get, inner.place, inner.attempts
        self.result, self.search = inner.result, inner.search

    async def submit(self, batch: Sequence[NewRequest]) -> list[Submitted | RaincheckError]:
        answers = await self._inner.submit(batch)
        for new, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RaincheckError):
                self._metrics.refused.labels(answer.code).inc()
                log.info("request.refused", tenant=new.tenant, queue=new.queue, code=answer.code)
            elif not answer.repeated:
                self._metrics.submitted.labels(new.queue).inc()
                log.debug("request.submitted", id=new.id, tenant=new.tenant, queue=new.queue)
        return answers

    async def cancel(self, tenant: str, request_id: str) -> Any:
        request = await self._inner.cancel(tenant, request_id)
        log.info("request.cancelled", id=request_id, tenant=tenant)
        return request

    async def requeue(self, tenant: str, request_id: str, *, new_id: str) -> Any:
        request = await self._inner.requeue(tenant, request_id, new_id=new_id)
        log.info("request.requeued", id=request_id, new_id=new_id, tenant=tenant)
        return request

    async def delete(self, tenant: str, request_id: str) -> None:
        await self._inner.delete(tenant, request_id)
        log.info("request.deleted", id=request_id, tenant=tenant)


class _ObservedLeases:
    """Claims and finishes, spoken of; everything else is passed on."""

    def __init__(self, inner: Leases, metrics: Metrics) -> None:
        self._inner = inner
        self._metrics = metrics
        self.next_due, self.ready = inner.next_due, inner.ready

    async def claim(self, free: Mapping[str, int], *, worker: str, lease_for: int) -> list[Lease]:
        leases = await self._inner.claim(free, worker=worker, lease_for=lease_for)
        for lease in leases:
            self._metrics.claimed.labels(lease.queue).inc()
            if lease.attempt == 1:
                self._metrics.waited.labels(lease.queue).observe((lease.claimed_at - lease.created_at) / SECOND)
            log.debug("request.claimed", id=lease.fence.request_id, queue=lease.queue, attempt=lease.attempt)
        return leases

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        return await self._inner.extend(beats, lease_for=lease_for)

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        lost = await self._inner.finish(finishes)
        for finish in finishes:
            self._speak_of(finish, lost=finish.fence in lost)
        return lost

    def _speak_of(self, finish: Finish, *, lost: bool) -> None:
        said = log.bind(id=finish.fence.request_id, upstream=finish.upstream)
        if lost:
            self._metrics.lost.inc()
            said.warning("lease.lost")
            return
        upstream = finish.upstream or "none"
        match finish.outcome:
            case Succeeded():
                self._metrics.attempts.labels(upstream, "succeeded").inc()
                said.debug("request.completed")
            case Retry(error, _):
                self._metrics.attempts.labels(upstream, "retry").inc()
                said.warning("request.retried", error=error.message, code=error.code)
            case Released(reason):
                self._metrics.attempts.labels(upstream, "released").inc()
                said.info("request.released", reason=reason and reason.message)
            case Ended(status, error):
                self._metrics.attempts.labels(upstream, str(status)).inc()
                said.warning(f"request.{status}", error=error.message, code=error.code)
            case _:
                assert_never(finish.outcome)


class ObservedUpstream:
    """An upstream whose calls are timed; otherwise the one it wraps."""

    def __init__(self, inner: Upstream, metrics: Metrics) -> None:
        self._inner = inner
        self._took = metrics.took.labels(inner.name)
        self.start, self.close, self.probe, self.relay = inner.start, inner.close, inner.probe, inner.relay

    @property
    def name(self) -> str:
        return self._inner.name

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        with self._took.time():
            return await self._inner.perform(work, report)

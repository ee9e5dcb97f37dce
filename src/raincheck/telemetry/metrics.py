"""The numbers that `/metrics` shows."""

from collections import Counter as Count
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from raincheck.core.clock import SECOND
from raincheck.core.model import Queue, Throttle
from raincheck.core.status import Status

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
OTHER = "other"
"""The label of every queue whose model no upstream lists: anyone may make up names."""

M = TypeVar("M", bound=MetricWrapperBase)


class _Children(dict[str | tuple[str, ...], M], Generic[M]):
    """A metric's children by their labels: looked up once, since that takes a lock and longer than counting."""

    def __init__(self, metric: M) -> None:
        super().__init__()
        self._metric = metric

    def __missing__(self, labels: str | tuple[str, ...]) -> M:
        values = (labels,) if isinstance(labels, str) else labels
        child = self[labels] = self._metric.labels(*values)
        return child


class Metrics:
    """The numbers `/metrics` shows."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        registry = self._registry
        self.submitted = _Children(Counter("raincheck_submitted", "Requests accepted.", ["queue"], registry=registry))
        self.refused = _Children(
            Counter("raincheck_refused", "Submits the store refused.", ["code"], registry=registry)
        )
        self.claimed = _Children(Counter("raincheck_claimed", "Leases handed out.", ["queue"], registry=registry))
        self.attempts = _Children(
            Counter("raincheck_attempts", "Attempts by how they went.", ["upstream", "outcome"], registry=registry)
        )
        self.lines = _Children(
            Counter("raincheck_batch_lines", "Lines of ended batches by how they ended.", ["status"], registry=registry)
        )
        self.lost = Counter("raincheck_leases_lost", "Outcomes refused because the fence was lost.", registry=registry)
        self.lapsed = Counter("raincheck_leases_lapsed", "Leases that ran out unheard of.", registry=registry)
        self.waited = _Children(
            Histogram(
                "raincheck_wait_seconds", "From submit to first claim.", ["queue"], buckets=SECONDS, registry=registry
            )
        )
        self.took = Histogram(
            "raincheck_attempt_seconds", "One attempt.", ["upstream"], buckets=SECONDS, registry=registry
        )
        self.standing = Gauge(
            "raincheck_requests", "Requests in the record now.", ["queue", "status"], registry=registry
        )
        self.oldest = Gauge(
            "raincheck_oldest_pending_seconds",
            "How long the next request in line has waited.",
            ["queue"],
            registry=registry,
        )
        self.at_upstream = Gauge(
            "raincheck_upstream_running",
            "Requests running at an upstream that has limits, over all workers.",
            ["upstream"],
            registry=registry,
        )
        self.places = Gauge(
            "raincheck_upstream_places",
            "How many may run there at once, over all workers: max_concurrency, or the level that `auto` has found.",
            ["upstream"],
            registry=registry,
        )
        self.deliveries = _Children(
            Counter("raincheck_deliveries", "Attempts to deliver webhooks.", ["outcome"], registry=registry)
        )
        self.delivery_took = Histogram(
            "raincheck_delivery_attempt_seconds",
            "One attempt to deliver a webhook.",
            buckets=SECONDS,
            registry=registry,
        )
        self.arrived = Histogram(
            "raincheck_delivery_seconds",
            "From an event to the receiver's yes, of webhooks that were taken at the first attempt.",
            buckets=SECONDS,
            registry=registry,
        )
        self.overdue = Gauge(
            "raincheck_delivery_overdue_seconds",
            "How long the webhook that is next in line has been due.",
            registry=registry,
        )
        self.endpoints_disabled = Counter(
            "raincheck_endpoints_disabled", "Webhook endpoints given up after failing for long.", registry=registry
        )
        self.known: Callable[[], Container[str]] = frozenset[str]
        """The queues that get a label of their own."""
        self._labels: dict[str, str] = {}

    def page(self) -> bytes:
        """The Prometheus text page."""
        return generate_latest(self._registry)

    def label(self, queue: str) -> str:
        """The queue's label: its name, once an upstream has listed it, so that labels are no more than models are."""
        label = self._labels.get(queue)
        if label is None:
            if queue not in self.known():
                return OTHER
            label = self._labels[queue] = queue
        return label

    def stand(self, counts: Mapping[tuple[str, Status], int]) -> None:
        """Take over how many requests stand where."""
        now = Count[tuple[str, str]]()
        for (queue, status), count in counts.items():
            now[self.label(queue), status.value] += count
        self.standing.clear()
        for labels, count in now.items():
            self.standing.labels(*labels).set(count)

    def wait(self, queues: Iterable[Queue], *, now: int) -> None:
        """Take over since when the queues wait."""
        oldest = dict[str, float]()
        for queue in queues:
            label = self.label(queue.name)
            waited = 0.0 if queue.waiting_since is None else max(0, now - queue.waiting_since) / SECOND
            oldest[label] = max(waited, oldest.get(label, 0.0))
        self.oldest.clear()
        for label, waited in oldest.items():
            self.oldest.labels(label).set(waited)

    def lag(self, next_due: int | None, *, now: int) -> None:
        """Take over when the next webhook is due."""
        self.overdue.set(0 if next_due is None else max(0, now - next_due) / SECOND)

    def bear(self, upstreams: Iterable[Throttle]) -> None:
        """Take over how much the upstreams are used."""
        self.at_upstream.clear()
        self.places.clear()
        for upstream in upstreams:
            self.at_upstream.labels(upstream.name).set(upstream.running)
            places = upstream.limits.max_concurrency
            if places is not None:
                self.places.labels(upstream.name).set(int(upstream.level or 0) if places == "auto" else places)

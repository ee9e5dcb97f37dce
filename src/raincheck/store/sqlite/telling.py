"""Who is told of what: deliveries are written here, in the transaction of what they tell of."""

from typing import NamedTuple

from raincheck.core.batches import BatchStatus
from raincheck.core.events import ALL, ENDPOINT_DISABLED, PROCESSING, PROGRESS, moment_type
from raincheck.core.ids import new_id
from raincheck.core.status import Status
from raincheck.core.webhooks import PROGRESS_EVERY, Endpoint
from raincheck.store.rows import Open
from raincheck.store.sqlite.database import Transaction
from raincheck.store.telling import TOLD, Happening, Listener, Own, Told, disabled_detail, progress_detail, tell, wants


class Beating(NamedTuple):
    """A request whose heartbeat says how far it is; selected in this order."""

    seq: int
    id: str
    tenant: str
    operation: str
    webhook_url: str | None
    webhook_events: str | None
    told_at: int | None
    batch_seq: int | None
    progress: float | None
    message: str | None


class EndingBatch(NamedTuple):
    """A batch as it ends."""

    seq: int
    id: str
    tenant: str
    webhook_url: str | None
    webhook_events: str | None


def tell_of_end(tx: Transaction, request: Open, status: Status, event_id: str, kind: str) -> None:
    """Write the deliveries of an end (G6); a row of a batch is told of by its batch alone."""
    if request.batch_seq is not None:
        return
    own = None
    if request.webhook_url is not None and wants(request.webhook_events, status, kind):
        own = Own(request.webhook_url, bool(request.webhook_result))
    listeners = _listeners(tx, request.tenant, kind, or_all=True)
    if own is not None or listeners:
        done = status is Status.COMPLETED
        what = Happening(event_id, request.tenant, kind, request.id, tx.now, has_result=done)
        _write(tx, tell(what, own, listeners))


def tell_of_batch_end(tx: Transaction, batch: EndingBatch, status: BatchStatus, event_id: str, kind: str) -> None:
    """Write the deliveries of a batch's end (G6)."""
    own = None
    if batch.webhook_url is not None and wants(batch.webhook_events, status, kind):
        own = Own(batch.webhook_url)
    listeners = _listeners(tx, batch.tenant, kind, or_all=True)
    _write(tx, tell(Happening(event_id, batch.tenant, kind, batch.id, tx.now), own, listeners))


def tell_of_start(tx: Transaction, request: Open) -> None:
    """Tell those who asked for it that work has begun: at the first claim alone."""
    if request.batch_seq is not None or request.claimed_at is not None:
        return
    kind = moment_type(request.operation, PROCESSING, of=request.id)
    own = _own_moment(request.webhook_url, request.webhook_events, PROCESSING, kind)
    _tell_moment(tx, Happening("", request.tenant, kind, request.id, tx.now), own)


def tell_of_progress(tx: Transaction, request: Beating) -> None:
    """Tell those who asked for it how far it is, unless it was told a moment ago."""
    if request.batch_seq is not None:
        return
    if request.told_at is not None and tx.now - request.told_at < PROGRESS_EVERY:
        return
    kind = moment_type(request.operation, PROGRESS, of=request.id)
    own = _own_moment(request.webhook_url, request.webhook_events, PROGRESS, kind)
    detail = progress_detail(request.progress, request.message)
    if _tell_moment(tx, Happening("", request.tenant, kind, request.id, tx.now, detail), own):
        tx.run("update request set webhook_told_at = ? where seq = ?", (tx.now, request.seq))


def tell_of_disabling(tx: Transaction, endpoint: Endpoint, reason: str) -> None:
    """Tell a tenant's other endpoints that this one was disabled."""
    forget_listeners(tx)
    others = [each for each in _listeners(tx, endpoint.tenant, ENDPOINT_DISABLED, or_all=True) if not each.disabled]
    detail = disabled_detail(endpoint.url, reason)
    what = Happening(new_id("evt"), endpoint.tenant, ENDPOINT_DISABLED, endpoint.id, tx.now, detail)
    _write(tx, tell(what, None, others))


def forget_listeners(tx: Transaction) -> None:
    """Endpoints have changed: who shares the transaction looks again."""
    tx.known.pop("listeners", None)


def _own_moment(webhook_url: str | None, webhook_events: str | None, moment: str, kind: str) -> Own | None:
    return Own(webhook_url) if webhook_url is not None and wants(webhook_events, moment, kind) else None


def _tell_moment(tx: Transaction, what: Happening, own: Own | None) -> bool:
    """Under an event id of its own; returns whether anyone is told."""
    listeners = _listeners(tx, what.tenant, what.type, or_all=False)
    if own is None and not listeners:
        return False
    _write(tx, tell(what._replace(event_id=new_id("evt")), own, listeners))
    return True


def _listeners(tx: Transaction, tenant: str, kind: str, *, or_all: bool) -> list[Listener]:
    """The tenant's endpoints that subscribed to this type, and with `or_all` to `*`."""
    known: dict[tuple[str, str], list[Listener]] = tx.known.setdefault("listeners", {})
    if (tenant, kind) not in known:
        found = tx.all(
            """select e.id, e.include_result, e.disabled_at is not null
                 from subscription s join endpoint e on e.seq = s.endpoint_seq
                where s.tenant = ?1 and s.type in (?2, ?3)""",
            tenant,
            kind,
            ALL if or_all else kind,
        )
        known[tenant, kind] = list(dict.fromkeys(Listener(*row) for row in found))  # Some subscribed to both.
    return known[tenant, kind]


def _write(tx: Transaction, told: list[Told]) -> None:
    if told:
        tx.run_many(
            f"insert into delivery ({TOLD}, status) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')",  # noqa: S608
            told,
        )
        tx.deliveries = True

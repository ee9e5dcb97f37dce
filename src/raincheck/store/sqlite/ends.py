"""The one place that ends a request: its final status, its event, its result, and the flow's counters."""

from dataclasses import dataclass

from raincheck.core.events import event_type
from raincheck.core.ids import new_id
from raincheck.core.outcome import Reply, RequestError
from raincheck.core.status import Status
from raincheck.store.sqlite import rows
from raincheck.store.sqlite.database import Transaction


@dataclass(frozen=True, slots=True)
class Ending:
    """The request that ends, as far as its end needs to know it."""

    seq: int
    id: str
    tenant: str
    operation: str
    webhook_url: str | None


def end(
    tx: Transaction,
    ending: Ending,
    status: Status,
    *,
    keep_until: int,
    error: RequestError | None = None,
    reply: Reply | None = None,
) -> None:
    """Write a final status with its result and its one event. The caller has made sure, in this transaction, that the
    request is still open and that the fence holds, and does the counters of what it was before."""
    tx.run(
        """update request
              set status = ?, ended_at = ?, purge_at = ?, due_at = null, worker = null, remote_id = null,
                  progress = case when ? = 'completed' then 1.0 else progress end
            where seq = ?""",
        (status, tx.now, keep_until, status, ending.seq),
    )
    tx.run(
        "insert into result (seq, status, content_type, error, usage, body) values (?, ?, ?, ?, ?, ?)",
        (
            ending.seq,
            reply and reply.status,
            reply and reply.content_type,
            rows.error_text(error),
            reply.usage.decode() if reply and reply.usage else None,
            reply and reply.body,
        ),
    )
    tx.run(
        """insert into event (id, tenant, request_seq, type, webhook_url, created_at) values (?, ?, ?, ?, ?, ?)""",
        (new_id("evt"), ending.tenant, ending.seq, event_type(ending.operation, status), ending.webhook_url, tx.now),
    )
    tx.moved.append((ending.id, status))


def count_pending(tx: Transaction, queue: str, priority: int, tenant: str, change: int) -> None:
    """Keep a flow's number of pending requests true; every move into and out of `pending` passes here."""
    tx.run(
        "update flow set pending = pending + ? where queue = ? and priority = ? and tenant = ?",
        (change, queue, priority, tenant),
    )


def free_place(tx: Transaction, queue: str) -> None:
    """Say that a request stopped running: in a capped queue another may start, whoever else has places already."""
    if tx.one("select 1 from queue where name = ? and max_concurrency is not null", queue) is not None:
        tx.ready.add(queue)

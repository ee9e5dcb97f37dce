"""The moves out of and into `pending` and to an end: status, counters, history, result, event, in one place each."""

from raincheck.core.batches import BatchStatus
from raincheck.core.events import event_type
from raincheck.core.ids import new_id
from raincheck.core.outcome import Reply, RequestError
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.counting import usage_of
from raincheck.store.rows import Open
from raincheck.store.sqlite.database import Transaction
from raincheck.store.sqlite.holders import attach, hold
from raincheck.store.sqlite.limits import freed
from raincheck.store.sqlite.tallies import count_end
from raincheck.store.sqlite.telling import EndingBatch, tell_of_batch_end, tell_of_end, tell_of_start


def end(
    tx: Transaction,
    request: Open,
    status: Status,
    *,
    keep_for: int,
    error: RequestError | None = None,
    reply: Reply | None = None,
) -> None:
    """Write a final status with its result and its one event (G6), whom it is told, and what it leaves at an upstream.

    What is a row of a batch is counted there, and kept as if it had ended when the batch's window does.
    """
    if status is not Status.COMPLETED:
        tx.run(
            """insert into stray (upstream, remote_id, created_at, due_at)
               select remote_upstream, remote_id, ?1, ?1 from request
                where seq = ?2 and remote_id is not null and remote_upstream is not null""",
            (tx.now, request.seq),
        )
    tx.run(
        """update request
              set status = ?1, ended_at = ?2, due_at = null, worker = null, upstream = null,
                  purge_at = ?3 + case when batch_seq is null then ?2 else max(?2, coalesce(deadline, 0)) end,
                  remote_id = null, remote_upstream = null,
                  progress = case when ?1 = 'completed' then 1.0 else progress end
            where seq = ?4 and fence = ?5 and status = ?6""",
        (status, tx.now, keep_for, request.seq, request.fence, request.status),
    )
    if request.status == Status.PENDING:
        _count_pending(tx, request, -1)
    else:
        freed(tx, request)
    tx.run(
        """insert into result (seq, status, content_type, error, usage, body, blob, size)
           values (?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            request.seq,
            reply and reply.status,
            reply and reply.content_type,
            rows.error_text(error),
            reply.usage.decode() if reply and reply.usage else None,
            reply and reply.body,
            reply and reply.blob,
            reply and reply.size,
        ),
    )
    if reply is not None:
        if reply.blob is not None:
            hold(tx, reply.blob)
        attach(tx, request.seq, reply.attachments)
    event_id = new_id("evt")
    kind = event_type(request.operation, status, incomplete=reply is not None and reply.incomplete, of=request.id)
    tx.run(
        "insert into event (id, tenant, request_seq, type, webhook_url, created_at) values (?, ?, ?, ?, ?, ?)",
        (event_id, request.tenant, request.seq, kind, request.webhook_url, tx.now),
    )
    tell_of_end(tx, request, status, event_id, kind)
    if request.batch_seq is not None:
        usage = usage_of(reply and reply.usage)
        count_end(tx, request.batch_seq, status, [request.line], usage)
    tx.moved.append((request.id, status))


def tell_of_batch(tx: Transaction, batch: EndingBatch, status: BatchStatus) -> None:
    """Write the one event of a batch that ends (G6), and whom it is told."""
    event_id, kind = new_id("evt"), event_type("batch", status)
    tx.run(
        "insert into event (id, tenant, batch_seq, type, webhook_url, created_at) values (?, ?, ?, ?, ?, ?)",
        (event_id, batch.tenant, batch.seq, kind, batch.webhook_url, tx.now),
    )
    tell_of_batch_end(tx, batch, status, event_id, kind)


def hand_out(tx: Transaction, request: Open, *, worker: str, upstream: str, lapses_at: int) -> None:
    """From pending to processing: the claim that raises the fence."""
    tx.run(
        """update request
              set status = 'processing', fence = fence + 1, attempt = attempt + 1, due_at = ?, worker = ?,
                  upstream = ?, claimed_at = ?, started_at = coalesce(started_at, ?)
            where seq = ? and fence = ? and status = 'pending'""",
        (lapses_at, worker, upstream, tx.now, tx.now, request.seq, request.fence),
    )
    _count_pending(tx, request, -1)
    tx.moved.append((request.id, Status.PROCESSING))
    tell_of_start(tx, request)


def hand_back(tx: Transaction, request: Open, *, due_at: int | None, refund: int) -> None:
    """From processing back to pending, to be claimed at `due_at` (None: at once), `refund` attempts given back."""
    waits = due_at is not None and due_at > tx.now
    tx.run(
        """update request
              set status = 'pending', due_at = ?, attempt = attempt - ?, worker = null, upstream = null,
                  progress = null, progress_message = null
            where seq = ? and fence = ? and status = 'processing'""",
        (due_at if waits else None, refund, request.seq, request.fence),
    )
    _count_pending(tx, request, 1)
    tx.moved.append((request.id, Status.PENDING))
    tx.ready.add(request.queue)
    freed(tx, request)


def tried(
    tx: Transaction, request: Open, outcome: str, *, upstream: str | None = None, error: RequestError | None = None
) -> None:
    """Write an attempt into the history."""
    tx.run(
        """insert into attempt (seq, fence, number, upstream, started_at, ended_at, outcome, error)
           values (?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            request.seq,
            request.fence,
            request.attempt,
            upstream,
            request.claimed_at,
            tx.now,
            outcome,
            rows.error_text(error),
        ),
    )


def _count_pending(tx: Transaction, request: Open, change: int) -> None:
    """Keep a flow's number of pending requests true; every move into and out of `pending` passes here."""
    tx.run(
        "update flow set pending = pending + ? where queue = ? and priority = ? and tenant = ?",
        (change, request.queue, request.priority, request.tenant),
    )

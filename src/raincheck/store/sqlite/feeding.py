"""Lines of a batch on their way into the queues, many at a time."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from raincheck.core.batches import NewRow
from raincheck.core.model import NewRequest
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.arriving import later, refused
from raincheck.store.sqlite.arrivals import Flow, flow_of, next_tags
from raincheck.store.sqlite.database import Transaction
from raincheck.store.sqlite.holders import attach, gone
from raincheck.store.sqlite.tallies import count_end


class _Fed(NamedTuple):
    """A line that becomes a request, with the request's number and its place in line."""

    row: NewRow
    new: NewRequest
    seq: int
    tag: float


def feed_rows(tx: Transaction, batch_seq: int, lines: Sequence[NewRow]) -> None:
    """Make requests of lines; one that cannot be one ends as failed."""
    taken, broken = _sort(tx, lines)
    fed = _number(tx, taken)
    tx.run_many(
        """insert into request (seq, id, tenant, queue, operation, path, model, priority, tag, due_at, deadline,
                                max_attempts, tokens, webhook_url, webhook_events, webhook_result, created_at,
                                batch_seq, line)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [
            (
                seq,
                new.id,
                new.tenant,
                new.queue,
                new.operation,
                new.path,
                new.model,
                int(new.priority),
                tag,
                later(new, tx.now),
                new.deadline,
                new.max_attempts,
                new.tokens,
                new.webhook_url,
                rows.words_text(new.webhook_events),
                new.webhook_result,
                new.created_at,
                batch_seq,
                row.line,
            )
            for row, new, seq, tag in fed
        ],
    )
    tx.run_many("insert into payload (seq, body) values (?, ?)", [(seq, new.payload) for _, new, seq, _ in fed])
    tx.run_many(
        "insert into metadata (seq, body) values (?, ?)",
        [(seq, rows.metadata_text(new.metadata)) for _, new, seq, _ in fed if new.metadata],
    )
    for _, new, seq, _ in fed:
        attach(tx, seq, new.attachments)
    _note_rows(tx, batch_seq, fed, broken)
    _take_off(tx, batch_seq, [*taken, *(row for row, _ in broken)])
    tx.ready.update(new.queue for _, new, _, _ in fed)
    tx.moved.extend((new.id, Status.PENDING) for _, new, _, _ in fed)


def _sort(tx: Transaction, lines: Sequence[NewRow]) -> tuple[list[NewRow], list[tuple[NewRow, RequestError | None]]]:
    """Those that become requests, and the others with why they do not."""
    taken, broken = list[NewRow](), list[tuple[NewRow, RequestError | None]]()
    for row in lines:
        if row.request is None:
            broken.append((row, row.error))
        elif (lost := gone(tx, row.request.attachments)) is not None:
            broken.append((row, refused(lost)))
        else:
            taken.append(row)
    return taken, broken


def _number(tx: Transaction, taken: Sequence[NewRow]) -> list[_Fed]:
    """Number requests behind the last there is, and give them places in line: each flow is asked once."""
    flows = dict[Flow, list[str]]()
    requests = [(row, row.request) for row in taken if row.request is not None]
    for _, new in requests:
        flows.setdefault(flow_of(new), []).append(new.id)
    tags = dict[str, float]()
    for flow, ids in flows.items():
        tags.update(zip(ids, next_tags(tx, flow, len(ids)), strict=True))
    [(last_seq,)] = tx.all("select coalesce(max(seq), 0) from request")
    return [_Fed(row, new, seq, tags[new.id]) for seq, (row, new) in enumerate(requests, last_seq + 1)]


def _note_rows(
    tx: Transaction, batch_seq: int, fed: Sequence[_Fed], broken: Sequence[tuple[NewRow, RequestError | None]]
) -> None:
    """Those of a batch that lines are added to are there already."""
    tx.run_many(
        """insert into batch_row (batch_seq, line, custom_id, request_seq) values (?, ?, ?, ?)
           on conflict (batch_seq, line) do update set request_seq = excluded.request_seq""",
        [(batch_seq, row.line, row.custom_id, seq) for row, _, seq, _ in fed],
    )
    tx.run_many(
        """insert into batch_row (batch_seq, line, custom_id, error) values (?, ?, ?, ?)
           on conflict (batch_seq, line) do update set error = excluded.error""",
        [(batch_seq, row.line, row.custom_id, rows.error_text(error)) for row, error in broken],
    )
    if broken:
        count_end(tx, batch_seq, Status.FAILED, [row.line for row, _ in broken])


def _take_off(tx: Transaction, batch_seq: int, lines: Sequence[NewRow]) -> None:
    """Count what is still to be fed. A line that is no request after all had a queue, but nobody knows which: that is
    made up for when the last one is fed."""
    fed = Counter(row.request.queue for row in lines if row.request is not None)
    tx.run_many(
        "update batch_queue set unfed = max(unfed - ?, 0) where batch_seq = ? and queue = ?",
        [(count, batch_seq, queue) for queue, count in fed.items()],
    )

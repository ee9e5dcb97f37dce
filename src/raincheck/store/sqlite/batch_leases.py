"""What the engine does with batches, in SQLite. Every write carries the fence of its claim."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from raincheck.core.batches import (
    BATCH_KEPT,
    LONG_INPUT,
    LONG_LINES,
    Appetite,
    Batch,
    BatchLease,
    BatchStatus,
    Conclusion,
    Crowd,
    Cursor,
    LineError,
    NewRow,
)
from raincheck.core.errors import AttachmentGone, FenceLost, NotEnded
from raincheck.core.model import Fence, Priority
from raincheck.core.retry import expired
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.sqlite.arrivals import Flow, next_tags
from raincheck.store.sqlite.database import Database, Transaction
from raincheck.store.sqlite.ends import end, tell_of_batch, tried
from raincheck.store.sqlite.feeding import feed_rows
from raincheck.store.sqlite.files import insert_file
from raincheck.store.sqlite.holders import is_there
from raincheck.store.sqlite.telling import EndingBatch


class SqliteBatchLeases:
    """See the engine's half of `protocol.Batches`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention

    async def claim(self, *, worker: str, lease_for: int, long: bool = True) -> BatchLease | None:
        def write(tx: Transaction) -> BatchLease | None:
            due = tx.one(
                f"select seq, id, {_LONG} from batch where due_at <= ? {_which(long)} order by due_at limit 1",  # noqa: S608
                tx.now,
            )
            if due is None:
                return None
            seq, batch_id, is_long = due
            if tx.all(
                """update batch set status = 'finalizing', ends_as = 'expired', finalizing_at = ?1
                    where seq = ?2 and expires_at <= ?1 and status != 'finalizing' returning 1""",
                tx.now,
                seq,
            ):
                tx.batches.add(batch_id)
            [(number, *cursor)] = tx.all(
                """update batch set worker = ?, fence = fence + 1, due_at = ? where seq = ?
                returning fence, next_part, next_offset, next_line""",
                worker,
                tx.now + lease_for,
                seq,
            )
            return BatchLease(
                fence=Fence(batch_id, number),
                batch=find_batch(tx, seq),
                cursor=Cursor(*cursor),
                appetites=_appetites(tx, seq),
                crowd=_crowd(tx, seq),
                long=bool(is_long),
                lapses_at=tx.now + lease_for,
            )

        due = await self.next_due(long=long)
        return await self._database.write(write, durable=False) if due and due <= self._database.now() else None

    async def extend(self, fence: Fence, *, lease_for: int) -> None:
        def write(tx: Transaction) -> None:
            tx.run("update batch set due_at = ? where seq = ?", (tx.now + lease_for, _held(tx, fence)))

        await self._database.write(write, durable=False)

    async def release(self, fence: Fence, *, due_at: int | None, total: int) -> None:
        def write(tx: Transaction) -> None:
            [(due,)] = tx.all(
                """update batch
                      set worker = null,
                          due_at = case when total > ?4 then ?2
                                        when status = 'finalizing' then coalesce(?1, ?2)
                                        when status = 'in_progress' and fed = total
                                        then min(coalesce(?1, expires_at), expires_at)
                                        else min(coalesce(?1, ?2), expires_at) end
                    where seq = ?3 returning due_at""",
                due_at,
                tx.now,
                _held(tx, fence),
                total,
            )
            if due <= tx.now:
                tx.batches.add(fence.request_id)

        await self._database.write(write, durable=False)

    async def accept(self, fence: Fence, *, lines: int, queues: Mapping[str, int], model: str | None) -> None:
        def write(tx: Transaction) -> None:
            seq = _held(tx, fence, BatchStatus.VALIDATING)
            tx.run(
                "update batch set status = 'in_progress', in_progress_at = ?, total = ?, model = ? where seq = ?",
                (tx.now, lines, model, seq),
            )
            tx.run("update batch_part set lines = ? where batch_seq = ? and position = 0", (lines, seq))
            more_unfed(tx, seq, queues)
            tx.batches.add(fence.request_id)

        await self._database.write(write)

    async def refuse(self, fence: Fence, errors: Sequence[LineError]) -> None:
        def write(tx: Transaction) -> None:
            seq = _held(tx, fence, BatchStatus.VALIDATING)
            tx.run("update batch set errors = ? where seq = ?", (rows.errors_text(errors), seq))
            self._conclude(tx, seq, BatchStatus.FAILED)

        await self._database.write(write)

    async def feed(self, fence: Fence, rows: Sequence[NewRow], cursor: Cursor) -> None:
        def write(tx: Transaction) -> None:
            seq = _held(tx, fence, BatchStatus.IN_PROGRESS)
            [(rest,)] = tx.all(
                """update batch set fed = fed + ?, next_part = ?, next_offset = ?, next_line = ?
                    where seq = ? returning total - fed""",
                len(rows),
                *cursor,
                seq,
            )
            feed_rows(tx, seq, rows)
            if rest == 0:
                tx.run("update batch_queue set unfed = 0 where batch_seq = ? and unfed > 0", (seq,))

        await self._database.write(write, durable=False)

    async def rise(self, fence: Fence, priority: Priority, *, limit: int) -> int:
        def write(tx: Transaction) -> int:
            seq = _held(tx, fence)
            lifted = _lift(tx, seq, priority, limit)
            if lifted < limit:
                tx.run("update batch set priority = ? where seq = ?", (int(priority), seq))
            return lifted

        return await self._database.write(write, durable=False)

    async def stop(self, fence: Fence, *, limit: int) -> int:
        def write(tx: Transaction) -> int:
            seq = _held(tx, fence, BatchStatus.FINALIZING)
            [(ends_as,)] = tx.all("select ends_as from batch where seq = ?", seq)
            return end_open(tx, seq, Status(ends_as), limit=limit, keep_for=self._retention)

        return await self._database.write(write)

    async def conclude(self, fence: Fence, conclusion: Conclusion) -> Batch:
        def write(tx: Transaction) -> Batch:
            seq = _held(tx, fence, BatchStatus.FINALIZING)
            files = [file for file in (conclusion.output, conclusion.errors) if file is not None]
            if not all(is_there(tx, file.blob) for file in files):
                raise AttachmentGone
            if tx.one("select 1 from request where batch_seq = ? and ended_at is null", seq):
                raise NotEnded("Some of the batch's requests have not ended; stop them first.")
            for file in files:
                insert_file(tx, file)
            [(ends_as,)] = tx.all(
                """update batch
                      set output_file_id = ?, error_file_id = ?,
                          cancelled = case ends_as when 'cancelled' then total - completed - failed - expired
                                                   else cancelled end,
                          expired = case ends_as when 'expired' then total - completed - failed - cancelled
                                                 else expired end
                    where seq = ? returning ends_as""",
                conclusion.output and conclusion.output.id,
                conclusion.errors and conclusion.errors.id,
                seq,
            )
            self._conclude(tx, seq, BatchStatus(ends_as))
            return find_batch(tx, seq)

        return await self._database.write(write)

    def _conclude(self, tx: Transaction, seq: int, status: BatchStatus) -> None:
        """Write a batch's end and its one event (G6)."""
        [(batch_id, tenant, webhook_url, webhook_events)] = tx.all(
            """update batch set status = ?, ended_at = ?, due_at = null, worker = null, purge_at = ?
                where seq = ? returning id, tenant, webhook_url, webhook_events""",
            status,
            tx.now,
            tx.now + max(BATCH_KEPT, self._retention),
            seq,
        )
        tx.run("delete from batch_queue where batch_seq = ?", (seq,))
        tell_of_batch(tx, EndingBatch(seq, batch_id, tenant, webhook_url, webhook_events), status)
        tx.batches.add(batch_id)

    async def next_due(self, *, long: bool = True) -> int | None:
        row = self._database.one(
            f"select due_at from batch where due_at is not null {_which(long)} order by due_at limit 1"  # noqa: S608
        )
        return row[0] if row else None


def find_batch(tx: Transaction, seq: int) -> Batch:
    """The record of a batch that is known to be there."""
    [row] = tx.all(f"select {rows.BATCH} from batch where seq = ?", seq)  # noqa: S608 - words of ours
    return rows.batch(row)


def more_unfed(tx: Transaction, seq: int, queues: Mapping[str, int]) -> None:
    """So many lines are to be fed to these queues."""
    tx.run_many(
        """insert into batch_queue (batch_seq, queue, unfed) values (?, ?, ?)
           on conflict do update set unfed = unfed + excluded.unfed""",
        [(seq, queue, count) for queue, count in queues.items()],
    )


def end_open(tx: Transaction, seq: int, status: Status, *, limit: int, keep_for: int) -> int:
    """End up to `limit` requests of a batch that have not ended; returns how many those were."""
    found = tx.all(
        """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                  upstream, tokens, batch_seq, line, webhook_events, webhook_result
             from request where batch_seq = ? and ended_at is null order by seq limit ?""",
        seq,
        limit,
    )
    error = expired(None).error if status is Status.EXPIRED else None
    for row in found:
        request = rows.Open(*row)
        if request.status == Status.PROCESSING:
            tried(tx, request, status, error=error)
        end(tx, request, status, keep_for=keep_for, error=error)
    return len(found)


def _held(tx: Transaction, fence: Fence, status: BatchStatus | None = None) -> int:
    """The number of the batch on which this lease still holds. Whoever claims it, cancels it or ends its last row
    takes the lease away."""
    row = tx.one(
        "select seq, status from batch where id = ? and fence = ? and worker is not null",
        fence.request_id,
        fence.number,
    )
    if row is None or status not in {None, row[1]}:
        raise FenceLost
    return row[0]


def _appetites(tx: Transaction, seq: int) -> tuple[Appetite, ...]:
    found = tx.all(
        """select w.queue, w.unfed,
                  coalesce((select f.pending from flow f
                             where (f.queue, f.priority, f.tenant) = (w.queue, b.priority, b.tenant)), 0),
                  (select q.pace from queue q where q.name = w.queue)
             from batch b join batch_queue w on w.batch_seq = b.seq
            where b.seq = ? and w.unfed > 0 order by w.queue""",
        seq,
    )
    return tuple(Appetite(*row) for row in found)


def _crowd(tx: Transaction, seq: int) -> Crowd | None:
    """What waits is at most what has not ended, and at most what waits of the tenant."""
    found = tx.one(
        """select count(*), min(sum(o.fed - o.completed - o.failed - o.cancelled - o.expired),
                                (select coalesce(sum(f.pending), 0) from flow f where f.tenant = b.tenant))
             from batch b
             join tenant t on t.name = b.tenant and t.max_pending is not null
             join batch o on o.tenant = b.tenant and o.ended_at is null
            where b.seq = ? group by b.seq""",
        seq,
    )
    return None if found is None else Crowd(*found)


def _which(long: bool) -> str:
    return "" if long else f"and not {_LONG}"


_LONG = f"""(sealed and status in ('validating', 'finalizing') and (total > {LONG_LINES}
              or coalesce((select p.size from batch_part p where p.batch_seq = batch.seq and p.position = 0), 0)
                 > {LONG_INPUT}))"""  # noqa: S608 - words of ours


def _lift(tx: Transaction, seq: int, priority: Priority, limit: int) -> int:
    """Move pending requests of a batch to other lanes, flow by flow; there they are the last of their tenant's."""
    found = tx.all(
        """select r.queue, r.priority, r.tenant, f.weight, r.seq
             from request r join flow f on (f.queue, f.priority, f.tenant) = (r.queue, r.priority, r.tenant)
            where r.batch_seq = ? and r.ended_at is null and r.status = 'pending' and r.priority > ?
            order by r.seq limit ?""",
        seq,
        int(priority),
        limit,
    )
    for before, moving in groupby(sorted(found), key=lambda row: Flow(*row[:4])):
        seqs = [row[4] for row in moving]
        tx.run(
            "update flow set pending = pending - ? where queue = ? and priority = ? and tenant = ?",
            (len(seqs), *before[:3]),
        )
        tags = next_tags(tx, before._replace(priority=int(priority)), len(seqs))
        tx.run_many(
            "update request set priority = ?, tag = ? where seq = ?",
            [(int(priority), tag, seq) for tag, seq in zip(tags, seqs, strict=True)],
        )
        tx.ready.add(before.queue)
    return len(found)

"""What the engine does with batches, in PostgreSQL. Every write carries the fence of its lease.

The row of a batch is locked last (see `tallies`), so whoever makes or ends requests learns only then that the fence was
lost: what was written before is undone. A plain look at the beginning spares most of them the work.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

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
from raincheck.store.postgres import feeding, files, holders
from raincheck.store.postgres.database import Database, Row, Transaction
from raincheck.store.postgres.ends import Ending, Try, end, stopped, tell_of_batch, tried
from raincheck.store.postgres.texts import clean
from raincheck.store.rows import BATCH, BATCH_WIDTH, Open


class PostgresBatchLeases:
    """The engine's half of `protocol.Batches`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention
        self._kept = max(BATCH_KEPT, retention)

    async def claim(self, *, worker: str, lease_for: int, long: bool = True) -> BatchLease | None:
        due = await self._database.one(
            f"select 1 from batch where due_at <= moment($1) {_which(long)} limit 1",  # noqa: S608 - words of ours
            self._database.at,
        )
        if due is None:
            return None
        return await self._database.write(lambda tx: _claim(tx, worker, lease_for, long=long), durable=False)

    async def extend(self, fence: Fence, *, lease_for: int) -> None:
        async def write(tx: Transaction) -> None:
            _held(
                await tx.one(
                    """update batch set due_at = moment($3) + $4
                        where id = $1 and fence = $2 and worker is not null returning 1""",
                    *fence,
                    tx.at,
                    lease_for,
                )
            )

        await self._database.write(write, durable=False)

    async def release(self, fence: Fence, *, due_at: int | None, total: int) -> None:
        async def write(tx: Transaction) -> None:
            [at_once] = _held(
                await tx.one(
                    """update batch
                          set worker = null,
                              due_at = case when total > $5 then moment($3)
                                            when status = 'finalizing' then coalesce($4::bigint, moment($3))
                                            when status = 'in_progress' and fed = total then least($4, expires_at)
                                            else least(coalesce($4, moment($3)), expires_at) end
                        where id = $1 and fence = $2 and worker is not null
                    returning due_at <= moment($3)""",
                    *fence,
                    tx.at,
                    due_at,
                    total,
                )
            )
            if at_once:
                tx.batches.add(fence.request_id)

        await self._database.write(write, durable=False)

    async def accept(self, fence: Fence, *, lines: int, queues: Mapping[str, int], model: str | None) -> None:
        waiting = Counter[str]()
        for queue, number in queues.items():
            waiting[clean(queue)] += number

        async def write(tx: Transaction) -> None:
            _held(
                await tx.one(
                    """with accepted as (
                           update batch
                              set status = 'in_progress', in_progress_at = moment($3), total = $4, model = $5
                            where id = $1 and fence = $2 and worker is not null and status = 'validating'
                           returning seq
                       ), counted as (
                           update batch_part p set lines = $4 from accepted a
                            where p.batch_seq = a.seq and p.position = 0
                       ), waiting as (
                           insert into batch_queue (batch_seq, queue, unfed)
                           select a.seq, n.queue, n.lines
                             from accepted a, unnest($6::text[], $7::bigint[]) as n (queue, lines)
                       )
                       select seq from accepted""",
                    *fence,
                    tx.at,
                    lines,
                    None if model is None else clean(model),
                    list(waiting),
                    list(waiting.values()),
                )
            )
            tx.batches.add(fence.request_id)

        await self._database.write(write)

    async def refuse(self, fence: Fence, errors: Sequence[LineError]) -> None:
        async def write(tx: Transaction) -> None:
            row = await tx.one(
                f"""update batch
                       set status = $6, errors = $4, ended_at = moment($3), purge_at = moment($3) + $5,
                           due_at = null, worker = null
                     where id = $1 and fence = $2 and worker is not null and status = 'validating'
                 returning {BATCH}, seq""",  # noqa: S608 - columns of ours
                *fence,
                tx.at,
                rows.errors_text(errors),
                self._kept,
                BatchStatus.FAILED,
            )
            await _tell(tx, _held(row))

        await self._database.write(write)

    async def feed(self, fence: Fence, rows: Sequence[NewRow], cursor: Cursor) -> None:
        await self._database.write(lambda tx: feeding.feed(tx, fence, rows, cursor), durable=False)

    async def rise(self, fence: Fence, priority: Priority, *, limit: int) -> int:
        async def write(tx: Transaction) -> int:
            seq, tenant = await _look(tx, fence, "seq, tenant")
            found = await tx.all(
                """select seq, queue, priority from request
                    where batch_seq = $1 and ended_at is null and status = 'pending' and priority > $2
                    order by seq limit $3 for update""",
                seq,
                int(priority),
                limit,
            )
            if found:
                await _lift(tx, tenant, [(row[0], row[1], row[2]) for row in found], int(priority))
            _held(
                await tx.one(
                    """update batch set priority = case when $4 then $3 else priority end
                        where id = $1 and fence = $2 and worker is not null returning 1""",
                    *fence,
                    int(priority),
                    len(found) < limit,
                )
            )
            return len(found)

        return await self._database.write(write, durable=False)

    async def stop(self, fence: Fence, *, limit: int) -> int:
        async def write(tx: Transaction) -> int:
            seq, ends_as = await _look(tx, fence, "seq, ends_as")
            stopped = 0 if ends_as is None else await end_open(tx, seq, ends_as, limit, self._retention)
            _held(
                await tx.one(
                    """select 1 from batch where id = $1 and fence = $2 and worker is not null
                          and status = 'finalizing' for update""",
                    *fence,
                )
            )
            return stopped

        return await self._database.write(write)

    async def conclude(self, fence: Fence, conclusion: Conclusion) -> Batch:
        async def write(tx: Transaction) -> Batch:
            [seq] = await _look(tx, fence, "seq")
            if await tx.one("select 1 from request where batch_seq = $1 and ended_at is null limit 1", seq):
                raise NotEnded("Some of the batch's requests have not ended; stop them first.")
            made = [file for file in (conclusion.output, conclusion.errors) if file is not None]
            if len(await holders.there(tx, [file.blob for file in made])) < len({file.blob for file in made}):
                raise AttachmentGone
            await files.insert(tx, made)
            row = await tx.one(
                f"""update batch
                       set status = ends_as, ended_at = moment($3), purge_at = moment($3) + $4, due_at = null,
                           worker = null, output_file_id = $5, error_file_id = $6,
                           cancelled = case when ends_as = 'cancelled' then total - completed - failed - expired
                                            else cancelled end,
                           expired = case when ends_as = 'expired' then total - completed - failed - cancelled
                                          else expired end
                     where id = $1 and fence = $2 and worker is not null and status = 'finalizing'
                 returning {BATCH}, seq""",  # noqa: S608 - columns of ours
                *fence,
                tx.at,
                self._kept,
                conclusion.output and conclusion.output.id,
                conclusion.errors and conclusion.errors.id,
            )
            return await _tell(tx, _held(row))

        return await self._database.write(write)

    async def next_due(self, *, long: bool = True) -> int | None:
        row = await self._database.one(
            f"select due_at from batch where due_at is not null {_which(long)} order by due_at limit 1"  # noqa: S608
        )
        return row[0] if row else None


async def end_open(tx: Transaction, batch_seq: int, ends_as: str, limit: int, keep_for: int) -> int:
    """End up to `limit` open requests of a batch as it ends itself; returns how many."""
    found = await tx.all(
        """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                  upstream, tokens, batch_seq, line, webhook_events, webhook_result
             from request where batch_seq = $1 and ended_at is null
            order by seq limit $2 for update""",
        batch_seq,
        limit,
    )
    status, error = Status.CANCELLED, None
    if ends_as == BatchStatus.EXPIRED:
        outcome = expired(None)
        status, error = outcome.status, outcome.error
    ending = [Open(*row) for row in found]
    # From here on a claim's fence matches nothing: it is checked together with the status.
    if running := [request for request in ending if request.status == Status.PROCESSING]:
        await tried(tx, [Try(request, status, error=error) for request in running])
        await stopped(tx, running)
    if ending:
        await end(tx, [Ending(request, status, keep_for, error) for request in ending])
    return len(ending)


def _which(long: bool) -> str:
    return "" if long else f"and not {_LONG}"


_LONG = f"""(sealed and status in ('validating', 'finalizing') and (total > {LONG_LINES}
              or coalesce((select p.size from batch_part p where p.batch_seq = batch.seq and p.position = 0), 0)
                 > {LONG_INPUT}))"""  # noqa: S608 - words of ours


async def _claim(tx: Transaction, worker: str, lease_for: int, *, long: bool) -> BatchLease | None:
    """A fence is no lower than the time, for what a crash forgets (see `ends.hand_out`)."""
    row = await tx.one(
        f"""with due as materialized (
                select seq as due, expires_at <= moment($1) and status != 'finalizing' as late, {_LONG} as is_long
                  from batch where due_at <= moment($1) {_which(long)}
                 order by due_at limit 1 for update skip locked)
            update batch
               set worker = $2, fence = greatest(fence + 1, moment($1)), due_at = moment($1) + $3,
                   status = case when late then 'finalizing' else status end,
                   ends_as = case when late then 'expired' else ends_as end,
                   finalizing_at = case when late then moment($1) else finalizing_at end
              from due where seq = due
         returning {BATCH}, seq, fence, due_at, next_part, next_offset, next_line, late, is_long""",  # noqa: S608
        tx.at,
        clean(worker),
        lease_for,
    )
    if row is None:
        return None
    batch = rows.batch(row)
    seq, number, lapses_at, part, offset, line, late, is_long = tuple(row)[BATCH_WIDTH:]
    if late:
        tx.batches.add(batch.id)
    return BatchLease(
        fence=Fence(batch.id, number),
        batch=batch,
        cursor=Cursor(part, offset, line),
        appetites=await _appetites(tx, seq, batch),
        crowd=await _crowd(tx, batch),
        long=is_long,
        lapses_at=lapses_at,
    )


async def _appetites(tx: Transaction, seq: int, batch: Batch) -> tuple[Appetite, ...]:
    if batch.status is not BatchStatus.IN_PROGRESS or batch.counts.fed == batch.counts.total:
        return ()
    found = await tx.all(
        """select b.queue, b.unfed, coalesce(f.pending, 0), q.pace
             from batch_queue b
             left join flow f on f.queue = b.queue and f.priority = $2 and f.tenant = $3
             left join queue q on q.name = b.queue
            where b.batch_seq = $1 and b.unfed > 0 order by b.queue""",
        seq,
        int(batch.priority),
        batch.tenant,
    )
    return tuple(Appetite(*row) for row in found)


async def _crowd(tx: Transaction, batch: Batch) -> Crowd | None:
    """What waits is at most what has not ended, and at most what waits of the tenant."""
    if batch.status is not BatchStatus.IN_PROGRESS:
        return None
    row = await tx.one(
        """select (select count(*) from batch where tenant = t.name and ended_at is null),
                  least((select sum(fed - completed - failed - cancelled - expired)::bigint
                           from batch where tenant = t.name and ended_at is null),
                        (select coalesce(sum(pending), 0)::bigint from flow where tenant = t.name))
             from tenant t where t.name = $1 and t.max_pending is not null""",
        batch.tenant,
    )
    return None if row is None else Crowd(*row)


async def _lift(tx: Transaction, tenant: str, requests: Sequence[tuple[int, str, int]], priority: int) -> None:
    """Move these (seq, queue, priority) to the end of another lane of their queues."""
    left = Counter((queue, before) for _, queue, before in requests)
    arrived = Counter(queue for _, queue, _ in requests)
    so_far, behind = Counter[str](), list[int]()
    for _, queue, _ in requests:
        so_far[queue] += 1
        behind.append(arrived[queue] - so_far[queue])
    lanes = [*left, *((queue, priority) for queue in arrived)]
    # All the flows by one statement, in the order of their keys; one that is new has the weight of the tenant's other.
    await tx.run(
        """insert into flow as f (queue, priority, tenant, last_tag, weight, pending)
           select n.queue, n.priority, $3, 0,
                  coalesce((select max(o.weight) from flow o where o.queue = n.queue and o.tenant = $3), 1), 0
             from unnest($1::text[], $2::integer[]) as n (queue, priority)
            order by n.queue, n.priority
           on conflict (queue, priority, tenant) do update set weight = f.weight""",
        [queue for queue, _ in lanes],
        [lane for _, lane in lanes],
        tenant,
    )
    await tx.run(
        """with gone as (
               update flow f set pending = f.pending - n.change
                 from unnest($1::text[], $2::integer[], $3::bigint[]) as n (queue, priority, change)
                where f.queue = n.queue and f.priority = n.priority and f.tenant = $9
           ), share as (
               update flow f
                  set pending = f.pending + n.arrived,
                      last_tag = n.arrived / f.weight + greatest(f.last_tag, coalesce((select l.virtual_time from lane l
                                                 where l.queue = n.queue and l.priority = $6), 0))
                 from unnest($4::text[], $5::bigint[]) as n (queue, arrived)
                where f.queue = n.queue and f.priority = $6 and f.tenant = $9
               returning f.queue, f.last_tag, f.weight
           )
           update request r set priority = $6, tag = s.last_tag - n.behind / s.weight
             from unnest($7::bigint[], $8::bigint[], $10::text[]) as n (seq, behind, queue)
             join share s on s.queue = n.queue
            where r.seq = n.seq""",
        [queue for queue, _ in left],
        [lane for _, lane in left],
        list(left.values()),
        list(arrived),
        list(arrived.values()),
        priority,
        [seq for seq, _, _ in requests],
        behind,
        tenant,
        [queue for _, queue, _ in requests],
    )
    tx.ready.update(arrived)


async def _look(tx: Transaction, fence: Fence, columns: str) -> Row:
    """Columns of a batch whose lease is held, without locking it."""
    return _held(
        await tx.one(
            f"select {columns} from batch where id = $1 and fence = $2 and worker is not null",  # noqa: S608
            *fence,
        )
    )


def _held(row: Row | None) -> Row:
    if row is None:
        raise FenceLost
    return row


async def _tell(tx: Transaction, row: Row) -> Batch:
    """Tell of a batch that has ended: a row of `BATCH` and its number in, the record out."""
    batch = rows.batch(row)
    await tell_of_batch(tx, row["seq"], batch)
    await tx.run("delete from batch_queue where batch_seq = $1", row["seq"])
    tx.batches.add(batch.id)
    return batch

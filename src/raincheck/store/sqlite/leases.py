"""What the engine does with requests, in SQLite. Every write carries the fence of its claim."""

from collections.abc import Mapping, Sequence
from typing import assert_never

from raincheck.core.model import Beat, Fence, Finish, Lease
from raincheck.core.outcome import Ended, Outcome, Released, RequestError, Retry, Succeeded
from raincheck.core.retry import expired
from raincheck.core.status import Status
from raincheck.store.sqlite import ends, rows
from raincheck.store.sqlite.database import Database, Row, Transaction

WAKE_AT_ONCE = 200
"""How many waiting rows one claim makes ready, so that a herd of them delays nobody for long."""

SMOOTHING = 0.2
"""How much one measurement weighs in a queue's moving averages."""


class SqliteLeases:
    """See `protocol.Leases`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention

    async def claim(self, free: Mapping[str, int], *, worker: str, lease_for: int) -> list[Lease]:
        def write(tx: Transaction) -> list[Lease]:
            self._wake(tx)
            return [
                lease
                for queue, places in free.items()
                for lease in self._claim_queue(tx, queue, places, worker=worker, lease_for=lease_for)
            ]

        return await self._database.write(write, durable=False)

    def _claim_queue(self, tx: Transaction, queue: str, places: int, *, worker: str, lease_for: int) -> list[Lease]:
        ready = tx.all(
            """select r.seq, r.id, r.tenant, r.operation, r.path, r.model, p.body, r.attempt, r.max_attempts,
                      r.created_at, r.deadline, r.remote_id, r.fence, r.priority, r.tag, r.webhook_url
                 from request r join payload p on p.seq = r.seq
                where r.queue = ? and r.status = 'pending' and r.due_at is null
                order by r.priority, r.tag, r.seq
                limit ?""",
            queue,
            min(places, _open_places(tx, queue)),
        )
        leases: list[Lease] = []
        for row in ready:
            seq, id_, tenant, operation, path, model, body, attempt, max_attempts, created_at, deadline = row[:11]
            remote_id, fence, priority, tag, webhook_url = row[11:]
            ends.count_pending(tx, queue, priority, tenant, -1)
            if deadline is not None and deadline <= tx.now:
                self._end(tx, ends.Ending(seq, id_, tenant, operation, webhook_url), expired(None))
                tx.ready.add(queue)  # It took a place in this claim that another could have had.
                continue
            tx.run(
                """update request
                      set status = 'processing', fence = fence + 1, attempt = attempt + 1, due_at = ?, worker = ?,
                          claimed_at = ?, started_at = coalesce(started_at, ?)
                    where seq = ?""",
                (tx.now + lease_for, worker, tx.now, tx.now, seq),
            )
            tx.run(
                """insert into lane (queue, priority, virtual_time) values (?, ?, ?)
                   on conflict do update set virtual_time = max(virtual_time, excluded.virtual_time)""",
                (queue, priority, tag),
            )
            tx.moved.append((id_, Status.PROCESSING))
            lease = Lease(
                fence=Fence(id_, fence + 1),
                tenant=tenant,
                queue=queue,
                operation=operation,
                path=path,
                model=model,
                payload=body,
                attempt=attempt + 1,
                max_attempts=max_attempts,
                created_at=created_at,
                claimed_at=tx.now,
                expires_at=tx.now + lease_for,
                deadline=deadline,
                remote_id=remote_id,
            )
            leases.append(lease)
        return leases

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        def write(tx: Transaction) -> set[Fence]:
            held = set[Fence]()
            for beat in beats:
                row = tx.one(
                    """update request
                          set due_at = ?, progress = coalesce(?, progress),
                              progress_message = coalesce(?, progress_message), remote_id = coalesce(?, remote_id)
                        where id = ? and fence = ? and status = 'processing'
                    returning 1""",
                    tx.now + lease_for,
                    beat.progress,
                    beat.progress_message,
                    beat.remote_id,
                    beat.fence.request_id,
                    beat.fence.number,
                )
                if row is not None:
                    held.add(beat.fence)
            return held

        return await self._database.write(write, durable=any(beat.remote_id is not None for beat in beats))

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        def write(tx: Transaction) -> list[Fence]:
            return [finish.fence for finish in finishes if not self._finish_one(tx, finish)]

        return await self._database.write(write)

    def _finish_one(self, tx: Transaction, finish: Finish) -> bool:
        # The fence rises on every claim, so a worker that slept through its lease matches no row here. Checking the
        # status alone would not do: the newer claim is processing too.
        row = tx.one(
            """select seq, id, tenant, operation, webhook_url, queue, priority, attempt, claimed_at
                 from request where id = ? and fence = ? and status = 'processing'""",
            finish.fence.request_id,
            finish.fence.number,
        )
        if row is None:
            return False
        seq, id_, tenant, operation, webhook_url, queue, _, attempt, claimed_at = row
        tx.run(
            """insert into attempt (seq, fence, number, upstream, started_at, ended_at, outcome, error)
               values (?, ?, ?, ?, ?, ?, ?, ?)""",
            (seq, finish.fence.number, attempt, finish.upstream, claimed_at, tx.now, *_history(finish.outcome)),
        )
        match finish.outcome:
            case Succeeded(reply):
                ending = ends.Ending(seq, id_, tenant, operation, webhook_url)
                ends.end(tx, ending, Status.COMPLETED, keep_until=tx.now + self._retention, reply=reply)
                _measure(tx, queue, claimed_at)
            case Ended() as outcome:
                self._end(tx, ends.Ending(seq, id_, tenant, operation, webhook_url), outcome)
            case Retry(_, due_at):
                _back_to_pending(tx, row, due_at=due_at, refund=0)
            case Released(_, due_at, pause_until) as outcome:
                _back_to_pending(tx, row, due_at=due_at, refund=1)
                if pause_until is not None:
                    reason = f"rate limited: {outcome.reason.message}" if outcome.reason else "rate limited"
                    tx.run(
                        """update queue set paused_until = ?1, pause_reason = ?2
                            where name = ?3 and coalesce(paused_until, 0) < ?1""",
                        (pause_until, reason, queue),
                    )
            case _:
                assert_never(finish.outcome)
        ends.free_place(tx, queue)
        return True

    def _wake(self, tx: Transaction) -> None:
        """Make ready what waited long enough, and take back what was not heard of any more."""
        due = tx.all(
            """select seq, id, tenant, operation, webhook_url, queue, priority, attempt, claimed_at,
                      status, max_attempts, deadline, fence
                 from request where due_at <= ? order by due_at limit ?""",
            tx.now,
            WAKE_AT_ONCE,
        )
        for row in due:
            seq, id_, tenant, operation, webhook_url, queue, _, attempt, claimed_at = row[:9]
            status, max_attempts, deadline, fence = row[9:]
            tx.ready.add(queue)
            if status == Status.PENDING:
                tx.run("update request set due_at = null where seq = ?", (seq,))
                continue
            tx.run(
                """insert into attempt (seq, fence, number, started_at, ended_at, outcome, error)
                   values (?, ?, ?, ?, ?, 'lapsed', ?)""",
                (seq, fence, attempt, claimed_at, tx.now, rows.error_text(LAPSED)),
            )
            ending = ends.Ending(seq, id_, tenant, operation, webhook_url)
            if deadline is not None and deadline <= tx.now:
                self._end(tx, ending, expired(LAPSED))
            elif attempt >= max_attempts:
                self._end(tx, ending, Ended(Status.FAILED, LAPSED))
            else:
                _back_to_pending(tx, row, due_at=None, refund=0)

    def _end(self, tx: Transaction, ending: ends.Ending, outcome: Ended) -> None:
        ends.end(tx, ending, outcome.status, keep_until=tx.now + self._retention, error=outcome.error)

    async def take_back(self) -> None:
        """Let every lease lapse now. For the file's new owner: whoever held one died with the old owner's lock."""

        def write(tx: Transaction) -> None:
            tx.run("update request set due_at = ? where status = 'processing'", (tx.now,))

        await self._database.write(write)

    async def next_due(self) -> int | None:
        row = self._database.one(
            """select min(moment) from (
                   select min(due_at) as moment from request where due_at is not null
                   union all
                   select min(paused_until) from queue where paused_until > ?)""",
            self._database.now(),
        )
        return row[0] if row else None

    async def ready(self) -> set[str]:
        found = self._database.all(
            """select name from queue
                where exists (select 1 from request where queue = name and status = 'pending' and due_at is null)"""
        )
        return {name for (name,) in found}


LAPSED = RequestError("The worker was not heard of for a whole lease; it may have crashed.", code="lease_lapsed")


def _open_places(tx: Transaction, queue: str) -> int:
    """How many of a queue may be claimed, by its own pause and cap; -1, which SQLite reads as no limit, never comes."""
    row = tx.one("select max_concurrency, paused_until from queue where name = ?", queue)
    if row is None:
        return 0
    cap, paused_until = row
    if paused_until is not None and paused_until > tx.now:
        return 0
    if cap is None:
        return 1 << 31
    running = tx.one("select count(*) from request where queue = ? and status = 'processing'", queue)
    return max(0, cap - (running[0] if running else 0))


def _back_to_pending(tx: Transaction, row: Row, *, due_at: int | None, refund: int) -> None:
    seq, id_, tenant, _, _, queue, priority, *_ = row
    waits = due_at is not None and due_at > tx.now
    tx.run(
        """update request
              set status = 'pending', due_at = ?, attempt = attempt - ?, worker = null, progress = null,
                  progress_message = null
            where seq = ?""",
        (due_at if waits else None, refund, seq),
    )
    ends.count_pending(tx, queue, priority, tenant, 1)
    tx.moved.append((id_, Status.PENDING))
    tx.ready.add(queue)


def _history(outcome: Outcome) -> tuple[str, str | None]:
    match outcome:
        case Succeeded():
            return "succeeded", None
        case Retry(error):
            return "retry", rows.error_text(error)
        case Released(reason):
            return "released", rows.error_text(reason)
        case Ended(status, error):
            return str(status), rows.error_text(error)
        case _:
            assert_never(outcome)


def _measure(tx: Transaction, queue: str, claimed_at: int) -> None:
    """Feed the queue's averages: the time this one took, and the time since the previous end while it was at work."""
    tx.run(
        """update queue
              set service = coalesce(service + ?1 * (?2 - ?3 - service), ?2 - ?3),
                  pace = coalesce(pace + ?1 * (?2 - max(coalesce(last_ended_at, 0), ?3) - pace), ?2 - ?3),
                  last_ended_at = ?2
            where name = ?4""",
        (SMOOTHING, tx.now, claimed_at, queue),
    )

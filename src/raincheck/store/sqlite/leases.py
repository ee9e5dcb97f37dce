"""What the engine does with requests, in SQLite. Every write carries the fence of its claim."""

from collections.abc import Sequence
from typing import assert_never

from msgspec import UNSET

from raincheck.core.model import Beat, Claimed, Fence, Finish, Offer
from raincheck.core.outcome import Ended, Released, Retry, Succeeded
from raincheck.core.retry import LAPSED, expired
from raincheck.core.status import Status
from raincheck.store.rows import Open
from raincheck.store.sqlite.claims import Claim, Terms
from raincheck.store.sqlite.database import Database, Transaction
from raincheck.store.sqlite.ends import end, hand_back, tried
from raincheck.store.sqlite.limits import close, learn
from raincheck.store.sqlite.telling import Beating, tell_of_progress

WAKE_AT_ONCE = 200
"""How many waiting rows one claim makes ready, so that a herd of them delays nobody for long."""

SMOOTHING = 0.2
"""How much one measurement weighs in a queue's moving averages."""


class SqliteLeases:
    """See `protocol.Leases`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        def write(tx: Transaction) -> Claimed:
            self._wake(tx)
            claim = Claim(tx, Terms(worker, lease_for, self._retention))
            for offer in offers:
                if offer.places > 0:
                    claim.take(offer)
            return claim.settle()

        return await self._database.write(write, durable=False)

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        def write(tx: Transaction) -> set[Fence]:
            held = set[Fence]()
            for beat in beats:
                row = tx.one(
                    """update request
                          set due_at = ?, progress = coalesce(?, progress),
                              progress_message = coalesce(?, progress_message)
                        where id = ? and fence = ? and status = 'processing'
                    returning seq, id, tenant, operation, webhook_url, webhook_events, webhook_told_at, batch_seq,
                              progress, progress_message""",
                    tx.now + lease_for,
                    beat.progress,
                    beat.progress_message,
                    beat.fence.request_id,
                    beat.fence.number,
                )
                if row is not None:
                    held.add(beat.fence)
                    if beat.progress is not None or beat.progress_message is not None:
                        tell_of_progress(tx, Beating(*row))
                    _note_remote(tx, beat)
            return held

        return await self._database.write(write, durable=any(beat.remote is not UNSET for beat in beats))

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        def write(tx: Transaction) -> list[Fence]:
            return [finish.fence for finish in finishes if not self._finish_one(tx, finish)]

        return await self._database.write(write)

    def _finish_one(self, tx: Transaction, finish: Finish) -> bool:
        # The fence rises on every claim, so a worker that slept through its lease matches no row here. Checking the
        # status alone would not do: the newer claim is processing too.
        row = tx.one(
            """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                      upstream, tokens, batch_seq, line, webhook_events, webhook_result
                 from request where id = ? and fence = ? and status = 'processing'""",
            finish.fence.request_id,
            finish.fence.number,
        )
        if row is None:
            return False
        request = Open(*row)
        learn(tx, request, finish)
        match finish.outcome:
            case Succeeded(reply):
                tried(tx, request, "succeeded", upstream=finish.upstream)
                end(tx, request, Status.COMPLETED, keep_for=self._retention, reply=reply)
                _measure(tx, request)
            case Ended(status, error) as ended:
                tried(tx, request, status, upstream=finish.upstream, error=error)
                self._end(tx, request, ended)
            case Retry(error, due_at, pause):
                tried(tx, request, "retry", upstream=finish.upstream, error=error)
                hand_back(tx, request, due_at=due_at, refund=0)
                close(tx, request.queue, pause)
            case Released(reason, due_at, pause):
                tried(tx, request, "released", upstream=finish.upstream, error=reason)
                hand_back(tx, request, due_at=due_at, refund=1)
                close(tx, request.queue, pause)
            case _:
                assert_never(finish.outcome)
        return True

    def _wake(self, tx: Transaction) -> None:
        """Make ready what waited long enough, and take back what was not heard of any more."""
        due = tx.all(
            """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                      upstream, tokens, batch_seq, line, webhook_events, webhook_result, max_attempts, deadline
                 from request where due_at <= ? order by due_at limit ?""",
            tx.now,
            WAKE_AT_ONCE,
        )
        for *columns, max_attempts, deadline in due:
            request = Open(*columns)
            tx.ready.add(request.queue)
            if request.status == Status.PENDING:
                tx.run("update request set due_at = null where seq = ?", (request.seq,))
                continue
            tried(tx, request, "lapsed", error=LAPSED)
            if deadline is not None and deadline <= tx.now:
                self._end(tx, request, expired(LAPSED))
            elif request.attempt >= max_attempts:
                self._end(tx, request, Ended(Status.FAILED, LAPSED))
            else:
                hand_back(tx, request, due_at=None, refund=0)

    def _end(self, tx: Transaction, request: Open, ended: Ended) -> None:
        end(tx, request, ended.status, keep_for=self._retention, error=ended.error)

    async def take_back(self) -> None:
        """Let every lease lapse now. For the file's new owner: whoever held one died with the old owner's lock."""

        def write(tx: Transaction) -> None:
            tx.run("update request set due_at = ? where status = 'processing'", (tx.now,))
            tx.run("update batch set due_at = ? where due_at is not null and worker is not null", (tx.now,))
            tx.run("update delivery set due_at = ? where worker is not null", (tx.now,))

        await self._database.write(write)

    async def next_due(self) -> int | None:
        row = self._database.one(
            """select min(moment) from (
                   select min(due_at) as moment from request where due_at < 4611686018427387904
                   union all
                   select min(paused_until) from throttle where paused_until > ?1
                   union all
                   select min(held_until) from queue where held_until > ?1)""",
            self._database.now(),
        )
        return row[0] if row else None

    async def ready(self) -> set[str]:
        # From one queue that has something to the next: the many that may have nothing cost nothing.
        found = self._database.all(
            """with recursive ready (queue) as (
                   select min(queue) from request where status = 'pending' and due_at is null
                   union all
                   select (select min(r.queue) from request r
                            where r.status = 'pending' and r.due_at is null and r.queue > ready.queue)
                     from ready where ready.queue is not null)
               select queue from ready where queue is not null
               union all
               select queue from parked"""
        )
        return {name for (name,) in found}


def _note_remote(tx: Transaction, beat: Beat) -> None:
    if beat.remote is UNSET:
        return
    upstream, remote_id = beat.remote or (None, None)
    tx.run(
        """update request set remote_upstream = ?, remote_id = ?
            where id = ? and fence = ? and status = 'processing'""",
        (upstream, remote_id, *beat.fence),
    )


def _measure(tx: Transaction, request: Open) -> None:
    """Feed the queue's averages: the time this one took, and the time since the previous end while it was at work."""
    tx.run(
        """update queue
              set service = coalesce(service + ?1 * (?2 - ?3 - service), ?2 - ?3),
                  pace = coalesce(pace + ?1 * (?2 - max(coalesce(last_ended_at, 0), ?3) - pace), ?2 - ?3),
                  last_ended_at = ?2, misses = 0
            where name = ?4""",
        (SMOOTHING, tx.now, request.claimed_at, request.queue),
    )

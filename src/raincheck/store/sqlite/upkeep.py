"""What the caretaker does, in SQLite, in small bites."""

from collections.abc import Sequence

from raincheck.core.batches import PUT_OFF
from raincheck.core.clock import DAY, SECOND
from raincheck.core.events import Event
from raincheck.core.retry import expired
from raincheck.core.status import Status
from raincheck.core.webhooks import WHOLE_SCHEDULE, DeliveryStatus
from raincheck.store.room import WINDOW
from raincheck.store.rows import Open
from raincheck.store.sqlite.database import Database, Transaction
from raincheck.store.sqlite.ends import end
from raincheck.store.sqlite.holders import release
from raincheck.store.sqlite.receivers import forget_delivery, let_go
from raincheck.store.sqlite.requests import forget, forget_bodies
from raincheck.store.telling import FORGOTTEN

WORKER_KEPT = DAY
STRAY_KEPT = 2 * DAY


class SqliteUpkeep:
    """See `protocol.Upkeep`."""

    def __init__(self, database: Database, *, retention: int, log_retention: int) -> None:
        self._database = database
        self._retention = retention
        self._log_retention = log_retention

    async def expire(self, *, limit: int) -> int:
        def write(tx: Transaction) -> int:
            late = tx.all(
                """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                          upstream, tokens, batch_seq, line, webhook_events, webhook_result
                     from request where status = 'pending' and deadline <= ? order by deadline limit ?""",
                tx.now,
                limit,
            )
            outcome = expired(None)
            for row in late:
                end(tx, Open(*row), outcome.status, keep_for=self._retention, error=outcome.error)
            return len(late)

        late = self._database.one(
            "select 1 from request where status = 'pending' and deadline <= ?", self._database.now()
        )
        return await self._database.write(write) if late else 0

    async def purge(self, *, limit: int) -> int:
        def write(tx: Transaction) -> int:
            later, put_off = tx.now + self._retention, tx.now + max(self._retention, PUT_OFF)
            due = tx.all(
                """select seq, purged,
                          exists (select 1 from batch b where b.seq = request.batch_seq and b.ended_at is null)
                     from request where purge_at <= ? order by purge_at limit ?""",
                tx.now,
                limit,
            )
            for seq, purged, needed in due:
                if needed:
                    tx.run("update request set purge_at = ? where seq = ?", (put_off, seq))
                elif purged:
                    forget(tx, seq)
                else:
                    forget_bodies(tx, seq)
                    tx.run("update request set purged = 1, purge_at = ? where seq = ?", (later, seq))
            stale = tx.all(
                "delete from seen where (tenant, key) in"
                " (select tenant, key from seen where expires_at <= ? limit ?) returning 1",
                tx.now,
                limit - len(due),
            )
            expired = tx.all(
                "delete from file where seq in (select seq from file where expires_at <= ? limit ?) returning blob",
                tx.now,
                limit - len(due) - len(stale),
            )
            release(tx, [blob for (blob,) in expired])
            done = len(due) + len(stale) + len(expired)
            done += _purge_batches(tx, limit - done)
            return done + _purge_deliveries(tx, limit - done, kept=self._log_retention)

        due = self._database.one(
            """select 1 from request where purge_at <= ?1
               union all select 1 from seen where expires_at <= ?1
               union all select 1 from file where expires_at <= ?1
               union all select 1 from batch where purge_at <= ?1
               union all select 1 from delivery where status in ('delivered', 'failed') and created_at <= ?2
               union all select 1 from delivery
                where status = 'pending' and created_at <= ?3 and (worker is null or due_at <= ?1)
               union all select 1 from receiver where used_at = 0""",
            self._database.now(),
            self._database.now() - self._log_retention,
            self._database.now() - max(self._log_retention, WHOLE_SCHEDULE),
        )
        return await self._database.write(write) if due else 0

    async def tidy(self, *, limit: int) -> int:
        def write(tx: Transaction) -> int:
            tx.run(
                """delete from throttle
                    where coalesce(max_concurrency, rpm, tpm, level) is null and coalesce(paused_until, 0) <= ?""",
                (tx.now,),
            )
            tx.run("delete from spent where second <= ?", (tx.now // SECOND - WINDOW,))
            tx.run("delete from worker where seen_at <= ?", (tx.now - WORKER_KEPT,))
            tx.run(
                """delete from stray where id in
                   (select id from stray where created_at <= ? order by created_at limit ?)""",
                (tx.now - STRAY_KEPT, limit),
            )
            tx.run(
                """delete from receiver where name in
                   (select name from receiver where used_at > ? and used_at <= ?
                       and not exists (select 1 from delivery where receiver = receiver.name) limit ?)""",
                (FORGOTTEN, tx.now - self._log_retention, limit),
            )
            idle = tx.all(
                """select name from queue
                    where not exists (select 1 from throttle where scope = 'queue' and throttle.name = queue.name)
                      and coalesce(last_ended_at, 0) <= ?1
                      and not exists (select 1 from flow where queue = name and pending > 0)
                      and not exists (select 1 from request where queue = name and status = 'processing')
                    limit ?2""",
                tx.now - self._retention,
                limit,
            )
            for name in idle:
                tx.run("delete from flow where queue = ?", name)
                tx.run("delete from lane where queue = ?", name)
                tx.run("delete from parked where queue = ?", name)
                tx.run("delete from queue where name = ?", name)
            tx.known.clear()
            return len(idle)

        return await self._database.write(write)

    async def check(self) -> None:
        def write(tx: Transaction) -> None:
            # A row that is set to what it is would not be written; this number, which nothing reads, always is.
            tx.run("pragma user_version = 0", ())

        await self._database.write(write)

    async def gauges(self) -> dict[tuple[str, Status], int]:
        found = await self._database.read_apart(
            """select name, 'pending', (select coalesce(sum(pending), 0) from flow where queue = name) from queue
               union all
               select name, 'processing',
                      (select count(*) from request where queue = name and status = 'processing') from queue"""
        )
        return {(queue, Status(status)): count for queue, status, count in found}

    async def events(self, tenant: str, request_id: str) -> list[Event]:
        found = self._database.all(
            """select e.id, e.tenant, e.type, e.created_at, e.webhook_url, r.id
                 from event e join request r on r.seq = e.request_seq
                where r.id = ? and r.tenant = ?""",
            request_id,
            tenant,
        )
        return [Event(*row) for row in found]


def _purge_batches(tx: Transaction, limit: int) -> int:
    """Forget batches that were kept long enough, bite by bite: one may have a million rows."""
    taken = 0
    for (seq,) in tx.all("select seq from batch where purge_at <= ? order by purge_at limit ?", tx.now, limit):
        if taken >= limit:
            break
        parts = tx.all(
            """delete from batch_part where batch_seq = ?1 and position in
               (select position from batch_part where batch_seq = ?1 limit ?2) returning blob""",
            seq,
            limit - taken,
        )
        release(tx, [blob for (blob,) in parts if blob is not None])
        taken += len(parts)
        gone = tx.all(
            """delete from batch_row where batch_seq = ?1 and line in
               (select line from batch_row where batch_seq = ?1 order by line limit ?2) returning request_seq""",
            seq,
            limit - taken,
        )
        # Its requests may be kept for longer; the number of the batch will be another's.
        tx.run_many("update request set batch_seq = null, line = null where seq = ?", gone)
        taken += len(gone)
        if taken < limit:
            tx.run("delete from event where batch_seq = ?", (seq,))
            tx.run("delete from batch where seq = ?", (seq,))
            taken += 1
    return taken


def _purge_deliveries(tx: Transaction, limit: int, *, kept: int) -> int:
    """Forget deliveries that were kept long enough, those to be sent after their whole schedule, and those of deleted
    endpoints."""
    taken = 0
    for status in DeliveryStatus:
        is_pending = status is DeliveryStatus.PENDING
        old = tx.all(
            """select seq, receiver, due_at from delivery
                where status = ? and created_at <= ? and (worker is null or due_at <= ?) order by created_at limit ?""",
            *(status, tx.now - (max(kept, WHOLE_SCHEDULE) if is_pending else kept), tx.now, limit - taken),
        )
        for seq, _, _ in old:
            forget_delivery(tx, seq)
        for receiver in {receiver for _, receiver, due_at in old if due_at is not None}:
            let_go(tx, receiver, 1, due_at=tx.now)  # It may have been the one that others waited for.
        taken += len(old)
    for (name,) in tx.all("select name from receiver where used_at = ? limit ?", FORGOTTEN, limit - taken):
        orphans = tx.all("select seq from delivery where receiver = ? order by seq limit ?", name, limit - taken)
        for (seq,) in orphans:
            forget_delivery(tx, seq)
        taken += len(orphans)
        if taken < limit:
            tx.run("delete from receiver where name = ?", (name,))
            taken += 1
    return taken


class SqliteBlobs:
    """See `protocol.Blobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expect(self, name: str, *, keep_for: int) -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert into blob (name, doomed_at) values (?, ?)
                   on conflict do update set doomed_at = excluded.doomed_at where doomed_at is not null""",
                (name, tx.now + keep_for),
            )

        await self._database.write(write)

    async def doomed(self, *, limit: int) -> list[str]:
        found = self._database.all(
            "select name from blob where doomed_at <= ? order by doomed_at limit ?", self._database.now(), limit
        )
        return [name for (name,) in found]

    async def gone(self, names: Sequence[str]) -> None:
        def write(tx: Transaction) -> None:
            for name in names:
                tx.run("delete from blob where name = ? and doomed_at is not null", (name,))

        await self._database.write(write)

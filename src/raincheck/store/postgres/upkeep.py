"""What the caretaker does, in PostgreSQL, in small bites; several processes' caretakers share the work."""

from collections.abc import Sequence
from functools import partial

from raincheck.core.batches import PUT_OFF
from raincheck.core.clock import DAY, SECOND
from raincheck.core.events import Event
from raincheck.core.retry import expired
from raincheck.core.status import Status
from raincheck.core.webhooks import WHOLE_SCHEDULE
from raincheck.store.postgres.batch_purge import forget_batches, forget_parts
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.postgres.delivery_purge import forget_old, forget_orphans, tidy
from raincheck.store.postgres.ends import Ending, end
from raincheck.store.postgres.files import forget_expired
from raincheck.store.postgres.requests import forget, forget_bodies
from raincheck.store.room import WINDOW
from raincheck.store.rows import Open
from raincheck.store.telling import FORGOTTEN


class PostgresUpkeep:
    """See `protocol.Upkeep`."""

    def __init__(self, database: Database, *, retention: int, log_retention: int) -> None:
        self._database = database
        self._retention = retention
        self._log_retention = log_retention

    async def expire(self, *, limit: int) -> int:
        async def write(tx: Transaction) -> int:
            late = await tx.all(
                """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                          upstream, tokens, batch_seq, line, webhook_events, webhook_result
                     from request where status = 'pending' and deadline <= moment($1)
                    order by deadline limit $2 for update skip locked""",
                tx.at,
                limit,
            )
            outcome = expired(None)
            if late:
                ended = [Ending(Open(*row), outcome.status, self._retention, outcome.error) for row in late]
                await end(tx, ended)
            return len(late)

        late = await self._database.one(
            "select min(deadline) <= moment($1) from request where status = 'pending' and deadline is not null",
            self._database.at,
        )
        return await self._database.write(write) if late and late[0] else 0

    async def purge(self, *, limit: int) -> int:
        async def write(tx: Transaction) -> int:
            due = await tx.all(
                """select seq, purged,
                          exists (select 1 from batch b where b.seq = request.batch_seq and b.ended_at is null)
                     from request where purge_at <= moment($1)
                    order by purge_at limit $2 for update skip locked""",
                tx.at,
                limit,
            )
            if needed := [seq for seq, _, needed in due if needed]:
                await tx.run(
                    "update request set purge_at = moment($2) + $3 where seq = any($1::bigint[])",
                    needed,
                    tx.at,
                    max(self._retention, PUT_OFF),
                )
            if old := [seq for seq, purged, needed in due if purged and not needed]:
                await forget(tx, old)
            if fresh := [seq for seq, purged, needed in due if not purged and not needed]:
                await forget_bodies(tx, fresh)
                await tx.run(
                    "update request set purged = true, purge_at = moment($2) + $3 where seq = any($1::bigint[])",
                    fresh,
                    tx.at,
                    self._retention,
                )
            return len(due) + await _forget_fingerprints(tx, limit - len(due))

        due = await self._database.one(
            """select least((select min(purge_at) from request where purge_at is not null),
                            (select min(expires_at) from seen where expires_at is not null)) <= moment($1),
                      (select min(expires_at) from file where expires_at is not null) <= moment($1),
                      (select min(purge_at) from batch where purge_at is not null) <= moment($1),
                      least((select min(created_at) from delivery where status = 'delivered') + $2,
                            (select min(created_at) from delivery where status = 'failed') + $2,
                            (select min(created_at) from delivery where status = 'pending') + $4) <= moment($1),
                      (select min(used_at) from receiver) = $3""",
            self._database.at,
            self._log_retention,
            FORGOTTEN,
            max(self._log_retention, WHOLE_SCHEDULE),
        )
        requests, files, batches, told, orphans = due or (False,) * 5
        taken = await self._database.write(write) if requests else 0
        # Transactions of their own: bodies are let go of by one statement, and before a batch is locked.
        for some, forget_some in (
            (files, forget_expired),
            (batches, forget_parts),
            (batches, forget_batches),
            (told, partial(forget_old, kept=self._log_retention)),
            (orphans, forget_orphans),
        ):
            if some and taken < limit:
                taken += await self._database.write(partial(forget_some, limit=limit - taken))
        return taken

    async def tidy(self, *, limit: int) -> int:
        async def write(tx: Transaction) -> int:
            idle = await self._lock_idle(tx, limit)
            if idle:
                # Without waiting: a claim that has a note locked waits for the queue. It sees to the note itself.
                await tx.run(
                    """delete from parked where (queue, tenant) in (
                           select queue, tenant from parked where queue = any($1::text[]) for update skip locked)""",
                    idle,
                )
                await tx.run("delete from flow where queue = any($1::text[])", idle)
                await tx.run("delete from lane where queue = any($1::text[])", idle)
                await tx.run("delete from queue where name = any($1::text[])", idle)
            return len(idle)

        forgotten = await self._database.write(write)
        await self._database.write(lambda tx: _sweep(tx, limit), durable=False)
        await self._database.write(lambda tx: tidy(tx, kept=self._log_retention, limit=limit), durable=False)
        return forgotten

    async def _lock_idle(self, tx: Transaction, limit: int) -> list[str]:
        """The queues to forget. A submit under way has a lock on its queue, and one that comes waits for ours.

        They are looked at twice, the second time when they are locked: what was committed between the look and the
        lock shows only then.
        """
        found = await tx.all(
            """select q.name from queue q
                where coalesce(q.last_ended_at, 0) <= moment($1) - $2
                  and not exists (select 1 from flow f where f.queue = q.name and f.pending > 0)
                  and not exists (select 1 from request r where r.queue = q.name and r.status = 'processing')
                  and not exists (select 1 from throttle t
                                   where t.scope = 'queue' and t.name = q.name
                                     and (coalesce(t.max_concurrency, t.rpm, t.tpm) is not null
                                          or t.level is not null or t.paused_until > moment($1)))
                limit $3
                  for update of q skip locked""",
            tx.at,
            self._retention,
            limit,
        )
        if not found:
            return []
        still = await tx.all(
            """select q.name from queue q
                where q.name = any($1::text[])
                  and not exists (select 1 from flow f where f.queue = q.name and f.pending > 0)
                  and not exists (select 1 from request r where r.queue = q.name and r.status = 'processing')""",
            [name for (name,) in found],
        )
        return [name for (name,) in still]

    async def check(self) -> None:
        async def write(tx: Transaction) -> None:
            # No row fits, but a server that may not write refuses already to look for one. The message is what has to
            # reach the disk.
            await tx.run("delete from blob where name = ''")
            await tx.run("select pg_logical_emit_message(true, 'raincheck', '')")

        await self._database.write(write)

    async def gauges(self) -> dict[tuple[str, Status], int]:
        found = await self._database.read_apart(
            """select q.name, (select coalesce(sum(f.pending), 0)::bigint from flow f where f.queue = q.name),
                      (select count(*) from request r where r.queue = q.name and r.status = 'processing')
                 from queue q"""
        )
        counts = dict[tuple[str, Status], int]()
        for queue, pending, processing in found:
            counts[queue, Status.PENDING] = pending
            counts[queue, Status.PROCESSING] = processing
        return counts

    async def events(self, tenant: str, request_id: str) -> list[Event]:
        found = await self._database.all(
            """select e.id, e.tenant, e.type, e.created_at, e.webhook_url, r.id
                 from event e join request r on r.seq = e.request_seq
                where r.id = $1 and (r.tenant = $2) is true""",
            request_id,
            tenant,
        )
        return [Event(*row) for row in found]


class PostgresBlobs:
    """See `protocol.Blobs`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def expect(self, name: str, *, keep_for: int) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into blob as b (name, doomed_at) values ($1, moment($2) + $3)
                   on conflict (name) do update set doomed_at = excluded.doomed_at where b.doomed_at is not null""",
                name,
                tx.at,
                keep_for,
            )

        await self._database.write(write)

    async def doomed(self, *, limit: int) -> list[str]:
        found = await self._database.all(
            "select name from blob where doomed_at <= moment($1) order by doomed_at limit $2", self._database.at, limit
        )
        return [name for (name,) in found]

    async def gone(self, names: Sequence[str]) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """delete from blob where name in
                   (select name from blob where name = any($1::text[]) and doomed_at is not null
                     order by name for update)""",
                list(names),
            )

        if names:
            await self._database.write(write)


async def _forget_fingerprints(tx: Transaction, limit: int) -> int:
    stale = await tx.all(
        """select tenant, key from seen where expires_at <= moment($1)
            order by expires_at limit $2 for update skip locked""",
        tx.at,
        limit,
    )
    if stale:
        await tx.run(
            """delete from seen s using unnest($1::text[], $2::text[]) as old (tenant, key)
                where s.tenant = old.tenant and s.key = old.key""",
            [tenant for tenant, _ in stale],
            [key for _, key in stale],
        )
    return len(stale)


async def _sweep(tx: Transaction, limit: int) -> None:
    """Forget workers that were not seen for long, pauses that are over where nothing else is limited, what was spent
    and counts no more, and jobs that nobody could stop. Whoever has a row locked is using it, so it is left."""
    await tx.run(
        """delete from throttle where (scope, name) in (
               select scope, name from throttle
                where coalesce(max_concurrency, rpm, tpm) is null and level is null
                  and coalesce(paused_until, 0) <= moment($1)
                order by scope, name for update skip locked)""",
        tx.at,
    )
    await tx.run(
        """delete from spent where (scope, name, second) in (
               select scope, name, second from spent where second <= moment($1) / $2 - $3 for update skip locked)""",
        tx.at,
        SECOND,
        WINDOW,
    )
    await tx.run(
        """delete from worker where name in (
               select name from worker where seen_at <= moment($1) - $2 order by name for update skip locked)""",
        tx.at,
        DAY,
    )
    await tx.run(
        """with old as materialized (
               select id from stray where created_at <= moment($1) - $2
                order by created_at limit $3 for update skip locked)
           delete from stray s using old where s.id = old.id""",
        tx.at,
        2 * DAY,
        limit,
    )

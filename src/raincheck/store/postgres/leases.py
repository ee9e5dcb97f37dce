"""What the engine does with requests, in PostgreSQL. Every write carries the fence of its claim."""

from collections.abc import Sequence
from itertools import islice

from msgspec import UNSET
from msgspec.structs import replace

from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Beat, Claimed, Fence, Finish, Offer
from raincheck.core.outcome import Ended
from raincheck.core.retry import LAPSED, expired
from raincheck.core.status import Status
from raincheck.core.webhooks import PROGRESS_EVERY
from raincheck.store.group_commit import GroupCommit
from raincheck.store.parking import PARKED
from raincheck.store.postgres import finishes, telling
from raincheck.store.postgres.claims import Terms, claim
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.postgres.ends import Ending, Return, Try, end, hand_back, stopped, tried
from raincheck.store.postgres.telling import LISTENING, audience, came_along
from raincheck.store.postgres.texts import cleaned
from raincheck.store.rows import Open

_Beats = tuple[Sequence[Beat], int]
"""With the length of the lease they ask for."""


class PostgresLeases:
    """See `protocol.Leases`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention
        self._finishes = database.gathered(self._record)
        self._beats = GroupCommit[_Beats, set[Fence]](self._extend)
        self._in_doubt = set[Fence]()
        """Of finishes that failed: whether they had been committed when the database went away, nobody knows."""

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        terms = Terms(worker, lease_for, self._retention)
        # A transaction of its own: what it locks must not be waited for by a claim that waits for a limit.
        if await self._something_due():
            await self._database.write(self._wake, durable=False)
        wanted = [offer for offer in offers if offer.places > 0]
        if not wanted:
            return Claimed([], frozenset())
        return await self._database.write(lambda tx: claim(tx, wanted, terms), durable=False)

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        return await self._beats.add((beats, lease_for)) if beats else set()

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        if not finishes:
            return []
        fences = [finish.fence for finish in finishes]
        try:
            recorded = await self._finishes.add(finishes)
        except StoreUnavailable:
            self._in_doubt.update(fences)
            raise
        self._in_doubt.difference_update(fences)
        return [fence for fence, good in zip(fences, recorded, strict=True) if not good]

    async def _record(self, tx: Transaction, batches: Sequence[Sequence[Finish]]) -> list[list[bool]]:
        together = [finish for batch in batches for finish in batch]
        recorded = await finishes.record(tx, together, keep_for=self._retention, in_doubt=self._in_doubt)
        answers = iter(recorded)
        return [list(islice(answers, len(batch))) for batch in batches]

    async def _extend(self, batches: Sequence[_Beats]) -> list[set[Fence]]:
        # Losing a heartbeat in a crash costs at most a repeated attempt; losing a remote id would cost a job.
        durable = any(beat.remote is not UNSET for beats, _ in batches for beat in beats)
        held = await self._database.write(lambda tx: _push(tx, batches), durable=durable)
        return [held.intersection(beat.fence for beat in beats) for beats, _ in batches]

    # --- what waits

    async def _something_due(self) -> bool:
        row = await self._database.one(
            "select min(due_at) <= moment($1) from request where due_at is not null", self._database.at
        )
        return row is not None and bool(row[0])

    async def _wake(self, tx: Transaction) -> None:
        """Make ready what waited long enough, and take back what was not heard of any more.

        Not more than some at once, so that a herd of them delays nobody for long. (The number is no parameter: the
        planner is to know that they are few.)
        """
        due = await tx.all(
            """with due as materialized (
                   select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                          upstream, tokens, batch_seq, line, webhook_events, webhook_result, max_attempts,
                          deadline <= moment($1) as late
                     from request
                    where due_at <= moment($1)
                    order by due_at
                    limit 200
                      for update skip locked
               ), woken as (
                   update request r set due_at = null from due d where r.seq = d.seq and d.status = 'pending'
               )
               select * from due""",
            tx.at,
        )
        lapsed, ends, back = list[Try](), list[Ending](), list[Return]()
        for *columns, max_attempts, late in due:
            request = Open(*columns)
            tx.ready.add(request.queue)
            if request.status == Status.PENDING:
                continue
            lapsed.append(Try(request, "lapsed", error=LAPSED))
            if late or request.attempt >= max_attempts:
                outcome = expired(LAPSED) if late else Ended(Status.FAILED, LAPSED)
                ends.append(Ending(request, outcome.status, self._retention, outcome.error))
            else:
                back.append(Return(request, None, 0))
        if lapsed:
            await tried(tx, lapsed)
            await stopped(tx, [each.request for each in lapsed])
        if ends:
            await end(tx, ends)
        if back:
            await hand_back(tx, back)

    async def next_due(self) -> int | None:
        row = await self._database.one(
            """select min(moment) from (
                   select min(due_at) as moment from request where due_at is not null and due_at < $2
                   union all
                   select min(paused_until) from throttle where paused_until > moment($1)
                   union all
                   select min(held_until) from queue where held_until > moment($1)) moments""",
            self._database.at,
            PARKED,
        )
        return row[0] if row else None

    async def ready(self) -> set[str]:
        # From one queue that has something to the next: the many that may have nothing cost nothing.
        found = await self._database.all(
            """with recursive ready (queue) as (
                   (select queue from request where status = 'pending' and due_at is null
                     order by queue, priority, tag, seq limit 1)
                   union all
                   select (select r.queue from request r
                            where r.status = 'pending' and r.due_at is null and r.queue > ready.queue
                            order by r.queue, r.priority, r.tag, r.seq limit 1)
                     from ready where ready.queue is not null)
               select queue from ready where queue is not null
               union all
               select queue from parked"""
        )
        return {name for (name,) in found}


async def _push(tx: Transaction, batches: Sequence[_Beats]) -> set[Fence]:
    """Push the ends of the leases and note progress, in the order in which finishes lock the same rows.

    What has a worker is processing: see `finishes` for why it is said in this way.
    """
    merged: dict[Fence, tuple[Beat, int]] = {}
    for beats, lease_for in batches:
        for beat in beats:
            before = merged.get(beat.fence)
            merged[beat.fence] = (_together(before[0], beat) if before else beat, lease_for)
    found = await tx.all(
        """with held as materialized (
               select r.seq, b.fence, b.lease_for, b.progress, b.message, b.remote, b.remote_upstream, b.remote_id
                 from unnest($1::text[], $2::bigint[], $3::bigint[], $4::double precision[], $5::text[], $6::boolean[],
                             $7::text[], $8::text[])
                      as b (id, fence, lease_for, progress, message, remote, remote_upstream, remote_id)
                 join request r on r.id = b.id and r.fence = b.fence and r.worker is not null
                order by r.seq
                  for update of r)
           update request r
              set due_at = moment($9) + h.lease_for, progress = coalesce(h.progress, r.progress),
                  progress_message = coalesce(h.message, r.progress_message),
                  remote_upstream = case when h.remote then h.remote_upstream else r.remote_upstream end,
                  remote_id = case when h.remote then h.remote_id else r.remote_id end
             from held h
            where r.seq = h.seq and r.fence = h.fence and r.worker is not null
        returning r.id, r.fence,
                  -- What is told of progress goes by the operation's name, or by that of OpenAI's videos.
                  (h.progress is not null or h.message is not null) and r.batch_seq is null
                  and coalesce(r.webhook_told_at <= moment($9) - $10, true)
                  and (' ' || r.webhook_events || ' ' like '% progress %'
                       or exists (select 1 from subscription s
                                   where s.tenant = r.tenant
                                     and s.type = any(array[r.operation || '.progress', 'video.progress'])))""",
        [fence.request_id for fence in merged],
        [fence.number for fence in merged],
        [lease_for for _, lease_for in merged.values()],
        [beat.progress for beat, _ in merged.values()],
        [cleaned(beat.progress_message) for beat, _ in merged.values()],
        [beat.remote is not UNSET for beat, _ in merged.values()],
        [cleaned(beat.remote.upstream) if beat.remote else None for beat, _ in merged.values()],
        [cleaned(beat.remote.id) if beat.remote else None for beat, _ in merged.values()],
        tx.at,
        PROGRESS_EVERY,
    )
    if moved := [request_id for request_id, _, wanted in found if wanted]:
        await _tell_of_progress(tx, moved)
    return {Fence(request_id, number) for request_id, number, _ in found}


async def _tell_of_progress(tx: Transaction, request_ids: Sequence[str]) -> None:
    """Tell those who asked for it how far these requests are, which are locked."""
    found = await tx.all(
        """update request set webhook_told_at = moment($2) where id = any($1::text[])
        returning seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                  upstream, tokens, batch_seq, line, webhook_events, webhook_result, moment($2), progress,
                  progress_message""",
        request_ids,
        tx.at,
    )
    happened = [
        came_along(Open(*columns), now, progress=progress, message=message)
        for *columns, now, progress, message in found
    ]
    tenants, types = audience(((each.what.tenant, each.what.type) for each in happened), ends=False)
    await telling.write(tx, happened, await tx.all(LISTENING.format(tenants="$1", types="$2"), tenants, types))


def _together(before: Beat, after: Beat) -> Beat:
    """What the later one does not say, the earlier one did."""
    return replace(
        after,
        progress=before.progress if after.progress is None else after.progress,
        progress_message=before.progress_message if after.progress_message is None else after.progress_message,
        remote=before.remote if after.remote is UNSET else after.remote,
    )

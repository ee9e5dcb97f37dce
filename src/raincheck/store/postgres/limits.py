"""Limits on queues and upstreams that hold over all workers, in PostgreSQL: what a claim may start, what was spent,
and what the ends of attempts mean for them. Where nothing is limited, none of this locks anything.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from raincheck.core.adaptive import Level, Sample, step
from raincheck.core.clock import SECOND
from raincheck.core.model import Finish, Offer, Scope
from raincheck.core.outcome import Succeeded
from raincheck.store.postgres.database import Transaction
from raincheck.store.room import TOKENS, WINDOW, Held, Room, Spent, Throttled
from raincheck.store.rows import Open

Rooms = Mapping[tuple[Scope, str], Room]
"""Only of what is limited or paused."""


class Locked(NamedTuple):
    """What a claim knows before it looks at any request."""

    now: int
    """The moment of the claim: after the wait for the locks, so that nobody's minute begins before its calls do."""
    rooms: Rooms
    caps: bool
    """Whether some tenant may run only so many."""
    parked: bool
    """Whether requests may be set aside in one of the offered queues."""

    def of(self, queue: str, upstream: str) -> list[Room]:
        """The one or two rooms that an offer takes from; none when nothing limits it."""
        both = self.rooms.get(("queue", queue)), self.rooms.get(("upstream", upstream))
        return [room for room in both if room is not None]


class Tried(NamedTuple):
    """An attempt whose fence held."""

    request: Open
    finish: Finish


async def lock(tx: Transaction, offers: Sequence[Offer]) -> Locked:
    """Wait for whoever claims of the same limited things, and see what they left."""
    found = await tx.all(
        """with locked as materialized (
               select scope, name, max_concurrency, rpm, tpm, paused_until, pause_reason, level, slowed_at,
                      first_token, unhurried
                 from throttle
                where (scope = 'queue' and name = any($1::text[])) or (scope = 'upstream' and name = any($2::text[]))
                order by scope, name
                  for update)
           select coalesce($3::bigint, (extract(epoch from clock_timestamp()) * 1000000)::bigint),
                  exists (select 1 from tenant where max_running is not null),
                  exists (select 1 from parked where queue = any($1::text[])),
                  locked.*
             from (select 1) always left join locked on true""",
        list({offer.queue for offer in offers}),
        list({offer.upstream for offer in offers}),
        tx.at,
    )
    # The row that came last was read when all were locked.
    now, caps, parked, *_ = found[-1]
    throttles = [Throttled(*row[3:]) for row in map(tuple, found) if row[3] is not None]
    return Locked(now, await _measured(tx, throttles, now), caps, parked)


async def _measured(tx: Transaction, throttles: Sequence[Throttled], now: int) -> Rooms:
    if not throttles:
        return {}
    # A statement of its own, after the locks: it sees what those before us have committed.
    found = await tx.all(
        """select case when not t.counted then 0
                       when t.scope = 'queue'
                       then (select count(*) from request r where r.queue = t.name and r.status = 'processing')
                       else (select count(*) from request r where r.upstream = t.name and r.status = 'processing')
                   end,
                  s.seconds, s.requests, s.tokens
             from unnest($1::text[], $2::text[], $3::boolean[]) with ordinality as t (scope, name, counted, number)
            cross join lateral (
                  select array_agg(second order by second) as seconds, array_agg(requests order by second) as requests,
                         array_agg(tokens order by second) as tokens
                    from spent where scope = t.scope and name = t.name and second > $4) s
            order by t.number""",
        [throttle.scope for throttle in throttles],
        [throttle.name for throttle in throttles],
        [throttle.concurrency is not None for throttle in throttles],
        now // SECOND - WINDOW,
    )
    rooms: dict[tuple[Scope, str], Room] = {}
    for throttle, (running, seconds, requests, tokens) in zip(throttles, found, strict=True):
        buckets = zip(seconds or (), requests or (), tokens or (), strict=True)
        rooms[throttle.scope, throttle.name] = Room(throttle, now, running, [Spent(*each) for each in buckets])
    return rooms


async def write_spent(tx: Transaction, locked: Locked) -> None:
    """Write down what a claim took, and forget what counts no more."""
    taken = [room for room in locked.rooms.values() if room.requests and room.throttle.per_minute]
    if not taken:
        return
    await tx.run(
        """with t as materialized (
               select * from unnest($1::text[], $2::text[], $3::integer[], $4::bigint[])
                        as t (scope, name, requests, tokens)
           ), gone as (
               delete from spent s using t where s.scope = t.scope and s.name = t.name and s.second <= $5 - $6::bigint
           )
           insert into spent as s (scope, name, second, requests, tokens)
           select scope, name, $5, requests, tokens from t order by scope, name
           on conflict (scope, name, second) do update
              set requests = s.requests + excluded.requests, tokens = s.tokens + excluded.tokens""",
        [room.throttle.scope for room in taken],
        [room.throttle.name for room in taken],
        [room.requests for room in taken],
        [room.tokens for room in taken],
        locked.now // SECOND,
        WINDOW,
    )


async def write_held(tx: Transaction, changed: Mapping[str, Held | None]) -> None:
    """Write down until when queues are held, and by what."""
    if not changed:
        return
    held = [each or (None, None) for each in changed.values()]
    await tx.run(
        """with locked as materialized (
               select q.name, h.until, h.reason
                 from unnest($1::text[], $2::bigint[], $3::text[]) as h (name, until, reason)
                 join queue q on q.name = h.name
                order by q.name
                  for no key update of q)
           update queue q set held_until = l.until, held_reason = l.reason from locked l where q.name = l.name""",
        list(changed),
        [until for until, _ in held],
        [reason for _, reason in held],
    )


async def learn(tx: Transaction, attempts: Sequence[Tried], pauses: Mapping[str, int], *, now: int) -> None:
    """Correct the minute's books by what attempts used in truth, move the adaptive levels that they ran under, and
    let nothing of the queues with a pause be claimed before it ends.

    Called while the attempts still count as running. The rows are locked, and made where they are missing, by one
    statement in the order of their keys: one that is locked later could be waited for in a circle.
    """
    found = await tx.all(
        """insert into throttle as t (scope, name)
           select scope, name from throttle
            where ((scope = 'queue' and name = any($1::text[])) or (scope = 'upstream' and name = any($2::text[])))
              and (level is not null or tpm is not null)
           union
           select 'queue', name from unnest($3::text[]) name
            order by scope, name
           on conflict (scope, name) do update set level = t.level
           returning t.scope, t.name, t.max_concurrency, t.rpm, t.tpm, t.paused_until, t.pause_reason, t.level,
                     t.slowed_at, t.first_token, t.unhurried,
                     case when t.level is null then 0
                          when t.scope = 'queue'
                          then (select count(*) from request r where r.queue = t.name and r.status = 'processing')
                          else (select count(*) from request r where r.upstream = t.name and r.status = 'processing')
                      end""",
        list({attempt.request.queue for attempt in attempts}),
        list({attempt.request.upstream or "" for attempt in attempts}),
        list(pauses),
    )
    corrections, levels = Counter[tuple[Scope, str, int]](), list[tuple[Throttled, Level]]()
    for *columns, running in found:
        throttle = Throttled(*columns)
        under = [attempt for attempt in attempts if _is_under(throttle, attempt.request)]
        if throttle.tpm is not None:
            corrections.update(_corrections(throttle, under))
        if throttle.level is not None:
            before = Level(throttle.level, throttle.slowed_at or 0, throttle.first_token, throttle.unhurried)
            after = _stepped(before, under, running, now)
            if after != before:
                levels.append((throttle, after))
    await _write_corrections(tx, corrections)
    await _write_levels(tx, levels)
    await _write_pauses(tx, pauses)


def _is_under(throttle: Throttled, request: Open) -> bool:
    return throttle.name == (request.queue if throttle.scope == "queue" else request.upstream)


def _corrections(throttle: Throttled, attempts: Sequence[Tried]) -> Counter[tuple[Scope, str, int]]:
    changes = Counter[tuple[Scope, str, int]]()
    for request, finish in attempts:
        if finish.tokens is not None and request.claimed_at is not None:
            key = throttle.scope, throttle.name, request.claimed_at // SECOND
            changes[key] += min(finish.tokens, TOKENS) - request.tokens
    return changes


def _stepped(level: Level, attempts: Sequence[Tried], running: int, now: int) -> Level:
    """An attempt that broke off for another reason than too much work says nothing either way. Those that end together
    were at work together."""
    for request, finish in attempts:
        if finish.congested or isinstance(finish.outcome, Succeeded):
            sample = Sample(request.claimed_at or now, running, finish.congested, finish.first_token)
            level = step(level, sample, now=now)
    return level


async def _write_corrections(tx: Transaction, changes: Mapping[tuple[Scope, str, int], int]) -> None:
    """What has left the window may be gone: nobody counts it any more."""
    changed = {key: tokens for key, tokens in changes.items() if tokens}
    if not changed:
        return
    await tx.run(
        """update spent s set tokens = s.tokens + c.tokens
             from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) as c (scope, name, second, tokens)
            where s.scope = c.scope and s.name = c.name and s.second = c.second""",
        [scope for scope, _, _ in changed],
        [name for _, name, _ in changed],
        [second for _, _, second in changed],
        list(changed.values()),
    )


async def _write_levels(tx: Transaction, levels: Sequence[tuple[Throttled, Level]]) -> None:
    if not levels:
        return
    await tx.run(
        """update throttle t
              set level = n.level, slowed_at = n.slowed_at, first_token = n.first_token, unhurried = n.unhurried
             from unnest($1::text[], $2::text[], $3::double precision[], $4::bigint[], $5::double precision[],
                         $6::double precision[]) as n (scope, name, level, slowed_at, first_token, unhurried)
            where t.scope = n.scope and t.name = n.name""",
        [throttle.scope for throttle, _ in levels],
        [throttle.name for throttle, _ in levels],
        [after.level for _, after in levels],
        [after.slowed_at for _, after in levels],
        [after.first_token for _, after in levels],
        [after.unhurried for _, after in levels],
    )


async def _write_pauses(tx: Transaction, pauses: Mapping[str, int]) -> None:
    """No words: they would be another tenant's (G8)."""
    if not pauses:
        return
    await tx.run(
        """update throttle t set paused_until = p.until, pause_reason = null
             from unnest($1::text[], $2::bigint[]) as p (name, until)
            where t.scope = 'queue' and t.name = p.name and coalesce(t.paused_until, 0) < p.until""",
        list(pauses),
        list(pauses.values()),
    )

"""Limits on queues and upstreams that hold over all workers, in SQLite: what a claim may start, what was spent, and
what the ends of attempts mean for them. Where nothing is limited, all of it is one statement per transaction.
"""

from collections.abc import Iterable
from typing import NamedTuple

from raincheck.core.adaptive import Level, Sample, step
from raincheck.core.clock import SECOND
from raincheck.core.model import Finish, Scope
from raincheck.core.outcome import Pause, Succeeded
from raincheck.store.room import TOKENS, WINDOW, Held, Room, Spent, Throttled
from raincheck.store.rows import Open
from raincheck.store.sqlite.database import Transaction


class Some(NamedTuple):
    """Whether anything is limited, and whether anything is set aside."""

    limited: bool
    parked: bool


def some(tx: Transaction) -> Some:
    if "some" not in tx.known:
        [row] = tx.all("select exists (select 1 from throttle), exists (select 1 from parked)")
        tx.known["some"] = Some(*row)
    return tx.known["some"]


def throttled(tx: Transaction, scope: Scope, name: str) -> Throttled | None:
    """The limits of a queue or an upstream, None when it has none; read once per transaction."""
    if not some(tx).limited:
        return None
    key = f"{scope} {name}"
    if key not in tx.known:
        row = tx.one(
            """select scope, name, max_concurrency, rpm, tpm, paused_until, pause_reason, level, slowed_at,
                      first_token, unhurried
                 from throttle where scope = ? and name = ?""",
            scope,
            name,
        )
        tx.known[key] = row and Throttled(*row)
    return tx.known[key]


def changed(tx: Transaction, scope: Scope, name: str) -> None:
    """Say that limits were written, so that the transaction reads them again."""
    tx.known.pop("some", None)
    tx.known.pop(f"{scope} {name}", None)


def parked_notes_changed(tx: Transaction) -> None:
    tx.known.pop("some", None)


# --- claims


def room(tx: Transaction, scope: Scope, name: str) -> Room | None:
    """What a queue or an upstream has left; None when nothing limits it."""
    throttle = throttled(tx, scope, name)
    if throttle is None:
        return None
    running, spent = 0, list[Spent]()
    if throttle.concurrency is not None:
        running = _running(tx, throttle)
    if throttle.per_minute:
        found = tx.all(
            "select second, requests, tokens from spent where scope = ? and name = ? and second > ? order by second",
            scope,
            name,
            tx.now // SECOND - WINDOW,
        )
        spent = [Spent(*row) for row in found]
    return Room(throttle, tx.now, running, spent)


def write_spent(tx: Transaction, rooms: Iterable[Room]) -> None:
    """Write down what a claim took, and forget what counts no more."""
    for each in rooms:
        if each.requests and each.throttle.per_minute:
            scope, name, second = each.throttle.scope, each.throttle.name, tx.now // SECOND
            tx.run("delete from spent where scope = ? and name = ? and second <= ?", (scope, name, second - WINDOW))
            tx.run(
                """insert into spent (scope, name, second, requests, tokens) values (?, ?, ?, ?, ?)
                   on conflict do update
                      set requests = requests + excluded.requests, tokens = tokens + excluded.tokens""",
                (scope, name, second, each.requests, each.tokens),
            )


def write_held(tx: Transaction, queue: str, held: Held | None) -> None:
    """Write down until when a queue is held, and by what."""
    until, reason = held or (None, None)
    tx.run("update queue set held_until = ?, held_reason = ? where name = ?", (until, reason, queue))


# --- ends


def freed(tx: Transaction, request: Open) -> None:
    """Say that a request stopped running: where that was limited, another may start, whoever has places already."""
    if _throttles(tx, request):
        tx.freed = True
        tx.ready.add(request.queue)
    if some(tx).parked:
        tx.ready.update(queue for (queue,) in tx.all("select queue from parked where tenant = ?", request.tenant))


def close(tx: Transaction, queue: str, pause: Pause | None) -> None:
    """Let nothing of the queue be claimed before the pause ends. No words: they would be another tenant's (G8)."""
    if pause is None:
        return
    tx.run("update queue set misses = max(misses, ?) where name = ?", (pause.misses, queue))
    tx.run(
        """insert into throttle (scope, name, paused_until) values ('queue', ?1, ?2)
           on conflict do update set paused_until = ?2, pause_reason = null where coalesce(paused_until, 0) < ?2""",
        (queue, pause.until),
    )
    changed(tx, "queue", queue)


def learn(tx: Transaction, request: Open, finish: Finish) -> None:
    """Correct the minute's books by what an attempt used in truth, and move the adaptive levels that it ran under.

    Called while it still counts as running.
    """
    for throttle in _throttles(tx, request):
        if throttle.tpm is not None:
            _correct(tx, throttle, request, finish.tokens)
        if throttle.level is not None:
            _adapt(tx, throttle, request, finish)


def _correct(tx: Transaction, throttle: Throttled, request: Open, tokens: int | None) -> None:
    """What has left the window may be gone: nobody counts it any more."""
    if tokens is not None and tokens != request.tokens and request.claimed_at is not None:
        tx.run(
            "update spent set tokens = tokens + ? where scope = ? and name = ? and second = ?",
            (min(tokens, TOKENS) - request.tokens, throttle.scope, throttle.name, request.claimed_at // SECOND),
        )


def _adapt(tx: Transaction, throttle: Throttled, request: Open, finish: Finish) -> None:
    """An attempt that broke off for another reason than too much work says nothing either way."""
    if not finish.congested and not isinstance(finish.outcome, Succeeded):
        return
    before = Level(throttle.level or 1.0, throttle.slowed_at or 0, throttle.first_token, throttle.unhurried)
    claimed_at = request.claimed_at or tx.now
    sample = Sample(claimed_at, _ran(tx, throttle), finish.congested, finish.first_token)
    after = step(before, sample, now=tx.now)
    if after != before:
        tx.run(
            """update throttle set level = ?, slowed_at = ?, first_token = ?, unhurried = ?
                where scope = ? and name = ?""",
            (after.level, after.slowed_at, after.first_token, after.unhurried, throttle.scope, throttle.name),
        )
        changed(tx, throttle.scope, throttle.name)


def _throttles(tx: Transaction, request: Open) -> list[Throttled]:
    """The limits under which a request runs."""
    both = throttled(tx, "queue", request.queue), throttled(tx, "upstream", request.upstream or "")
    return [throttle for throttle in both if throttle is not None]


def _ran(tx: Transaction, throttle: Throttled) -> int:
    """How many ran before the first end of this transaction: ends that are written together were at work together."""
    key = f"ran {throttle.scope} {throttle.name}"
    if key not in tx.known:
        tx.known[key] = _running(tx, throttle)
    return tx.known[key]


def _running(tx: Transaction, throttle: Throttled) -> int:
    if throttle.scope == "queue":
        [(running,)] = tx.all("select count(*) from request where queue = ? and status = 'processing'", throttle.name)
    else:
        [(running,)] = tx.all(
            "select count(*) from request where upstream = ? and status = 'processing'", throttle.name
        )
    return running

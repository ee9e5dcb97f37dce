"""How attempts went, written under their fences: a batch of finishes in, those whose fence was lost out."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, assert_never

from raincheck.core.model import Fence, Finish
from raincheck.core.outcome import Ended, Pause, Released, Retry, Succeeded
from raincheck.core.status import Status
from raincheck.store.postgres import limits
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.ends import Ending, Return, Try, end, hand_back, stopped, tried
from raincheck.store.postgres.limits import Tried
from raincheck.store.rows import Open

SMOOTHING = 0.2
"""How much one measurement weighs in a queue's moving averages."""


class Held(NamedTuple):
    """Finishes whose fences hold, and whether any of them runs under a limit that learns from it."""

    attempts: Sequence[Tried]
    now: int
    learns: bool


async def record(
    tx: Transaction, finishes: Sequence[Finish], *, keep_for: int, in_doubt: Collection[Fence]
) -> list[bool]:
    """Write finishes; one answer for each, in order: whether it is recorded. Of several with one fence the first is.

    What is in doubt had been written once before, and nobody knows whether that was committed.
    """
    first: dict[Fence, Finish] = {}
    for finish in finishes:
        first.setdefault(finish.fence, finish)
    held = await _lock(tx, first)
    if held.attempts:
        await _write(tx, held, keep_for)
    recorded = {attempt.finish.fence for attempt in held.attempts}
    if again := [fence for fence in first if fence in in_doubt and fence not in recorded]:
        recorded |= await _recorded_before(tx, {fence: first[fence] for fence in again})
    return [finish is first[finish.fence] and finish.fence in recorded for finish in finishes]


async def _lock(tx: Transaction, finishes: Mapping[Fence, Finish]) -> Held:
    # The fence rises on every claim, so a worker that slept through its lease matches no row here. Checking the status
    # alone would not do: the newer claim is processing too. (What has a worker is processing, by the table's own check;
    # said like this, the planner does not take the index of all that run for a shorter way than the ids.)
    found = await tx.all(
        """select r.seq, r.id, r.tenant, r.operation, r.webhook_url, r.queue, r.priority, r.status, r.fence, r.attempt,
                  r.claimed_at, r.upstream, r.tokens, r.batch_seq, r.line, r.webhook_events, r.webhook_result,
                  moment($3),
                  exists (select 1 from throttle t
                           where ((t.scope = 'queue' and t.name = r.queue)
                                  or (t.scope = 'upstream' and t.name = r.upstream))
                             and (t.level is not null or t.tpm is not null))
             from unnest($1::text[], $2::bigint[]) as f (id, fence)
             join request r on r.id = f.id and r.fence = f.fence and r.worker is not null
            order by r.seq
              for update of r""",
        [fence.request_id for fence in finishes],
        [fence.number for fence in finishes],
        tx.at,
    )
    opened = {Fence(row[1], row[8]): Open(*row[:17]) for row in map(tuple, found)}
    # In the order in which they came: that is the order in which they are measured.
    attempts = [Tried(opened[fence], finish) for fence, finish in finishes.items() if fence in opened]
    return Held(attempts, found[0][17] if found else 0, any(row[18] for row in found))


async def _write(tx: Transaction, held: Held, keep_for: int) -> None:
    await tried(tx, [_try(attempt) for attempt in held.attempts])
    if (pauses := _pauses(held.attempts)) or held.learns:
        await limits.learn(tx, held.attempts, pauses, now=held.now)
    await stopped(tx, [attempt.request for attempt in held.attempts])
    endings = [ending for attempt in held.attempts if (ending := _ending(attempt, keep_for)) is not None]
    returned = [back for attempt in held.attempts if (back := _return(attempt)) is not None]
    if endings:
        await end(tx, endings)
    await _measure(tx, held.attempts, held.now)
    if returned:
        await hand_back(tx, returned)


def _outcome(finish: Finish) -> str:
    match finish.outcome:
        case Succeeded():
            return "succeeded"
        case Ended(status):
            return status
        case Retry():
            return "retry"
        case Released():
            return "released"
        case _:
            assert_never(finish.outcome)


def _try(attempt: Tried) -> Try:
    request, finish = attempt
    match finish.outcome:
        case Succeeded():
            error = None
        case Ended(_, error) | Retry(error):
            pass
        case Released(reason):
            error = reason
        case _:
            assert_never(finish.outcome)
    return Try(request, _outcome(finish), finish.upstream, error)


def _ending(attempt: Tried, keep_for: int) -> Ending | None:
    request, finish = attempt
    match finish.outcome:
        case Succeeded(reply):
            return Ending(request, Status.COMPLETED, keep_for, reply=reply)
        case Ended(status, error):
            return Ending(request, status, keep_for, error)
        case Retry() | Released():
            return None
        case _:
            assert_never(finish.outcome)


def _return(attempt: Tried) -> Return | None:
    request, finish = attempt
    match finish.outcome:
        case Retry(_, due_at):
            return Return(request, due_at, 0)
        case Released(_, due_at):
            return Return(request, due_at, 1)
        case Succeeded() | Ended():
            return None
        case _:
            assert_never(finish.outcome)


def _pause(finish: Finish) -> Pause | None:
    return finish.outcome.pause if isinstance(finish.outcome, Retry | Released) else None


def _pauses(attempts: Sequence[Tried]) -> dict[str, int]:
    longest: dict[str, int] = {}
    for request, finish in attempts:
        if (pause := _pause(finish)) is not None:
            longest[request.queue] = max(longest.get(request.queue, 0), pause.until)
    return longest


async def _recorded_before(tx: Transaction, finishes: Mapping[Fence, Finish]) -> set[Fence]:
    found = await tx.all(
        """select r.id, a.fence, a.outcome
             from unnest($1::text[], $2::bigint[]) as f (id, fence)
             join request r on r.id = f.id
             join attempt a on a.seq = r.seq and a.fence = f.fence""",
        [fence.request_id for fence in finishes],
        [fence.number for fence in finishes],
    )
    outcomes = {Fence(request_id, number): outcome for request_id, number, outcome in found}
    return {fence for fence, finish in finishes.items() if outcomes.get(fence) == _outcome(finish)}


@dataclass(slots=True)
class _Averages:
    """A queue's: how long one request takes, and how much time passes between two ends while it is at work."""

    misses: int
    service: float | None
    pace: float | None
    last_ended_at: int | None

    def feed(self, attempt: Tried, now: int) -> None:
        if (pause := _pause(attempt.finish)) is not None:
            self.misses = max(self.misses, pause.misses)
        if isinstance(attempt.finish.outcome, Succeeded):
            started = attempt.request.claimed_at or now
            self.service = _moved(self.service, now - started, first=now - started)
            self.pace = _moved(self.pace, now - max(self.last_ended_at or 0, started), first=now - started)
            self.last_ended_at = now
            self.misses = 0


def _moved(average: float | None, measured: int, *, first: int) -> float:
    return float(first) if average is None else average + SMOOTHING * (measured - average)


async def _measure(tx: Transaction, attempts: Sequence[Tried], now: int) -> None:
    """Feed the queues' averages, and count how often in a row they were told to wait."""
    by_queue = defaultdict[str, list[Tried]](list)
    for attempt in attempts:
        if isinstance(attempt.finish.outcome, Succeeded) or _pause(attempt.finish) is not None:
            by_queue[attempt.request.queue].append(attempt)
    if not by_queue:
        return
    pausing = [queue for queue, some in by_queue.items() if any(_pause(attempt.finish) for attempt in some)]
    averages: dict[str, _Averages] = {}
    if pausing:
        found = await tx.all(
            """select name, misses, service, pace, last_ended_at from queue
                where name = any($1::text[]) order by name for no key update""",
            pausing,
        )
        averages.update((name, _Averages(*rest)) for name, *rest in found)
    if others := [queue for queue in by_queue if queue not in pausing]:
        # All workers' finishes end in this row, and it is locked until the disk has them. Waiting for it would put them
        # one behind the other; one measurement more or less in an average is no loss.
        found = await tx.all(
            """select name, misses, service, pace, last_ended_at from queue
                where name = any($1::text[]) order by name for no key update skip locked""",
            others,
        )
        averages.update((name, _Averages(*rest)) for name, *rest in found)
    for queue, average in averages.items():
        for attempt in by_queue[queue]:
            average.feed(attempt, now)
    await _write_averages(tx, averages)


async def _write_averages(tx: Transaction, averages: Mapping[str, _Averages]) -> None:
    await tx.run(
        """update queue q
              set misses = n.misses, service = n.service, pace = n.pace, last_ended_at = n.last_ended_at
             from unnest($1::text[], $2::integer[], $3::double precision[], $4::double precision[], $5::bigint[])
                  as n (name, misses, service, pace, last_ended_at)
            where q.name = n.name""",
        list(averages),
        [each.misses for each in averages.values()],
        [each.service for each in averages.values()],
        [each.pace for each in averages.values()],
        [each.last_ended_at for each in averages.values()],
    )

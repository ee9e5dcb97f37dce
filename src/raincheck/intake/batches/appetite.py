"""How eagerly a batch is fed: when a queue wants more of it, how soon to look again, when its priority rises; pure."""

from collections.abc import Mapping, Sequence
from math import ceil

from raincheck.core.batches import Appetite, Batch, Crowd
from raincheck.core.clock import MINUTE, SECOND
from raincheck.core.model import Priority

LOW = 2_000
"""A queue in which fewer of a batch's requests wait is fed: enough to keep any upstream busy, and few enough for others
not to notice."""
SOONEST = SECOND // 20
LATEST = SECOND
"""The pace is an average that jumps when ends come in bursts, and an idle upstream costs more than a look."""
UNMEASURED = SECOND // 5
"""How soon to look again at a queue of which nobody knows how fast it is."""
IDLE_LATEST = 5 * SECOND
"""The same for one that has not moved since the last look, however often there was one."""
PER_IDLE = SECOND // 50
"""How much later each look comes for every batch that has nothing to do: with thousands of them, looking is work."""
IDLE_KEPT = 10 * MINUTE
RISES: Sequence[tuple[float, Priority]] = ((0.75, Priority.FLEX), (0.9, Priority.DEFAULT))
"""From which part of the window on a batch is in more of a hurry."""


class Appetites:
    """What the queues want of a batch, kept up to date while it is fed."""

    def __init__(self, appetites: Sequence[Appetite], room: int | None = None) -> None:
        """With `room`, no more than so many lines are wanted, whatever the queues are."""
        self.room = room
        self._queues = {each.queue: each for each in appetites if each.unfed > 0}

    @property
    def left(self) -> bool:
        """Whether anything is still to be fed."""
        return bool(self._queues)

    @property
    def hungry(self) -> bool:
        """Whether any queue would take more now."""
        return self.room != 0 and any(each.pending < LOW for each in self._queues.values())

    def bite(self, most: int) -> int:
        """How many lines to feed now, if not more than `most`."""
        return most if self.room is None else min(most, self.room)

    def fed(self, counts: Mapping[str, int]) -> None:
        """Lines were read for these queues."""
        if self.room is not None:
            self.room = max(self.room - sum(counts.values()), 0)
        for queue, count in counts.items():
            if (each := self._queues.get(queue)) is not None:
                self._queues[queue] = each._replace(unfed=each.unfed - count, pending=each.pending + count)
        self._queues = {queue: each for queue, each in self._queues.items() if each.unfed > 0}

    def look_again_in(self) -> int | None:
        """Microseconds until a queue is likely to be hungry enough for it to be worth while; None when nothing is
        left to feed."""
        waits = [_until_half(each) for each in self._queues.values()]
        if not waits:
            return None
        if self.room == 0:
            return UNMEASURED  # Whatever it waits for, it is not a queue.
        return min(max(min(waits), SOONEST), LATEST)


def room(crowd: Crowd | None, max_pending: int | None) -> int | None:
    """How many more lines a tenant's cap allows one of its batches to feed: they share half of its places, and leave
    the others to what it submits itself."""
    if crowd is None or max_pending is None:
        return None
    left = max(1, max_pending // 2) - crowd.waiting
    return max(0, ceil(left / max(crowd.batches, 1)))


class Patience:
    """Who had nothing to do when it was looked at, to be looked at ever more rarely."""

    def __init__(self) -> None:
        self._idle: dict[str, tuple[int, int]] = {}
        """By batch, how many times in a row, and when last; that longest ago first."""

    def busy(self, batch_id: str) -> None:
        """Something was done."""
        self._idle.pop(batch_id, None)

    def idle(self, batch_id: str, wait: int, now: int) -> int:
        """Nothing was; returns how long to leave it alone when it would be `wait`."""
        times, _ = self._idle.pop(batch_id, (0, 0))
        self._idle[batch_id] = times + 1, now
        while (first := next(iter(self._idle.items())))[1][1] < now - IDLE_KEPT:
            del self._idle[first[0]]  # It has gone, or is another process's.
        return max(min(wait << min(times, 20), IDLE_LATEST), len(self._idle) * PER_IDLE)


def priority_at(batch: Batch, now: int) -> Priority:
    """What a batch's requests are fed with at this time: they are in more of a hurry as its window closes."""
    risen = [priority for share, priority in RISES if now >= _moment(batch, share)]
    return min([batch.priority, *risen])


def next_rise(batch: Batch, now: int) -> int:
    """When it rises next, or the end of its window."""
    later = [moment for share, _ in RISES if (moment := _moment(batch, share)) > now]
    return min([batch.expires_at, *later])


def _moment(batch: Batch, share: float) -> int:
    return batch.created_at + round((batch.expires_at - batch.created_at) * share)


def _until_half(appetite: Appetite) -> int:
    surplus = appetite.pending - LOW // 2
    if surplus <= 0:
        return 0
    return UNMEASURED if appetite.pace is None else round(surplus * appetite.pace)

"""Takes due batches under leases, has each go one step on, gives them back: a loop in every process that works."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from raincheck.core.batches import BatchLease
from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import FenceLost, StoreUnavailable
from raincheck.core.model import Fence
from raincheck.intake.batches.steps import Steps
from raincheck.store.protocol import Batches, Change

AT_ONCE = 8
"""How many batches one process has in hand."""
LONG_AT_ONCE = 2
"""How many of these read or write many lines: that takes long, and must not hold up the others, short ones among
them."""
LEASE = 30 * SECOND
BEAT_EVERY = 8.0
"""Seconds between two extensions of a lease."""
LOOK_EVERY = 5.0
"""Seconds between looks without a hint; hints may be lost."""
SOONEST = 0.05
"""Seconds until what is due but was not to be had is asked for again."""
BREATH = 0.02
"""Seconds between two looks however many hints come."""
AFTER_OUTAGE = 2 * SECOND
LONGEST_OUTAGE = 60 * SECOND
"""How long a batch rests when something it needs cannot be reached: from the first to the last time in a row."""
FIRST_DELAY = 5 * SECOND
LONGEST_DELAY = 300 * SECOND
"""The same after a step that went wrong in any other way."""
CLOSE_WITHIN = 1.0


@dataclass(slots=True, kw_only=True)
class Keeper:
    """Sees to it that batches go on. Any number of processes may do this side by side."""

    batches: Batches
    steps: Steps
    worker: str
    clock: Clock
    crashed: Callable[[Exception, str], None] = lambda _, __: None
    """Told of a step that went wrong, with the batch; it is tried again."""
    _held: dict[asyncio.Task[None], bool] = field(default_factory=dict[asyncio.Task[None], bool])
    """The steps that are under way, and whether each is a long one."""
    _misses: dict[str, int] = field(default_factory=dict[str, int])
    """By batch, how many steps went wrong in a row."""
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _closing: bool = False

    def on_change(self, change: Change) -> None:
        """A commit's hint, of this process or another."""
        if change.batches:
            self.wake()

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self) -> None:
        """Take turns until closed."""
        while not self._closing:
            pause = await self.turn()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            await asyncio.sleep(BREATH)
            self._woken.clear()

    async def turn(self) -> float:
        """Begin a step of each due batch there is a place for; returns for how long (seconds) nothing more is due."""
        try:
            while not self._closing and len(self._held) < AT_ONCE:
                long = sum(self._held.values()) < LONG_AT_ONCE
                due, now = await self.batches.next_due(long=long), self.clock()
                if due is None or due > now:
                    return LOOK_EVERY if due is None else min((due - now) / SECOND, LOOK_EVERY)
                lease = await self.batches.claim(worker=self.worker, lease_for=LEASE, long=long)
                if lease is None:
                    return SOONEST
                await self._begin(lease)
        except StoreUnavailable:
            return AFTER_OUTAGE / SECOND
        return LOOK_EVERY  # A step that is done wakes us.

    async def close(self) -> None:
        """Begin nothing more, and give back what is in hand: whoever goes on with it repeats the step."""
        self._closing = True
        self.wake()
        for task in self._held:
            task.cancel()
        if self._held:
            await asyncio.wait(self._held, timeout=CLOSE_WITHIN)

    async def _begin(self, lease: BatchLease) -> None:
        if self._closing:
            await self._release(lease, self.clock())
            return
        task = asyncio.create_task(self._go_on(lease))
        self._held[task] = lease.long
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        del self._held[task]
        self.wake()

    async def _go_on(self, lease: BatchLease) -> None:
        try:
            due_at = await self._leased(lease)
        except FenceLost:
            self._misses.pop(lease.batch.id, None)
            return
        except asyncio.CancelledError:
            await self._release(lease, self.clock())
            raise
        except Exception as error:  # noqa: BLE001 - one batch's bad luck must not be the others'
            due_at = self.clock() + self._missed(lease.batch.id, error)
            self.crashed(error, lease.batch.id)
        else:
            self._misses.pop(lease.batch.id, None)
        if due_at is not None:
            await self._release(lease, due_at)

    async def _leased(self, lease: BatchLease) -> int | None:
        """One step, while the lease is kept from lapsing; one that is lost ends the step."""
        try:
            async with asyncio.TaskGroup() as tasks:
                beats = tasks.create_task(self._keep(lease.fence))
                due_at = await self.steps.take(lease)
                beats.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from several
        return due_at

    async def _keep(self, fence: Fence) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY)
            with suppress(StoreUnavailable):  # The next one may do, and if not, nobody else could claim it either.
                await self.batches.extend(fence, lease_for=LEASE)

    async def _release(self, lease: BatchLease, due_at: int) -> None:
        with suppress(StoreUnavailable, FenceLost):  # Then it lapses.
            await self.batches.release(lease.fence, due_at=due_at, total=lease.batch.counts.total)

    def _missed(self, batch_id: str, error: Exception) -> int:
        """How long the batch is to rest."""
        misses = self._misses[batch_id] = self._misses.get(batch_id, 0) + 1
        outage = isinstance(error, StoreUnavailable)
        first, longest = (AFTER_OUTAGE, LONGEST_OUTAGE) if outage else (FIRST_DELAY, LONGEST_DELAY)
        return min(first << min(misses - 1, 20), longest)

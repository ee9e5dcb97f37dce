"""The dispatcher: free places in, leases out, one task per attempt, a heartbeat beside them."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Beat, Fence, Lease
from raincheck.core.retry import RetryPolicy
from raincheck.core.status import Status
from raincheck.dispatch.attempt import Attempt, Stop
from raincheck.dispatch.capacity import Capacity, Permit
from raincheck.live import Live
from raincheck.store.protocol import Change, Leases
from raincheck.upstream.catalogue import Catalogue

LOOK_EVERY = 5 * SECOND
"""How often to look for ready queues without a hint; hints may be lost."""

RECORD_WITHIN = 3.0
"""Seconds that outcomes get to be recorded when everything else has stopped."""

TRY_STORE_EVERY = 1.0
"""Seconds between claims while the store is unavailable."""


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Claims what there is a place for and performs it. All durations are microseconds."""

    leases: Leases
    catalogue: Catalogue
    capacity: Capacity
    live: Live
    worker: str
    lease_for: int
    clock: Clock
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    jitter: Callable[[], float] = random.random
    crashed: Callable[[Exception, str], None] = lambda _, __: None
    """Told of what nobody expected, with the request it happened to."""
    running: dict[Fence, Attempt] = field(default_factory=dict[Fence, Attempt])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _ready: dict[str, None] = field(default_factory=dict[str, None])
    """Queues that may have something to claim, in the order in which they get their turn."""
    _look_at: int = 0
    _due_at: int | None = 0
    """When something becomes ready or lapses by itself, as the store said after the last claim."""
    _beat_at: int = 0
    _closing: bool = False
    _cancelled: set[str] = field(default_factory=set[str])
    """Requests cancelled while a claim was under way, which may be among what it brings."""
    _grace: asyncio.Timeout | None = None
    _turning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Take a turn now: there is a free place, or an upstream is back."""
        self._woken.set()

    def on_change(self, change: Change) -> None:
        """A commit's hint: work to claim, or a held request that was cancelled."""
        if change.ready:
            self._ready.update(dict.fromkeys(change.ready))
            if not self.capacity.full():  # Otherwise the next free place wakes us.
                self._woken.set()
        for request_id, status in change.moved:
            if status is Status.CANCELLED:
                self._stop_cancelled(request_id)

    async def run(self) -> None:
        """Take turns until closed."""
        while not self._closing:
            pause = await self.turn()
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()

    async def turn(self) -> float:
        """Claim for every free place and start the attempts; returns for how long (seconds) nothing more is due."""
        try:
            async with self._turning:
                await self._beat_if_due()
                await self._look_if_due()
                await self._claim()
                self._due_at = await self.leases.next_due()
        except StoreUnavailable:
            return TRY_STORE_EVERY
        if self._due_at is not None:
            self._look_at = min(self._look_at, self._due_at)
        return max(0.0, (min(self._look_at, self._beat_at) - self.clock()) / SECOND)

    async def close(self, grace: float) -> None:
        """Claim nothing more, let running attempts and passed-through calls finish for `grace` seconds, give the rest
        back untried. What cannot be recorded even then, because the store is down, lapses and is done again."""
        self._closing = True
        self.wake()
        beats = asyncio.create_task(self._beat_on())
        try:
            async with self._turning:
                pass  # A claim under way has become attempts now.
            with suppress(TimeoutError):
                async with asyncio.timeout(grace) as self._grace:
                    await self.capacity.drained()
                    await self._recorded(None)
            self.give_up()
            for stuck in await self._recorded(RECORD_WITHIN):
                stuck.cancel()
            await self._recorded(None)
        finally:
            beats.cancel()

    def give_up(self) -> None:
        """Abort what is running, without waiting any longer; each request is given back untried."""
        for attempt in self.running.values():
            attempt.stop(Stop.CLOSING)
        if self._grace is not None and not self._grace.expired():
            with suppress(RuntimeError):  # The time is over already.
                self._grace.reschedule(asyncio.get_running_loop().time())

    async def _recorded(self, timeout: float | None) -> set[asyncio.Task[None]]:
        """Wait for the attempts to be over; those that are not, after `timeout` seconds."""
        if not self._tasks:
            return set()
        _, left = await asyncio.wait(self._tasks, timeout=timeout)
        return left

    # --- claiming

    async def _claim(self) -> None:
        if self._closing:
            return
        asked = list(self._ready)
        permits = self.capacity.reserve(asked)
        for queue in permits:
            # A hint that comes while we claim puts it back; and whoever had a turn goes to the end of the line.
            self._ready.pop(queue, None)
        free = {queue: len(taken) for queue, taken in permits.items()}
        try:
            claimed: list[Lease] = []
            if free or (self._due_at is not None and self._due_at <= self.clock()):
                self._cancelled.clear()
                claimed = await self.leases.claim(free, worker=self.worker, lease_for=self.lease_for)
            for lease in claimed:
                if lease.fence.request_id not in self._cancelled:
                    self._start(lease, permits[lease.queue].pop())
        except BaseException:
            self._ready.update(dict.fromkeys(free))
            raise
        finally:
            for queue, left in permits.items():
                if not left:
                    self._ready.setdefault(queue)  # It gave all it was asked for, so it may have more.
            for permit in (permit for left in permits.values() for permit in left):
                self.capacity.give_back_unused(permit)

    def _start(self, lease: Lease, permit: Permit) -> None:
        attempt = Attempt(
            lease,
            permit.member,
            leases=self.leases,
            live=self.live,
            catalogue=self.catalogue,
            lease_for=self.lease_for,
            policy=self.policy,
            clock=self.clock,
            jitter=self.jitter,
        )
        self.running[lease.fence] = attempt
        task = asyncio.create_task(self._perform(attempt, permit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, attempt: Attempt, permit: Permit) -> None:
        try:
            try:
                finish = await attempt.perform()
            finally:
                # The upstream's place is free as soon as it has answered; recording the outcome does not need it.
                self.capacity.give_back(permit)
            if finish is not None:
                await attempt.record(finish)
        except Exception as error:  # noqa: BLE001 - the lease lapses and the request is tried again; but say so
            self.crashed(error, attempt.fence.request_id)
        finally:
            del self.running[attempt.fence]

    def _stop_cancelled(self, request_id: str) -> None:
        if self._turning.locked():
            self._cancelled.add(request_id)
        for fence, attempt in self.running.items():
            if fence.request_id == request_id:
                attempt.stop(Stop.LOST)

    async def _look_if_due(self) -> None:
        now = self.clock()
        if now >= self._look_at:
            self._ready.update(dict.fromkeys(await self.leases.ready()))
            self._look_at = now + LOOK_EVERY

    # --- staying alive

    async def beat(self) -> None:
        """Extend every lease held here; stop the attempts whose lease is lost."""
        asked = list(self.running.values())
        held = await self.leases.extend([self._sign(attempt) for attempt in asked], lease_for=self.lease_for)
        for attempt in asked:
            if attempt.fence not in held:
                attempt.stop(Stop.LOST)

    async def _beat_if_due(self) -> None:
        """Before every claim: after a stall of ours (a full disk, a suspended machine) our own leases may look lapsed,
        and the claim would take them from attempts that are alive (G4)."""
        now = self.clock()
        if now >= self._beat_at:
            if self.running:
                await self.beat()
            self._beat_at = now + self.lease_for // 4

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self.lease_for / 4 / SECOND)
            try:
                await self.beat()
            except StoreUnavailable:
                continue

    def _sign(self, attempt: Attempt) -> Beat:
        notes = self.live.notes(attempt.fence.request_id)
        return Beat(attempt.fence, notes and notes.progress, notes and notes.progress_message)

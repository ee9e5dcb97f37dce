"""The dispatcher: free places in, leases out, one task per attempt, a heartbeat beside them."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from raincheck.core.clock import SECOND
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Beat, Claimed, Lease, Offer
from raincheck.core.status import Status
from raincheck.dispatch.attempt import Attempt, Means, Stop
from raincheck.dispatch.capacity import Capacity, Pair, Permit
from raincheck.dispatch.stow import makes_files
from raincheck.store.protocol import Change

LOOK_EVERY = 5 * SECOND
"""How often to look for ready queues without a hint; hints may be lost."""

DUE_EVERY = SECOND // 20
"""What is due already and was not taken is asked for no more often than this: another worker has it in hand, or our
clock is ahead of the store's."""

RECORD_WITHIN = 3.0
"""Seconds that outcomes get to be recorded when everything else has stopped."""

PUT_WITHIN = 2.0
"""How many of these seconds may go by with putting away what was made; what takes longer is made again elsewhere."""

TRY_STORE_EVERY = 1.0
"""Seconds between claims while the store is unavailable."""

TRY_BEAT_EVERY = 0.2
"""The same for heartbeats: after an outage they should come before another worker claims what seems to have lapsed.
Mostly they do. But a claim that was under way as the store froze goes on before any of them: what lapsed meanwhile is
then started again (the small print of G4)."""


@dataclass(slots=True, kw_only=True)
class Dispatcher:
    """Claims what there is a place for and performs it."""

    means: Means
    capacity: Capacity
    worker: str
    crashed: Callable[[Exception, str], None] = lambda _, __: None
    """Told of what nobody expected, with the request it happened to."""
    running: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    """By request, the attempt whose fence holds as far as is known."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _ready: dict[str, None] = field(default_factory=dict[str, None])
    """Queues that may have something to claim, in the order in which they get their turn."""
    _held: set[Pair] = field(default_factory=set[Pair])
    """What a limit held back when it was last offered. It is not offered again before a place comes free under some
    limit, or the time has come that the store named: every claim of it would lock the limit's row, for nothing."""
    _look_at: int = 0
    _due_at: int | None = 0
    """When something becomes ready or lapses by itself, as the store said after the last claim."""
    _beat_at: int = 0
    _closing: bool = False
    _freed: bool = False
    """Whether a place came free under some limit while a claim was under way."""
    _gone: set[str] = field(default_factory=set[str])
    """Requests that ended while a claim was under way, which may be among what it brings."""
    _grace: asyncio.Timeout | None = None
    _turning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Take a turn now: there is a free place, or an upstream is back."""
        self._woken.set()

    def on_change(self, change: Change) -> None:
        """A commit's hint, of this process or another: work to claim, room under a limit, or an end of what runs
        here."""
        if change.freed:
            self._freed = True
            self._held.clear()
        if change.ready:
            self._ready.update(dict.fromkeys(change.ready))
        if (change.ready or change.freed) and not self.capacity.full():
            self._woken.set()  # Otherwise the next free place does, or the end of the claim that has reserved them all.
        for request_id, status in change.moved:
            if status is Status.CANCELLED or (change.elsewhere and status.final):
                self._let_go(request_id)

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
                self._due_at = await self.means.leases.next_due()
        except StoreUnavailable:
            return TRY_STORE_EVERY
        now = self.means.clock()
        if self._due_at is not None:
            self._look_at = min(self._look_at, self._due_at if self._due_at > now else now + DUE_EVERY)
        return max(0, self._look_at - now) / SECOND

    async def keep_alive(self) -> None:
        """Keep extending the leases held here, whatever the turns wait for, until cancelled."""
        while True:
            try:
                await self._beat_if_due()
            except StoreUnavailable:
                await asyncio.sleep(TRY_BEAT_EVERY)
            else:
                await asyncio.sleep(max(0, self._beat_at - self.means.clock()) / SECOND)

    async def close(self, grace: float) -> None:
        """Claim nothing more, let running attempts and passed-through calls finish for `grace` seconds, give the rest
        back untried. What cannot be recorded even then, because the store is down, lapses and is done again."""
        self._closing = True
        self.wake()
        with suppress(TimeoutError):  # What a claim under way brings is given back; a store that is down brings none.
            async with asyncio.timeout(RECORD_WITHIN), self._turning:
                pass
        with suppress(TimeoutError):
            async with asyncio.timeout(grace) as self._grace:
                await self.capacity.drained()
                await self._recorded(None)
        self.give_up()
        await self._recorded(PUT_WITHIN)
        for attempt in self.running.values():
            attempt.cut_off()
        for stuck in await self._recorded(RECORD_WITHIN - PUT_WITHIN):
            stuck.cancel()
        await self._recorded(None)

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
        reserved = self.capacity.reserve(self._ready, but=self._held)
        offers = [Offer(queue, upstream, places) for (queue, upstream), places in reserved.items()]
        for offer in offers:
            self._ready.pop(offer.queue, None)  # A hint that comes while we claim puts it back.
        try:
            if offers or (self._due_at is not None and self._due_at <= self.means.clock()):
                self._gone.clear()
                self._freed = False
                claimed = await self.means.leases.claim(offers, worker=self.worker, lease_for=self.means.lease_for)
                self._line_up(offers, claimed)
                for lease in claimed.leases:
                    if lease.fence.request_id not in self._gone:
                        reserved[lease.queue, lease.upstream] -= 1
                        self._start(lease, self.capacity.permit(lease.upstream))
        except BaseException:
            self._ready.update(dict.fromkeys(offer.queue for offer in offers))
            raise
        finally:
            for (_, upstream), places in reserved.items():
                self.capacity.give_back_unused(upstream, places)
        if offers and self.capacity.spare(self._ready, but=self._held):
            self.wake()  # For a queue that could use more than its share, or was heard of while all was reserved.

    def _line_up(self, offers: Iterable[Offer], claimed: Claimed) -> None:
        """Put queues that have more at the end of the line: those that got nothing, then those that had a turn."""
        given = Counter((lease.queue, lease.upstream) for lease in claimed.leases)
        unfilled = [offer for offer in offers if given[offer.queue, offer.upstream] < offer.places]
        if not self._freed:  # Otherwise the limit may have let go after it was looked at.
            self._held.update(claimed.held_back)
        spent = {offer.queue for offer in unfilled if (offer.queue, offer.upstream) not in claimed.held_back}
        served = {queue for queue, _ in given}
        for queue in sorted(dict.fromkeys(offer.queue for offer in offers), key=served.__contains__):
            if queue not in spent:  # It gave all it was asked for, or would have, so it may have more.
                self._ready.pop(queue, None)
                self._ready[queue] = None

    def _start(self, lease: Lease, permit: Permit) -> None:
        request_id = lease.fence.request_id
        if (older := self.running.get(request_id)) is not None:
            # We were suspended for longer than a lease, and have taken back our own request.
            older.stop(Stop.LOST)
        attempt = self.running[request_id] = Attempt(lease, permit.member, self.means)
        if self._closing:
            attempt.stop(Stop.CLOSING)
        task = asyncio.create_task(self._perform(attempt, permit))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _perform(self, attempt: Attempt, permit: Permit) -> None:
        request_id = attempt.fence.request_id
        try:
            with ExitStack() as place:
                place.callback(self.capacity.give_back, permit)
                finish = await attempt.perform()
                if finish is None or not makes_files(finish):
                    # The place is free as soon as the upstream has answered: recording an outcome does not need it.
                    # But files that cannot be put away just now would pile up on the disk.
                    place.close()
                if finish is not None:
                    await attempt.record(finish)
        except Exception as error:  # noqa: BLE001 - the lease lapses and the request is tried again; but say so
            self.crashed(error, request_id)
        finally:
            if self.running.get(request_id) is attempt:
                del self.running[request_id]
            await attempt.clear_away()

    def _let_go(self, request_id: str) -> None:
        """The request has ended by another's doing."""
        if self._turning.locked():
            self._gone.add(request_id)
        if (attempt := self.running.get(request_id)) is not None:
            attempt.stop(Stop.LOST)

    async def _look_if_due(self) -> None:
        now = self.means.clock()
        if not 0 < self._look_at - now <= LOOK_EVERY:  # Farther away: the clock was set back.
            self._held.clear()
            self._ready.update(dict.fromkeys(await self.means.leases.ready()))
            self._look_at = now + LOOK_EVERY

    # --- staying alive

    async def beat(self) -> None:
        """Extend every lease held here; stop the attempts whose lease is lost."""
        asked = list(self.running.values())
        beats = [self._sign(attempt) for attempt in asked]
        held = await self.means.leases.extend(beats, lease_for=self.means.lease_for)
        for attempt in asked:
            if attempt.fence not in held:
                attempt.stop(Stop.LOST)

    async def _beat_if_due(self) -> None:
        """Before every claim too: after a stall of ours (a full disk, a suspended machine) our own leases may look
        lapsed, and the claim would take them from attempts that are alive (G4)."""
        now, every = self.means.clock(), self.means.lease_for // 4
        if not 0 < self._beat_at - now <= every:  # Farther away: the clock was set back.
            if self.running:
                await self.beat()
            self._beat_at = now + every

    def _sign(self, attempt: Attempt) -> Beat:
        notes = self.means.live.notes(attempt.fence.request_id)
        return Beat(attempt.fence, notes and notes.progress, notes and notes.progress_message)

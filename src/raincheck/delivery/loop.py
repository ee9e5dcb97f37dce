"""The postman: free hands in, leases out, one task per delivery, and what became of each noted."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import StoreUnavailable
from raincheck.core.webhooks import DeliveryLease, Sent, Strangers
from raincheck.delivery.send import not_sent
from raincheck.store.outbox import Deliveries
from raincheck.store.protocol import Change

AT_ONCE = 256
"""How many deliveries one process has in hand."""
STRANGERS = AT_ONCE // 2
"""How many of them may be for receivers that have not proven themselves, a quarter of these for one tenant: dead ones
hold what they get for as long as they may, and however many there are, the other half stays free."""
PATIENCE = 30 * SECOND
"""How much longer than an attempt a lease is: for the message to be written before it, and its outcome noted after."""
LOOK_EVERY = 5.0
"""Seconds between looks without a hint; hints may be lost."""
SOONEST = 0.05
"""Seconds until what is due but was not to be had is asked for again: another worker has it in hand, or our clock is
ahead of the store's."""
TRY_STORE_EVERY = 0.5
"""Seconds between tries while the store is unavailable."""
NOTE_WITHIN = 3.0
"""Seconds that outcomes get to be noted when everything else has stopped."""

T = TypeVar("T")
Carry = Callable[[DeliveryLease], Awaitable[Sent]]
"""Makes the one attempt that a lease is for."""


@dataclass(slots=True, kw_only=True)
class Postman:
    """Sends what is due. Any number of processes may do this side by side."""

    deliveries: Deliveries
    carry: Carry
    worker: str
    clock: Clock
    timeout: int
    """How long an attempt may take."""
    places: int
    """How many deliveries one receiver is given at once, over all workers."""
    disable_after: int
    crashed: Callable[[Exception, str], None] = lambda _, __: None
    """Told of what nobody expected, with the delivery it happened to."""
    _held: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    _sending: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])
    """Those of them that have not come to their outcome yet."""
    _hinted: bool = True
    """Whether something may be due that nobody has asked the store for."""
    _strangers: Strangers = field(default_factory=lambda: Strangers(STRANGERS, each=STRANGERS // 4))
    _closing: bool = False
    _turning: asyncio.Lock = field(default_factory=asyncio.Lock)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def on_change(self, change: Change) -> None:
        """A commit's hint, of this process or another."""
        if change.deliveries:
            self._hinted = True
            self._woken.set()

    async def run(self) -> None:
        """Take turns until closed."""
        while not self._closing:
            pause = await self.turn()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            self._woken.clear()

    async def turn(self) -> float:
        """Claim for every free hand and begin to send; returns for how long (seconds) nothing more is due."""
        try:
            async with self._turning:
                if not self._hinted and (pause := await self._until_due()) > 0:
                    return pause
                while self._hinted and not self._closing:
                    if len(self._held) >= AT_ONCE:
                        return LOOK_EVERY  # The next that is done wakes us.
                    await self._claim()
                return max(await self._until_due(), SOONEST)
        except StoreUnavailable:
            return TRY_STORE_EVERY

    async def close(self, grace: float) -> None:
        """Claim nothing more, and let what is being sent arrive for `grace` seconds. What is broken off then, or cannot
        be noted because the store is down, lapses and is sent again, under the same `webhook-id`."""
        self._closing = True
        self._woken.set()
        with suppress(TimeoutError):  # What a claim under way brings is sent.
            async with asyncio.timeout(NOTE_WITHIN), self._turning:
                pass
        if self._sending:
            await asyncio.wait(self._sending, timeout=grace)
        self.give_up()
        if self._held:
            await asyncio.wait(self._held, timeout=NOTE_WITHIN)
        for stuck in self._held:
            stuck.cancel()
        if self._held:
            await asyncio.wait(self._held)

    def give_up(self) -> None:
        """Break off what is being sent."""
        for task in self._sending:
            task.cancel()

    async def _until_due(self) -> float:
        """Seconds until there is something to claim, or to look again."""
        due, now = await self.deliveries.next_due(), self.clock()
        if due is None or due > now:
            return LOOK_EVERY if due is None else min((due - now) / SECOND, LOOK_EVERY)
        self._hinted = True
        return 0.0

    async def _claim(self) -> None:
        self._hinted = False  # A hint that comes while we claim sets it again.
        try:
            claimed = await self.deliveries.claim(
                worker=self.worker,
                lease_for=self.timeout + PATIENCE,
                limit=AT_ONCE - len(self._held),
                places=self.places,
                strangers=self._strangers,
            )
        except BaseException:
            self._hinted = True
            raise
        self._hinted = self._hinted or claimed.more
        until = self.clock() + self.timeout + PATIENCE
        for lease in claimed.leases:
            if lease.stranger:
                self._strangers.take(lease.delivery.tenant)
            task = asyncio.create_task(self._deliver(lease, until))
            self._held.add(task)
            self._sending.add(task)
            task.add_done_callback(partial(self._done, lease))

    def _done(self, lease: DeliveryLease, task: asyncio.Task[None]) -> None:
        if lease.stranger:
            self._strangers.give_back(lease.delivery.tenant)
        self._held.discard(task)
        self._sending.discard(task)
        if self._hinted:
            self._woken.set()

    async def _deliver(self, lease: DeliveryLease, until: int) -> None:
        """One attempt and the note of it, while the lease holds; without a note it lapses and is sent again."""
        try:
            sent = await self._endured(lambda: self._carried(lease), until - self.timeout)
            if (task := asyncio.current_task()) is not None:
                self._sending.discard(task)
            await self._endured(lambda: self._note(sent), until)
        except StoreUnavailable:
            pass
        except Exception as error:  # noqa: BLE001 - see above; but say so
            self.crashed(error, lease.delivery.id)

    async def _carried(self, lease: DeliveryLease) -> Sent:
        started_at = self.clock()
        try:
            return await self.carry(lease)
        except StoreUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours that comes every time must come to an end as well
            self.crashed(error, lease.delivery.id)
            return not_sent(
                lease,
                "delivery_error",
                "A fault in Raincheck's own code; nothing may have been sent.",
                started_at=started_at,
                now=self.clock(),
                stretch=random.random(),  # noqa: S311 - it scatters attempts, it guards nothing
            )

    async def _note(self, sent: Sent) -> None:
        await self.deliveries.finish([sent], places=self.places, disable_after=self.disable_after)

    async def _endured(self, call: Callable[[], Awaitable[T]], until: int) -> T:
        """Make the call as often as it takes, but not after `until`. Raises StoreUnavailable."""
        while True:
            try:
                return await call()
            except StoreUnavailable:
                if self.clock() >= until:
                    raise
                await asyncio.sleep(TRY_STORE_EVERY)

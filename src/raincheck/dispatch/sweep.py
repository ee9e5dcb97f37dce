"""Takes remote jobs whose requests have ended without them, and has their upstreams stop them (G5)."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from raincheck.core.clock import DAY, SECOND, Clock
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Remote, Stray
from raincheck.core.status import Status
from raincheck.store.protocol import Change, Strays
from raincheck.upstream.catalogue import Catalogue, Member

AT_ONCE = 64
"""How many jobs one upstream is asked to stop at once."""
LOOK_EVERY = 5.0
"""Seconds between looks without a hint; hints may be lost."""
BREATH = 0.05
"""Seconds between two looks however many hints come."""
ABANDON_WITHIN = 5.0
"""Seconds an upstream gets to say that it has stopped a job."""
LONGEST_DELAY = 600 * SECOND
GIVE_UP_AFTER = DAY

Number = tuple[int, Remote]
"""What tells one stray from another: the numbers alone are given out again."""


@dataclass(slots=True, kw_only=True)
class Sweeper:
    """Stops strays at every upstream that this process can call. Any number of processes may do this side by side:
    stopping a job twice is no error."""

    strays: Strays
    catalogue: Catalogue
    clock: Clock
    gave_up: Callable[[Stray, str], None] = lambda _, __: None
    """Told of a job that could not be stopped for a day, and why not the last time."""
    _hints: list[asyncio.Event] = field(default_factory=list[asyncio.Event])
    _under_way: defaultdict[str, set[Number]] = field(default_factory=lambda: defaultdict(set[Number]))
    """By upstream, the strays that are being stopped."""

    def on_change(self, change: Change) -> None:
        """A commit's hint, of this process or another: a stray, or an end that may have left one."""
        if change.strays or any(status.final and status is not Status.COMPLETED for _, status in change.moved):
            self.wake()

    def wake(self) -> None:
        """Look now."""
        for hint in self._hints:
            hint.set()

    async def run(self) -> None:
        """Keep sweeping, each upstream for itself: one that hangs holds up no other."""
        members = [member for member in self.catalogue.members if member.places]
        async with asyncio.TaskGroup() as group:
            for member in members:
                group.create_task(self._keep_sweeping(member))

    async def look(self, member: Member, tasks: asyncio.TaskGroup) -> None:
        """Begin to stop what is due at one upstream, each job in a task of its own: a server that takes its time over
        one holds up no other."""
        under_way = self._under_way[member.name]
        for stray in await self.strays.due([member.name], limit=AT_ONCE):
            which = (stray.id, stray.remote)
            if which not in under_way and len(under_way) < AT_ONCE:
                under_way.add(which)
                task = tasks.create_task(self._sweep(member, stray))
                task.add_done_callback(lambda _, done=which: under_way.discard(done))

    async def _keep_sweeping(self, member: Member) -> None:
        hint = asyncio.Event()
        self._hints.append(hint)
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    hint.clear()
                    with suppress(StoreUnavailable):
                        await self.look(member, tasks)
                    await _either(hint, LOOK_EVERY)
                    await asyncio.sleep(BREATH)
        finally:
            self._hints.remove(hint)

    async def _sweep(self, member: Member, stray: Stray) -> None:
        with suppress(StoreUnavailable):  # Then it is tried once more, which is no error.
            if await self._stop(member, stray):
                await self.strays.swept([stray])
            else:
                delay = min(SECOND << min(stray.tries, 20), LONGEST_DELAY)
                await self.strays.put_off([stray], delay=delay)
        if len(self._under_way[member.name]) == AT_ONCE:
            self.wake()  # There may be more that waited for this one's place.

    async def _stop(self, member: Member, stray: Stray) -> bool:
        """Whether the upstream has stopped it, or never will because it is given up."""
        try:
            async with asyncio.timeout(ABANDON_WITHIN):
                await member.upstream.abandon(stray.remote.id)
        except Exception as error:  # noqa: BLE001 - whatever it was, the job may still be running
            if self.clock() - stray.since < GIVE_UP_AFTER:
                return False
            self.gave_up(stray, f"{type(error).__name__}: {error}")
        return True


async def _either(hint: asyncio.Event, seconds: float) -> None:
    """Wait for the hint, or for so long."""
    try:
        async with asyncio.timeout(seconds):
            await hint.wait()
    except TimeoutError:
        pass

"""Places at the upstreams: a place is taken before a claim, never after."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from raincheck.upstream.catalogue import Catalogue, Member

Pair = tuple[str, str]
"""A queue and the name of an upstream that serves it."""


@dataclass(frozen=True, slots=True, eq=False)
class Permit:
    """One place at one upstream. Give it back with `Capacity.give_back`, once."""

    member: Member


class Capacity:
    """Counts what this process uses of each upstream. Calls that a client waits for go before deferred ones."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._members = {member.name: member for member in catalogue.members}
        self._used: Counter[str] = Counter()
        self._callers: deque[tuple[str, asyncio.Future[Permit]]] = deque()
        self.on_free: Callable[[], None] = lambda: None
        """Called when a place became free."""
        self._drained = asyncio.Event()

    def reserve(self, queues: Iterable[str], *, but: Collection[Pair] = ()) -> Counter[Pair]:
        """Take every free place for these queues, one for each in turn, so that none of them has all.

        What is reserved is a number of places per queue and upstream, in the order of the queues. `but`: pairs that get
        none.
        """
        reserved: Counter[Pair] = Counter()
        hungry = deque((queue, self._serving(queue, but)) for queue in queues)
        while hungry:
            queue, members = hungry.popleft()
            if (member := self._least_used(members)) is not None:
                # With nobody else in line and nowhere else to go it has all at once; there may be hundreds.
                alone = not hungry and len(members) == 1
                places = member.places - self._used[member.name] if alone else 1
                self._used[member.name] += places
                reserved[queue, member.name] += places
                hungry.append((queue, members))
        return reserved

    def spare(self, queues: Iterable[str], *, but: Collection[Pair] = ()) -> bool:
        """Whether `reserve` would find a place for any of these queues."""
        return any(self._least_used(self._serving(queue, but)) is not None for queue in queues)

    def full(self) -> bool:
        """Whether every place everywhere is taken."""
        return all(self._used[member.name] >= member.places for member in self._catalogue.members)

    def take(self, model: str) -> Permit | None:
        """A place at the least used upstream that serves the model and is up, or None."""
        if (member := self._least_used(self._catalogue.serving(model))) is None:
            return None
        self._used[member.name] += 1
        return Permit(member)

    def permit(self, upstream: str) -> Permit:
        """One of the places that were reserved at an upstream."""
        return Permit(self._members[upstream])

    async def wait(self, model: str, timeout: float) -> Permit:
        """A place, waiting up to `timeout` seconds for one. Raises TimeoutError."""
        if (permit := self.take(model)) is not None:
            return permit
        place: asyncio.Future[Permit] = asyncio.get_running_loop().create_future()
        caller = (model, place)
        self._callers.append(caller)
        try:
            async with asyncio.timeout(timeout):
                return await place
        except BaseException:
            if place.done() and not place.cancelled():
                self.give_back(place.result())
            raise
        finally:
            if caller in self._callers:
                self._callers.remove(caller)

    def give_back(self, permit: Permit) -> None:
        """The place is free again: for whoever waits, and then for deferred work."""
        self.give_back_unused(permit.member.name, 1)
        self.on_free()

    def give_back_unused(self, upstream: str, places: int) -> None:
        """Places that were reserved and found nothing to do, which is no news to who reserved them."""
        self._used[upstream] -= places
        self._serve_callers()
        if not any(self._used.values()):
            self._drained.set()

    def open_up(self) -> None:
        """An upstream is back: its places are for whoever waits, and then for deferred work."""
        self._serve_callers()
        self.on_free()

    async def drained(self) -> None:
        """Return when every place is free."""
        self._drained.clear()
        if any(self._used.values()):
            await self._drained.wait()

    def in_use(self) -> dict[str, int]:
        """How many places are taken, per upstream."""
        return {member.name: self._used[member.name] for member in self._catalogue.members}

    def _serving(self, queue: str, but: Collection[Pair]) -> list[Member]:
        return [member for member in self._catalogue.serving(queue) if (queue, member.name) not in but]

    def _least_used(self, members: Iterable[Member]) -> Member | None:
        """The one of these that is up and has the largest part of its places free, None when none has any."""
        best, lowest = None, 1.0
        for member in members:
            if member.down_since is None and member.places:
                part = self._used[member.name] / member.places
                if part < lowest:
                    best, lowest = member, part
        return best

    def _serve_callers(self) -> None:
        for caller in list(self._callers):
            model, place = caller
            if not place.done() and (permit := self.take(model)) is not None:
                place.set_result(permit)
                self._callers.remove(caller)

"""Places at the upstreams: a permit is taken before a claim, never after."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from raincheck.upstream.catalogue import Catalogue, Member


@dataclass(frozen=True, slots=True, eq=False)
class Permit:
    """One place at one upstream. Give it back with `Capacity.give_back`, once."""

    member: Member


class Capacity:
    """Counts what is in use at each upstream. Calls that a client waits for go before deferred ones."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._used: Counter[str] = Counter()
        self._callers: deque[tuple[str, asyncio.Future[Permit]]] = deque()
        self.on_free: Callable[[], None] = lambda: None
        """Called when a place became free."""
        self._drained = asyncio.Event()

    def reserve(self, queues: Iterable[str]) -> dict[str, list[Permit]]:
        """Take every free place for these queues, one for each in turn, so that none of them has all."""
        permits: dict[str, list[Permit]] = {}
        hungry = deque(queues)
        while hungry:
            queue = hungry.popleft()
            if (permit := self.take(queue)) is not None:
                permits.setdefault(queue, []).append(permit)
                hungry.append(queue)
        return permits

    def full(self) -> bool:
        """Whether every place everywhere is taken."""
        return all(self._used[member.name] >= member.max_concurrency for member in self._catalogue.members)

    def take(self, model: str) -> Permit | None:
        """A place at the least used upstream that serves the model and is up, or None."""
        open_ = [
            member
            for member in self._catalogue.serving(model)
            if member.down_since is None and self._used[member.name] < member.max_concurrency
        ]
        if not open_:
            return None
        member = min(open_, key=lambda member: self._used[member.name] / member.max_concurrency)
        self._used[member.name] += 1
        return Permit(member)

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
        self.give_back_unused(permit)
        self.on_free()

    def give_back_unused(self, permit: Permit) -> None:
        """A place that was reserved and found nothing to do, which is no news to who reserved it."""
        self._used[permit.member.name] -= 1
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

    def _serve_callers(self) -> None:
        for caller in list(self._callers):
            model, place = caller
            if not place.done() and (permit := self.take(model)) is not None:
                place.set_result(permit)
                self._callers.remove(caller)

    def in_use(self) -> dict[str, int]:
        """How many places are taken, per upstream."""
        return {member.name: self._used[member.name] for member in self._catalogue.members}

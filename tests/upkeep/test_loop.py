"""The caretaker's rounds on a real store."""

from pathlib import Path

from raincheck.core.clock import DAY, SECOND, now
from raincheck.core.errors import StoreUnavailable
from raincheck.core.status import Status
from raincheck.store.protocol import Upkeep
from raincheck.upkeep.loop import BITE, PAUSE, Caretaker
from tests.dispatch.engine import an_engine


async def test_a_round_expires_what_is_overdue_and_rests(tmp_path: Path) -> None:
    skipped = 0
    async with an_engine(tmp_path, [], started=False, clock=lambda: now() + skipped) as engine:
        id_ = await engine.submit(deadline=now() + SECOND)
        caretaker = Caretaker(engine.store.upkeep)
        assert await caretaker.turn() == PAUSE
        assert (await engine.store.requests.get("t", id_)).status is Status.PENDING
        skipped = 2 * SECOND
        assert await caretaker.turn() == PAUSE
        assert (await engine.store.requests.get("t", id_)).status is Status.EXPIRED


async def test_a_full_bite_is_followed_by_another_soon(tmp_path: Path) -> None:
    skipped = 0
    async with an_engine(tmp_path, [], started=False, clock=lambda: now() + skipped) as engine:
        for _ in range(BITE + 1):
            await engine.submit(deadline=now() + 60 * SECOND)
        skipped = DAY
        caretaker = Caretaker(engine.store.upkeep)
        assert await caretaker.turn() < PAUSE
        assert await caretaker.turn() == PAUSE


async def test_a_store_that_is_down_is_left_alone_for_a_while(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [], started=False) as engine:
        assert await Caretaker(Broken(engine.store.upkeep)).turn() > PAUSE


class Broken:
    """Upkeep on a store that cannot be written."""

    def __init__(self, inner: Upkeep) -> None:
        self.purge, self.tidy, self.check = inner.purge, inner.tidy, inner.check
        self.gauges, self.events = inner.gauges, inner.events

    async def expire(self, *, limit: int) -> int:
        raise StoreUnavailable


async def test_queues_that_nobody_has_used_for_long_are_forgotten(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [], started=False) as engine:
        await engine.store.requests.cancel("t", await engine.submit())
        await Caretaker(engine.store.upkeep).tidy()
        assert await engine.store.registry.queues() == []

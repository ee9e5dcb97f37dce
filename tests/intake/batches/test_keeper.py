"""The loop that sees to batches: leases kept and given back, outages endured, and no batch in the others' way."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.batches import LONG_INPUT, Batch, BatchStatus
from raincheck.core.clock import SECOND
from raincheck.core.errors import StoreUnavailable
from raincheck.intake.batches import keeper as keeping
from raincheck.intake.batches.feed import LINES
from raincheck.intake.batches.keeper import (
    AFTER_OUTAGE,
    AT_ONCE,
    FIRST_DELAY,
    LEASE,
    LONG_AT_ONCE,
    LONGEST_DELAY,
    LONGEST_OUTAGE,
)
from raincheck.store import postgres
from raincheck.store.protocol import Change, Store
from tests.intake.batches.house import House, a_house
from tests.intake.batches.inputs import a_line, some_lines
from tests.store.builders import FakeClock, heard
from tests.store.postgres.databases import databases


async def until(house: House, batch: Batch, status: BatchStatus) -> Batch:
    """The batch, once it stands there; the store's hints say when to look."""
    moved = asyncio.Event()
    with heard(house.store, lambda change: moved.set() if batch.id in change.batches else None):
        async with asyncio.timeout(10):
            while (now := await house.get(batch)).status is not status:
                await moved.wait()
                moved.clear()
    return now


async def time_passes(*clocks: FakeClock) -> None:
    """Ten times as fast as it does."""
    while True:
        await asyncio.sleep(0.01)
        for clock in clocks:
            clock.advance(seconds=0.1)


async def all_done(house: House) -> None:
    """Wait for the steps that are under way."""
    while tasks := list(house.keeper._held):  # pyright: ignore[reportPrivateUsage]
        await asyncio.wait(tasks)


class Gate:
    """Holds up a call of the store's until it is opened."""

    def __init__(self, name: str, *, error: Exception | None = None) -> None:
        self.name = name
        self.error = error
        self.calls = 0
        self.open = asyncio.Event()
        self.waiting = asyncio.Event()

    def put_before(self, store: Store) -> Store:
        return replace(store, batches=_Gated(store.batches, self))


@dataclass
class _Gated:
    inner: Any
    gate: Gate

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        call = getattr(self.inner, name)
        return self._held_up(call) if name == self.gate.name else call

    def _held_up(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def gated(*args: Any, **kwargs: Any) -> Any:
            self.gate.calls += 1
            self.gate.waiting.set()
            if not self.gate.open.is_set() and self.gate.error is not None:
                raise self.gate.error
            await self.gate.open.wait()
            return await call(*args, **kwargs)

        return gated


async def test_a_batch_goes_from_its_file_to_its_files(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        stop = house.store.changes.listen(house.keeper.on_change)
        loop = asyncio.create_task(house.keeper.run())
        batch = await house.batch(some_lines(300))
        await until(house, batch, BatchStatus.IN_PROGRESS)
        done = 0
        async with asyncio.timeout(10):
            while done < 300:
                done += await house.answer()
                await asyncio.sleep(0)
        ended = await until(house, batch, BatchStatus.COMPLETED)
        output, errors = await house.files(batch)
        await house.keeper.close()
        await loop
        stop()
    assert (ended.counts.total, ended.counts.completed) == (300, 300)
    assert (len(output), errors) == (300, [])


@pytest.mark.slow("starts a PostgreSQL")
async def test_keepers_in_several_processes_share_the_work(tmp_path: Path) -> None:
    """G2: every line comes out once, whoever fed it, and whoever wrote the files."""
    url, lines = await databases().lend(), 2 * LINES + 1

    def opening(_: Path, clock: FakeClock) -> AbstractAsyncContextManager[Store]:
        return postgres.open_store(url, clock=clock.now)

    async with a_house(tmp_path, opening=opening) as one, a_house(tmp_path, opening=opening) as two:
        passing = asyncio.create_task(time_passes(one.clock, two.clock))
        loops = list[asyncio.Task[None]]()
        for house in (one, two):
            house.store.changes.listen(house.keeper.on_change)
            loops.append(asyncio.create_task(house.keeper.run()))
        batches = [await one.batch(some_lines(lines)) for _ in range(4)]
        done = 0
        async with asyncio.timeout(30):
            while done < lines * len(batches):
                done += await one.answer(300) + await two.answer(300)
                await asyncio.sleep(0.01)
        for batch in batches:
            await until(one, batch, BatchStatus.COMPLETED)
            output, errors = await two.files(batch)
            assert [line["custom_id"] for line in output] == [f"request-{number}" for number in range(1, lines + 1)]
            assert errors == []
        await asyncio.gather(one.keeper.close(), two.keeper.close(), *loops)
        passing.cancel()
    databases().give_back(url)
    assert one.troubles == two.troubles == []


async def test_bad_lines_end_it_at_once(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await house.batch(a_line("a") + b"\n{\n")
        await house.keeper.turn()
        await all_done(house)
        now = await house.get(batch)
    assert now.status is BatchStatus.FAILED
    assert [error.line for error in now.errors] == [2]
    assert house.troubles == []


async def test_a_turn_says_when_the_next_batch_is_due(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        assert await house.keeper.turn() == keeping.LOOK_EVERY
        await house.batch(some_lines(1))
        lease = await house.lease()
        await house.store.batches.release(
            lease.fence, due_at=house.clock.now() + 2 * SECOND, total=lease.batch.counts.total
        )
        assert await house.keeper.turn() == pytest.approx(2)


async def test_a_step_that_goes_wrong_is_tried_again_ever_more_rarely(tmp_path: Path) -> None:
    async with a_house(tmp_path, change=Gate("accept", error=KeyError("a bug")).put_before) as house:
        await house.batch(some_lines(1))
        delays = list[int]()
        for _ in range(8):
            await house.keeper.turn()
            await all_done(house)
            due_at = await house.store.batches.next_due()
            assert due_at is not None
            delays.append(due_at - house.clock.now())
            house.clock.advance_to(due_at)
    assert delays == [min(FIRST_DELAY << number, LONGEST_DELAY) for number in range(8)]
    assert [type(error) for error in house.troubles] == [KeyError] * 8


async def test_what_a_step_cannot_reach_is_told_and_tried_again_ever_more_rarely(tmp_path: Path) -> None:
    gate = Gate("accept", error=StoreUnavailable())
    async with a_house(tmp_path, change=gate.put_before) as house:
        batch = await house.batch(some_lines(1))
        delays = list[int]()
        for _ in range(7):
            await house.keeper.turn()
            await all_done(house)
            due_at = await house.store.batches.next_due() or 0
            delays.append(due_at - house.clock.now())
            house.clock.advance_to(due_at)
        assert delays == [min(AFTER_OUTAGE << number, LONGEST_OUTAGE) for number in range(7)]
        assert [type(error) for error in house.troubles] == [StoreUnavailable] * 7
        gate.open.set()
        await house.keeper.turn()
        await all_done(house)
        assert (await house.get(batch)).status is BatchStatus.IN_PROGRESS


async def test_an_outage_of_the_store_is_waited_out(tmp_path: Path) -> None:
    gate = Gate("next_due", error=StoreUnavailable())
    async with a_house(tmp_path, change=gate.put_before) as house:
        assert await house.keeper.turn() == pytest.approx(2)


async def test_a_lease_that_was_lost_ends_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G2: what another goes on with is left alone, and nobody is troubled."""
    monkeypatch.setattr(keeping, "BEAT_EVERY", 0.01)
    gate = Gate("accept")
    async with a_house(tmp_path, change=gate.put_before) as house:
        batch = await house.batch(some_lines(1))
        house.keeper._misses[batch.id] = 1  # pyright: ignore[reportPrivateUsage]
        await house.keeper.turn()
        await gate.waiting.wait()
        house.clock.advance(seconds=LEASE / SECOND + 1)
        # The next beat may come before or after: only one of the two goes on.
        while (taken := await house.store.batches.claim(worker="other", lease_for=LEASE)) is None:
            house.clock.advance(seconds=LEASE / SECOND + 1)
        await all_done(house)
        assert (await house.get(batch)).status is BatchStatus.VALIDATING
        assert house.troubles == []
        assert house.keeper._misses == {}  # pyright: ignore[reportPrivateUsage]
        await house.store.batches.extend(taken.fence, lease_for=LEASE)


async def test_a_long_step_keeps_its_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BEAT_EVERY", 0.01)
    gate = Gate("accept")
    async with a_house(tmp_path, change=gate.put_before) as house:
        await house.batch(some_lines(1))
        await house.keeper.turn()
        await gate.waiting.wait()
        house.clock.advance(seconds=20)
        async with asyncio.timeout(5):
            while (await house.store.batches.next_due() or 0) < house.clock.now() + LEASE:
                await asyncio.sleep(0.01)
        house.clock.advance(seconds=20)
        assert await house.store.batches.claim(worker="other", lease_for=LEASE) is None
        gate.open.set()


async def test_closing_gives_everything_back(tmp_path: Path) -> None:
    gate = Gate("accept")
    async with a_house(tmp_path, change=gate.put_before) as house:
        batch = await house.batch(some_lines(1))
        await house.keeper.turn()
        await gate.waiting.wait()
        await house.keeper.close()
        lease = await house.lease()
        assert lease.batch.id == batch.id
        await house.keeper.turn()
        await house.keeper.run()  # It is over at once.


async def test_long_files_that_are_read_hold_up_no_other_batch(tmp_path: Path) -> None:
    """Nor are those claimed, again and again, for which there is no place."""
    gate, long = Gate("accept"), a_line("a") + (b"\n" + b" " * 999) * (LONG_INPUT // 1_000 + 1)
    async with a_house(tmp_path, change=gate.put_before) as house:
        for _ in range(AT_ONCE):
            await house.batch(long)
        house.clock.advance(seconds=1)
        others = [await house.open_batch([a_line("a")]), await house.batch(some_lines(1))]
        await house.keeper.turn()
        async with asyncio.timeout(5):
            while (await house.get(others[0])).counts.fed == 0 or gate.calls < LONG_AT_ONCE + 1:
                await asyncio.sleep(0.01)
        assert await house.keeper.turn() == keeping.LOOK_EVERY
        assert len(house.keeper._held) == gate.calls == LONG_AT_ONCE + 1  # pyright: ignore[reportPrivateUsage]
        gate.open.set()
        await all_done(house)
        assert (await house.get(others[1])).status is BatchStatus.IN_PROGRESS


async def test_no_more_are_taken_in_hand_than_there_are_places(tmp_path: Path) -> None:
    gate = Gate("feed")
    async with a_house(tmp_path, change=gate.put_before) as house:
        for _ in range(AT_ONCE + 3):
            await house.open_batch([a_line("a")])
        await house.keeper.turn()
        async with asyncio.timeout(5):
            while gate.calls < AT_ONCE:
                await asyncio.sleep(0.01)
        assert len(house.keeper._held) == AT_ONCE  # pyright: ignore[reportPrivateUsage]
        gate.open.set()
        await all_done(house)
        await house.keeper.turn()
        await all_done(house)
        assert gate.calls == AT_ONCE + 3


def test_only_hints_on_batches_wake_it() -> None:
    woken = list[str]()

    class Woken(keeping.Keeper):
        def wake(self) -> None:
            woken.append("woken")

    keeper = Woken(batches=None, steps=None, worker="k", clock=lambda: 0)  # pyright: ignore[reportArgumentType]
    keeper.on_change(Change(frozenset({"small"}), ()))
    assert woken == []
    keeper.on_change(Change(frozenset(), (), batches=frozenset({"batch_1"})))
    assert woken == ["woken"]

"""What each operation of the store costs with very many rows in it, ready or waiting for a time, against few."""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TypeVar

from bench.calls import MODEL
from bench.filling import Filled, open_store
from bench.setting import Kind, Setting, a_request
from bench.stats import Row, Samples, ratio
from raincheck.core.clock import HOUR
from raincheck.core.model import Finish, Offer
from raincheck.core.outcome import Reply, Succeeded
from raincheck.store.protocol import Store

FEW = 10_000
TURNS = 60
"""Operations of each kind per round; the round's median counts."""
OPERATIONS = ("claim", "submit", "get", "cancel", "finish")
DONE = Succeeded(Reply(b'{"choices": [{"message": {"content": "Rain."}}]}'))

T = TypeVar("T")


@dataclass(slots=True)
class Subject:
    """One store under measurement, and what its operations took: medians of rounds, and the round that runs."""

    store: Store
    ids: list[str]
    rounds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in OPERATIONS})
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in OPERATIONS})

    async def turn(self) -> None:
        """One operation of each kind. Reads and cancels go to rows anywhere in the store, claims to its front."""
        await self._time("submit", lambda: self.store.requests.submit([a_request()]))
        for _ in range(3):
            await self._time("get", lambda: self.store.requests.get("default", self.ids[-1]))
            self.ids.insert(0, self.ids.pop())
        await self._time("cancel", lambda: self.store.requests.cancel("default", self.ids.pop()))
        claim = self.store.leases.claim
        offers = [Offer(MODEL, "up", 1)]
        [lease], _ = await self._time("claim", lambda: claim(offers, worker="bench", lease_for=HOUR))
        await self._time("finish", lambda: self.store.leases.finish([Finish(lease.fence, DONE)]))

    async def _time(self, name: str, operation: Callable[[], Awaitable[T]]) -> T:
        began = perf_counter()
        result = await operation()
        self.times[name].append((perf_counter() - began) * 1_000_000)
        return result

    def end_round(self, *, counts: bool) -> None:
        for name, times in self.times.items():
            if counts:
                self.rounds[name].append(median(times))
            times.clear()


def sqlite(setting: Setting) -> list[Row]:
    return asyncio.run(_run(setting, "sqlite"))


def postgres(setting: Setting) -> list[Row]:
    return asyncio.run(_run(setting, "postgres"))


async def _run(setting: Setting, kind: Kind) -> list[Row]:
    """The stores take turns operation by operation, so that the disk's moods meet all of them."""
    few, ready, waiting = await asyncio.to_thread(_fill, setting, kind)
    async with AsyncExitStack() as stack:
        subjects = [await stack.enter_async_context(_subject(each)) for each in (few, ready, waiting)]
        for round_ in range(setting.options.rounds + 1):
            for _ in range(TURNS):
                for subject in subjects:
                    await subject.turn()
            for subject in subjects:
                subject.end_round(counts=round_ > 0)
    many = f"{setting.options.many // 1_000:,} k"
    named = zip((f"{kind}, {many} pending", f"{kind}, {many} scheduled"), subjects[1:], strict=True)
    return [_row(name, state, subjects[0], subject) for state, subject in named for name in OPERATIONS]


def _fill(setting: Setting, kind: Kind) -> tuple[Filled, Filled, Filled]:
    many = setting.options.many
    return (
        setting.filled(kind, "few", ready=FEW),
        setting.backlog() if kind == "sqlite" else setting.filled(kind, "backlog", ready=many),
        setting.filled(kind, "scheduled", ready=FEW, waiting=many),
    )


@asynccontextmanager
async def _subject(filled: Filled) -> AsyncGenerator[Subject]:
    ids = random.Random(1).sample(filled.ids, len(filled.ids))
    async with open_store(filled.url) as store:
        yield Subject(store, ids)


def _row(name: str, state: str, few: Subject, many: Subject) -> Row:
    baseline, ours = _samples(few.rounds[name]), _samples(many.rounds[name])
    return Row(
        what=f"{name}, {state}",
        unit="µs",
        against=f"{FEW // 1_000} k pending",
        baseline=baseline,
        ours=ours,
        value=ratio(ours, baseline),
        better="less",
        floor=1.3,
        goal=1.2,
    )


def _samples(values: Sequence[float]) -> Samples:
    return Samples(tuple(values))

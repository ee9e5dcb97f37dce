"""What every measurement is handed: the options, a folder on disk, and stores that are costly to fill."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bench.calls import CHAT, MODEL
from bench.options import Options
from raincheck.core.clock import now
from raincheck.core.ids import new_id
from raincheck.core.model import NewRequest
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store

BATCH = 1_000
SAMPLED = 2_000
FRONT = 1_000
"""Rows that claims will get to while something is measured."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A store with pending requests, and the ids of some of them, spread evenly but for the front."""

    path: Path
    ids: list[str]


@dataclass(slots=True)
class Setting:
    """One run of the bench."""

    options: Options
    folder: Path
    _backlog: Filled | None = None

    def backlog(self) -> Filled:
        """The store with very many pending requests; filled once, for all who ask."""
        if self._backlog is None:
            self._backlog = self.filled("backlog", ready=self.options.many)
        return self._backlog

    def filled(self, name: str, *, ready: int, waiting: int = 0, not_before: int | None = None) -> Filled:
        """A new store with this many requests that are ready, and that wait for a time."""
        path = self.folder / f"{name}.db"

        async def fill() -> list[str]:
            async with open_store(path, clock=now) as store:
                return await add(store, waiting, not_before=not_before) + await add(store, ready)

        return Filled(path, asyncio.run(fill()))


async def add(store: Store, count: int, *, not_before: int | None = None) -> list[str]:
    """Submit `count` requests; the ids of some of those behind the front."""
    ids: list[str] = []
    for start in range(0, count, BATCH):
        batch = [a_request(not_before=not_before) for _ in range(min(BATCH, count - start))]
        await store.requests.submit(batch)
        if start >= FRONT:
            ids += [new.id for new in batch[:: max(1, count // SAMPLED)]]
    return ids


def a_request(*, not_before: int | None = None) -> NewRequest:
    """A small chat request of the only model there is."""
    return NewRequest(
        id=new_id("req"),
        tenant="default",
        queue=MODEL,
        operation="chat.completion",
        path="/chat/completions",
        model=MODEL,
        payload=CHAT,
        created_at=now(),
        not_before=not_before,
    )

"""Takes names whose time has come, deletes their bodies from the object store, and then forgets the names."""

import asyncio
from dataclasses import dataclass

from raincheck.core.errors import StoreUnavailable
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Blobs

BITE = 200
PAUSE = 5.0
"""Seconds between rounds when nothing is left to collect."""
AFTER_OUTAGE = 30.0


@dataclass(frozen=True, slots=True)
class Collector:
    """Empties the object store of what belongs to nobody. A loop of its own: while the object store is away, deadlines
    and retention go on. Any number of processes may do this side by side."""

    names: Blobs
    objects: BlobStore

    async def run(self) -> None:
        while True:
            rest = await self.turn()
            await asyncio.sleep(rest)

    async def turn(self) -> float:
        """One bite; returns how long (seconds) to rest before the next."""
        try:
            names = await self.names.doomed(limit=BITE)
            if names:
                await self.objects.delete(names)
                # Last, so that a crash in between leaves the names to whoever looks next.
                await self.names.gone(names)
        except StoreUnavailable:
            return AFTER_OUTAGE
        return 0.05 if len(names) == BITE else PAUSE

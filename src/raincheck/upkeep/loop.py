"""Ends what is overdue and forgets what was kept long enough, in small bites between which others get their turn."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from raincheck.core.errors import StoreUnavailable
from raincheck.store.protocol import Upkeep

BITE = 200
TIDY_EVERY = 600.0
PAUSE = 1.0
"""Seconds between rounds when nothing is left to do: a deadline is noticed this late at most."""


@dataclass(frozen=True, slots=True)
class Caretaker:
    """Keeps the record in order."""

    upkeep: Upkeep

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        tidy_at = 0.0
        while True:
            rest = await self.turn()
            if loop.time() >= tidy_at:
                await self.tidy()
                tidy_at = loop.time() + TIDY_EVERY
            await asyncio.sleep(rest)

    async def turn(self) -> float:
        """One bite of each chore; returns how long (seconds) to rest before the next."""
        try:
            expired = await self.upkeep.expire(limit=BITE)
            purged = await self.upkeep.purge(limit=BITE)
        except StoreUnavailable:
            return 5 * PAUSE
        return 0.05 if BITE in {expired, purged} else PAUSE

    async def tidy(self) -> None:
        """Forget queues that nobody has used for long."""
        with suppress(StoreUnavailable):
            await self.upkeep.tidy(limit=1_000)

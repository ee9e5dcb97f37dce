"""Ends what is overdue and forgets what was kept long enough, in small bites between which others get their turn."""

import asyncio
from dataclasses import dataclass

from raincheck.core.errors import StoreUnavailable
from raincheck.store.protocol import Upkeep

BITE = 200
PAUSE = 1.0
"""Seconds between rounds when nothing is left to do: a deadline is noticed this late at most."""


@dataclass(frozen=True, slots=True)
class Caretaker:
    """Keeps the record in order."""

    upkeep: Upkeep

    async def run(self) -> None:
        while True:
            rest = await self.turn()
            await asyncio.sleep(rest)

    async def turn(self) -> float:
        """One bite of each chore; returns how long (seconds) to rest before the next."""
        try:
            expired = await self.upkeep.expire(limit=BITE)
            purged = await self.upkeep.purge(limit=BITE)
        except StoreUnavailable:
            return 5 * PAUSE
        return 0.05 if BITE in {expired, purged} else PAUSE

"""Takes the lines of one file as they are made, puts them into the object store as they come."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field

from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import StoreUnavailable
from raincheck.store.blobs import BlobStore
from raincheck.store.keeping import Measures, keep
from raincheck.store.protocol import Blobs

PIECES = 2
"""How many pages may wait for the object store."""
KEEP_FOR = 7 * DAY
"""Microseconds after which a file that no batch refers to is collected: longer than any writing takes."""
SETTLED_AFTER = 10 * SECOND
"""The same for one whose writing was cut off: its last bytes may still be on their way."""
CONTENT_TYPE = "application/jsonl"


@dataclass(slots=True)
class Sheet:
    """A file that is being written; it is begun by its first line."""

    blobs: Blobs
    objects: BlobStore
    blob: str
    measures: Measures | None = None
    """Once it is finished; None while there is no line in it."""
    begun: bool = False
    _pieces: asyncio.Queue[bytes | None] = field(default_factory=lambda: asyncio.Queue[bytes | None](PIECES))
    _kept: "asyncio.Task[Measures] | None" = None

    async def write(self, piece: bytes, tasks: asyncio.TaskGroup) -> None:
        """Hand a piece on; waits while the object store is behind. A failure there cancels the task group's owner."""
        if not piece:
            return
        if self._kept is None:
            await self.blobs.expect(self.blob, keep_for=KEEP_FOR)
            self.begun = True
            self._kept = tasks.create_task(keep(self.objects, self.blob, self._body(), content_type=CONTENT_TYPE))
        await self._pieces.put(piece)

    async def finish(self) -> None:
        if self._kept is not None:
            await self._pieces.put(None)
            self.measures = await self._kept

    async def _body(self) -> AsyncGenerator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


async def drop(blobs: Blobs, *sheets: Sheet) -> None:
    """Let go of files that were cut off."""
    with suppress(StoreUnavailable):  # They will be found when their time is over.
        for sheet in sheets:
            if sheet.begun:
                await blobs.expect(sheet.blob, keep_for=SETTLED_AFTER)

"""Takes a batch and a cursor, hands on the lines from there on, part by part."""

import msgspec

from raincheck.core.batches import Batch, Cursor, Part
from raincheck.intake.batches.line import made_up_name
from raincheck.intake.batches.lines import Line, Reading
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Batches

PARTS = 4
"""How many parts are asked for at once: those that stand in the record come with all their lines."""


class Supply:
    """The lines of a batch from a cursor on."""

    def __init__(
        self, batch: Batch, cursor: Cursor, batches: Batches, objects: BlobStore | None, *, longest: int
    ) -> None:
        self.cursor = cursor
        """Behind all that was taken."""
        self._batch = batch
        self._batches = batches
        self._objects = objects
        self._longest = longest
        self._next = cursor.part
        self._parts: list[Part] = []
        self._reading: Reading | None = None

    async def take(self, most: int, most_bytes: int) -> list[Line]:
        """Up to `most` lines, no more once they have `most_bytes` between them; none when there are no more. Raises
        NotFound, AttachmentGone, StoreUnavailable."""
        while self._reading is not None or await self._open():
            if self._reading is not None and (lines := await self._reading.take(most, most_bytes)):
                self.cursor = self._reading.cursor
                return lines
            await self.aclose()
        return []

    def behind(self, line: Line) -> Cursor:
        """Behind one of the lines that were taken last."""
        position = next(part.position for part in reversed(self._parts) if part.first_line <= line.number)
        return Cursor(position, line.end, line.number + 1)

    async def aclose(self) -> None:
        """Stop reading."""
        reading, self._reading = self._reading, None
        if reading is not None:
            await reading.aclose()

    async def _open(self) -> bool:
        """Whether there are further parts."""
        batch = self._batch
        self._parts = await self._batches.parts(batch.tenant, batch.id, start=self._next, limit=PARTS)
        if not self._parts:
            return False
        self._next = self._parts[-1].position + 1
        self._reading = Reading(self._parts, self.cursor, self._objects, longest=self._longest)
        return True


class _Named(msgspec.Struct):
    custom_id: str


_NAMED = msgspec.json.Decoder(_Named)


def name_of(line: Line) -> str:
    """The custom id of a line of which nothing else is wanted."""
    try:
        return _NAMED.decode(line.text).custom_id
    except msgspec.DecodeError:
        return made_up_name(line.number)

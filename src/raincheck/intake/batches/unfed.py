"""Takes a batch, hands on lines of it that have not become requests: they are read where they were handed in."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from raincheck.core.batches import Batch, BatchDialect, Cursor
from raincheck.intake.batches.calls import VideoCalls
from raincheck.intake.batches.line import Asked, LineRefused, Lines
from raincheck.intake.batches.lines import Line
from raincheck.intake.batches.supply import Supply
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Batches

AT_ONCE = 1_000
AT_ONCE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Unfed:
    """A line as it lies."""

    line: int
    after: Cursor
    """Behind it."""
    asked: Asked | None
    """None when it cannot be understood any more."""


@dataclass(frozen=True, slots=True)
class Source:
    """What reading lines needs."""

    objects: BlobStore | None
    videos: VideoCalls
    longest: int
    """Bytes that a line may have."""

    def behind(self, batches: Batches, batch: Batch, line: int) -> AsyncGenerator[Unfed]:
        """The lines of a higher number than `line`."""
        return self._read(batches, batch, line + 1, lambda each, _: each.number > line)

    def never_fed(self, batches: Batches, batch: Batch) -> AsyncGenerator[Unfed]:
        """The lines behind those that were fed, of a batch that has ended."""
        # Blank lines have numbers, too, but are no lines: they are only known by going through them.
        fed = batch.counts.fed
        return self._read(batches, batch, fed + 1, lambda _, place: place > fed)

    def going_on(self, batches: Batches, batch: Batch, cursor: Cursor) -> AsyncGenerator[Unfed]:
        """The lines from a cursor on."""
        return self._read(batches, batch, cursor, lambda _line, _place: True)

    async def _read(
        self, batches: Batches, batch: Batch, start: Cursor | int, wanted: Callable[[Line, int], bool]
    ) -> AsyncGenerator[Unfed]:
        """What is wanted, from a cursor on or from where the so-manieth line is."""
        cursor = start if isinstance(start, Cursor) else await _part_of(batches, batch, start)
        lines = Lines(endpoint=batch.endpoint, xai=batch.dialect is BatchDialect.XAI, videos=self.videos)
        before = cursor.line - 1
        async with aclosing(Supply(batch, cursor, batches, self.objects, longest=self.longest)) as supply:
            while taken := await supply.take(AT_ONCE, AT_ONCE_BYTES):
                for place, line in enumerate(taken, before + 1):
                    if wanted(line, place):
                        yield Unfed(line.number, supply.behind(line), _asked(lines, line))
                before += len(taken)


async def _part_of(batches: Batches, batch: Batch, line: int) -> Cursor:
    """Where to begin for the `line`-th line. What was added call by call has no blank lines, and may be many parts."""
    if batch.input_file_id is not None:
        return Cursor()
    found = await batches.parts(batch.tenant, batch.id, line=line, limit=1)
    return Cursor(found[0].position, 0, found[0].first_line) if found else Cursor()


def _asked(lines: Lines, line: Line) -> Asked | None:
    try:
        return lines.read(line.text, line.number)
    except LineRefused:
        return None

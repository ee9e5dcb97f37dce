"""Takes a batch's whole input, hands on what is in it (Checked) or what is wrong with it (Refused).

It runs beside whatever else the process does: a bite of lines at a time, and others have their turn in between.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from raincheck.core.batches import MOST_ERRORS, Body, LineError
from raincheck.core.errors import AttachmentGone
from raincheck.intake.batches.line import WRONG_URL, LineRefused, Lines, too_long
from raincheck.intake.batches.lines import Line, read_lines
from raincheck.intake.batches.seen import Seen
from raincheck.intake.batches.sniff import not_lines
from raincheck.store.blobs import BlobStore

MOST_QUEUES = 1_000
"""How many queues the lines of one batch may wait in."""
LARGE = 1 << 18
"""Bytes of lines that are understood beside the event loop: it is one long line, as a rule."""
_HEAD = 4_096
"""Bytes that tell what kind of file it is."""


@dataclass(frozen=True, slots=True)
class Checked:
    """All lines are good."""

    lines: int
    queues: Mapping[str, int]
    """How many of them will wait in which queue."""
    model: str | None
    """The one that all of them ask; None with several."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The first errors, by line."""

    errors: tuple[LineError, ...]


async def check(body: Body, lines: Lines, objects: BlobStore | None, *, longest: int) -> Checked | Refused:
    """Read through all lines, each of at most `longest` bytes. Raises StoreUnavailable."""
    with Seen() as seen:
        tally = _Tally(lines, seen, longest)
        try:
            verdict = await _read(body, tally, objects)
        except AttachmentGone as error:
            verdict = LineError("file_gone", error.message, param="input_file_id")
        if verdict is not None:
            return Refused((verdict,))
        return await tally.result()


async def _read(body: Body, tally: "_Tally", objects: BlobStore | None) -> LineError | None:
    """Count all lines; returns what is wrong with the file as a whole."""
    digest, head = sha256(), bytearray()

    def look(data: bytes) -> None:
        digest.update(data)
        if len(head) < _HEAD:
            head.extend(data[: _HEAD - len(head)])

    looked = False
    async for bite in read_lines(body, objects, longest=tally.longest, look=look):
        if not looked:
            looked = True
            if (wrong := not_lines(bytes(head))) is not None:
                return wrong
        if sum(len(line.text) for line in bite) > LARGE:
            await asyncio.to_thread(tally.count, bite)
        else:
            tally.count(bite)
        if tally.full:
            return None
        await asyncio.sleep(0)
    if digest.hexdigest() != body.digest:
        message = "The file is not what was uploaded: its checksum differs. Upload it again."
        return LineError("file_damaged", message, param="input_file_id")
    if not tally.lines and not tally.errors:
        return LineError("empty_file", "The file has no requests in it; give each a line.", param="input_file_id")
    return None


class _Tally:
    """What has been read so far."""

    def __init__(self, rules: Lines, seen: Seen, longest: int) -> None:
        self.longest = longest
        self.lines = 0
        self.errors: list[LineError] = []
        self._rules = rules
        self._seen = seen
        self._queues = Counter[str]()
        self._models: set[str] = set()

    @property
    def full(self) -> bool:
        """Whether reading on would tell nothing more."""
        return len(self.errors) >= MOST_ERRORS or len(self._queues) > MOST_QUEUES

    def count(self, bite: list[Line]) -> None:
        read, add, queues = self._rules.read, self._seen.add, self._queues
        for number, text, _ in bite:
            if not text:
                self.errors.append(too_long(number, self.longest))
                continue
            try:
                asked = read(text, number)
            except LineRefused as refused:
                self.errors.append(refused.error)
                if self.full:
                    return
                continue
            self.lines += 1
            add(asked.custom_id, number)
            queues[asked.queue] += 1
            if len(self._models) < 2:
                self._models.add(asked.model)
            if len(queues) > MOST_QUEUES:
                self.errors.append(_too_many_queues(number))
                return

    def _mismatch(self) -> LineError | None:
        """What is wrong when no line asks what the batch says that all do: that is told once."""
        if self.lines or self._rules.endpoint is None or not self.errors:
            return None
        if any(error.code != WRONG_URL for error in self.errors):
            return None
        first = self.errors[0]
        message = f"No line that was read asks the batch's endpoint. Line {first.line}: {first.message}"
        return LineError(WRONG_URL, message, param="endpoint")

    async def result(self) -> Checked | Refused:
        doubles = [_double(line, first) for line, first in await self._seen.twice(MOST_ERRORS)]
        if (wrong := self._mismatch()) is not None:
            return Refused((wrong,))
        if errors := sorted(self.errors + doubles, key=lambda error: error.line or 0):
            return Refused(tuple(errors[:MOST_ERRORS]))
        model = next(iter(self._models)) if len(self._models) == 1 else None
        return Checked(self.lines, dict(self._queues), model)


def _double(line: int, first: int) -> LineError:
    message = f"This line has the same `custom_id` as line {first}; each must have its own."
    return LineError("duplicate_custom_id", message, line, "custom_id")


def _too_many_queues(line: int) -> LineError:
    message = f"The batch asks more than {MOST_QUEUES} different models; split it into several."
    return LineError("too_many_models", message, line, "body.model")

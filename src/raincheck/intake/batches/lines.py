"""Takes the parts of a batch's input, hands on their lines; never more of them in memory than were asked for."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import partial
from typing import NamedTuple

from raincheck.core.batches import Body, Cursor, Part
from raincheck.core.errors import AttachmentGone, NotFound, RaincheckError
from raincheck.store.blobs import BlobStore

PIECE = 1 << 20
"""Bytes that are asked of the object store at once."""
BITE = 1 << 15
"""Bytes out of which lines are cut at once: what is made of them keeps a thread busy for about a millisecond."""

_BOM = b"\xef\xbb\xbf"
_BLANK = b" \t\r"
_BREAK = b"\n"

Look = Callable[[bytes], None]
"""Is shown every byte that is read, in order."""


class Line(NamedTuple):
    """One line that is not blank."""

    number: int
    """In the batch, counted from 1; blank lines count too."""
    text: bytes
    """Without its break and the blanks around it; empty when it is longer than it may be, and was skipped through."""
    end: int
    """Where the next one begins: bytes into the part."""


class Reading:
    """The lines of a batch from a cursor on, as many at a time as are wanted."""

    def __init__(
        self, parts: Sequence[Part], cursor: Cursor, objects: BlobStore | None, *, longest: int, piece: int = PIECE
    ) -> None:
        self.cursor = cursor
        """Behind all that was taken."""
        self._open = partial(_bites, parts, objects, longest, piece)
        self._bites = self._open(cursor)
        self._ahead = cursor
        """Behind all that was read."""
        self._waiting = deque[tuple[int, Line]]()
        self._size = 0

    async def take(self, most: int, most_bytes: int) -> list[Line]:
        """Up to `most` lines, no more once they have `most_bytes` between them; none when there are no more. Raises
        AttachmentGone, StoreUnavailable; nothing is taken then, and taking again goes on."""
        while len(self._waiting) < most and self._size < most_bytes:
            if not await self._fill():
                break
        taken, size = list[Line](), 0
        while self._waiting and len(taken) < most and size < most_bytes:
            part, line = self._waiting.popleft()
            taken.append(line)
            size += len(line.text)
            self.cursor = _behind(part, line)
        self._size -= size
        return taken

    async def aclose(self) -> None:
        """Stop reading."""
        await self._bites.aclose()

    async def _fill(self) -> bool:
        try:
            part, lines = await anext(self._bites)
        except StopAsyncIteration:
            return False
        except RaincheckError:
            self._bites = self._open(self._ahead)  # One that has failed would look like one that is at its end.
            raise
        self._waiting.extend((part, line) for line in lines)
        self._size += sum(len(line.text) for line in lines)
        self._ahead = _behind(part, lines[-1])
        return True


def _behind(part: int, line: Line) -> Cursor:
    return Cursor(part, line.end, line.number + 1)


async def read_lines(
    body: Body,
    objects: BlobStore | None,
    *,
    start: int = 0,
    number: int = 1,
    longest: int,
    piece: int = PIECE,
    look: Look = lambda _: None,
) -> AsyncGenerator[list[Line]]:
    """The lines from byte `start` on, where line `number` begins, a few at a time; a list may be empty.

    A line of more than `longest` bytes is passed over without being held. Raises AttachmentGone, StoreUnavailable.
    """
    cutter = _Cutter(start, number, longest)
    async for data in _pieces(body, objects, start, piece):
        look(data)
        for at in range(0, len(data), BITE):
            yield cutter.cut(data[at : at + BITE])
    yield cutter.rest()


async def _bites(
    parts: Sequence[Part], objects: BlobStore | None, longest: int, piece: int, cursor: Cursor
) -> AsyncGenerator[tuple[int, list[Line]]]:
    for part in parts:
        if part.position < cursor.part:
            continue
        here = part.position == cursor.part
        start, number = (cursor.offset, cursor.line) if here and cursor.offset else (0, part.first_line)
        reading = read_lines(part.body, objects, start=start, number=number, longest=longest, piece=piece)
        async for lines in reading:
            if lines:
                yield part.position, lines


class _Cutter:
    """Cuts what comes in bites into lines, wherever the bites end."""

    def __init__(self, start: int, number: int, longest: int) -> None:
        self._at = start
        """Where the line that is being read begins."""
        self._number = number
        self._longest = longest
        self._held: list[bytes] = []
        """The beginning of that line, as far as it has come; nothing once it is too long."""
        self._size = 0
        """How much of it has come."""

    def cut(self, bite: bytes) -> list[Line]:
        """The lines that end in this bite."""
        first, *others = bite.split(_BREAK)
        self._hold(first)
        if not others:
            return []
        lines = list[Line]()
        self._end(lines, 1)
        last = others.pop()
        at, number, longest = self._at, self._number, self._longest
        for text in others:  # Many, and short, as a rule: nothing here that can be left out.
            at += len(text) + 1
            if (stripped := text.strip(_BLANK)) or len(text) > longest:
                lines.append(Line(number, stripped if len(text) <= longest else b"", at))
            number += 1
        self._at, self._number = at, number
        self._hold(last)
        return lines

    def rest(self) -> list[Line]:
        """The last line, when no break follows it."""
        lines = list[Line]()
        if self._size:
            self._end(lines, 0)
        return lines

    def _hold(self, text: bytes) -> None:
        self._size += len(text)
        if self._size <= self._longest:
            self._held.append(text)
        else:
            self._held.clear()

    def _end(self, lines: list[Line], breaks: int) -> None:
        text = b"".join(self._held)
        if self._at == 0:
            text = text.removeprefix(_BOM)
        text = text.strip(_BLANK)
        self._at += self._size + breaks
        if text or self._size > self._longest:
            lines.append(Line(self._number, text, self._at))
        self._number += 1
        self._held, self._size = [], 0


async def _pieces(body: Body, objects: BlobStore | None, start: int, piece: int) -> AsyncGenerator[bytes]:
    if body.blob is None:
        text = body.text or b""
        for at in range(start, len(text), piece):
            yield text[at : at + piece]
        return
    if objects is None:
        raise AttachmentGone("The batch's input is in an object store, and this server has none (`store.blobs`).")
    try:
        for at in range(start, body.size, piece):
            async for data in objects.read(body.blob, at, min(at + piece, body.size)):
                yield data
    except NotFound as error:
        raise AttachmentGone("The batch's input is not in the object store any more; upload it again.") from error

"""Takes a multipart/form-data body as it arrives, hands on its parts one by one: texts whole, files piece by piece.

A file is never whole in memory, and what has not been read of one is passed over when the next part is asked for.
"""

import re
from collections import deque
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager
from dataclasses import dataclass

from litestar.types import Receive
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser

from raincheck.core.errors import BadInput, NotJson, TooLarge
from raincheck.http.presence import ClientGone

LONGEST_FIELD = 128 << 10
"""Bytes of one text: room for the longest prompt there is, 32,000 characters of any script."""
ALL_FIELDS = 1 << 20
MOST_PARTS = 100
LONGEST_NAME = 200
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"([ !#-~]{1,200})"|([!#-:<-~]{1,200}))\s*(?:;|$)', re.IGNORECASE)
_FORM = "multipart/form-data"
_TEXTS = ("text/", "application/json", "application/x-www-form-urlencoded")


@dataclass(frozen=True, slots=True)
class Field:
    """A part that is a text."""

    name: str
    """As it was sent, as in `video[id]`."""
    value: str


@dataclass(frozen=True, slots=True)
class Upload:
    """A part that is a file, on its way in."""

    name: str
    filename: str | None
    content_type: str | None
    """What the client says it is; None when it says nothing."""
    pieces: AsyncGenerator[bytes]


def is_form(content_type: bytes | None) -> bool:
    """Whether a body with this Content-Type is a form with parts."""
    return content_type is not None and content_type.partition(b";")[0].strip().lower() == _FORM.encode()


class Form:
    """The parts of one body, in the order they were sent; to be read with `async for`."""

    def __init__(self, receive: Receive, content_type: bytes | None, *, at_most: int | None = None) -> None:
        """`at_most`: bytes that the caller may send. Raises NotJson for what is no form, BadInput for one that has no
        boundary."""
        if content_type is None or not is_form(content_type):
            raise NotJson(f"The body must be {_FORM}; send it as a form with parts.")
        if (found := _BOUNDARY.search(content_type)) is None:
            raise BadInput(f"The Content-Type {_FORM} must name the boundary between the parts, as clients do.")
        self._receive = receive
        self._parser = PushMultipartParser(found[1] or found[2], max_segment_count=MOST_PARTS)
        self._events = deque[MultipartSegment | bytes | None]()
        self._at_most = at_most
        self._size = 0
        self._texts = 0
        self._whole = False
        self._open = False
        """Whether a part was begun that is not at its end."""

    def __aiter__(self) -> "Form":
        return self

    async def __anext__(self) -> Field | Upload:
        """The next part. Raises BadInput, TooLarge, ClientGone, and what the guard says of slow bodies."""
        while self._open:
            await self._piece()
        segment = await self._next()
        if segment is None:
            raise StopAsyncIteration
        assert isinstance(segment, MultipartSegment)  # noqa: S101
        self._open = True
        name = segment.name or ""
        if not 1 <= len(name) <= LONGEST_NAME:
            raise BadInput(f"Each part of the form needs a name of at most {LONGEST_NAME} characters.")
        if _is_file(segment):
            return Upload(name, segment.filename, segment.content_type, self._pieces())
        return Field(name, await self._text(name))

    async def _pieces(self) -> AsyncGenerator[bytes]:
        while self._open:
            if piece := await self._piece():
                yield piece

    async def _text(self, name: str) -> str:
        text = bytearray()
        while self._open:
            text += await self._piece()
            if len(text) > LONGEST_FIELD or self._texts + len(text) > ALL_FIELDS:
                raise BadInput(
                    f"The texts of a form may have {LONGEST_FIELD} bytes each and {ALL_FIELDS} in all; send what is "
                    "longer as a file.",
                    param=name,
                )
        self._texts += len(text)
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"`{name}` is not valid UTF-8 (byte {error.start}).", param=name) from None

    async def _piece(self) -> bytes:
        """More of the part that is open; empty when it has ended."""
        piece = await self._next()
        if piece is None:
            self._open = False
            return b""
        assert isinstance(piece, bytes)  # noqa: S101
        return piece

    async def _next(self) -> MultipartSegment | bytes | None:
        """What the parser finds next; None is the end of a part, and without one the end of the form."""
        while not self._events:
            if self._whole:
                return None
            await self._feed()
        return self._events.popleft()

    async def _feed(self) -> None:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGone
        chunk = message["body"]
        self._size += len(chunk)
        if self._at_most is not None and self._size > self._at_most:
            raise TooLarge(f"The request body is too large; this API key may send {self._at_most} bytes.")
        with _meant():
            if chunk:
                self._events.extend(self._parser.parse(chunk))
            if not message["more_body"]:
                self._whole = True
                self._parser.close()


def _is_file(segment: MultipartSegment) -> bool:
    """What has a file name, or is of a kind that no text is."""
    kind = segment.content_type
    return segment.filename is not None or (kind is not None and not kind.startswith(_TEXTS))


@contextmanager
def _meant() -> Generator[None]:
    """What is wrong with a body, in our words."""
    try:
        yield
    except ParserLimitReached:
        raise BadInput(
            f"The form has too many or too long headers, or more than {MOST_PARTS} parts; send a simpler one."
        ) from None
    except MultipartError as error:
        raise BadInput(f"The multipart body is broken: {error.args[0]}.") from None

"""Takes the headers of a GET, hands on which bytes of a body it wants: all, some, or none that it has not got."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from raincheck.core.errors import RangeUnsatisfiable

_ONE = re.compile(r"\s*bytes\s*=\s*(\d{0,20})\s*-\s*(\d{0,20})\s*", re.ASCII | re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')


class Span(NamedTuple):
    """Some bytes of a body: from `start` up to, and without, `end`."""

    start: int
    end: int

    def told(self, size: int) -> str:
        """As Content-Range says it."""
        return f"bytes {self.start}-{self.end - 1}/{size}"


def span_of(headers: Mapping[bytes, bytes], size: int, etag: str) -> Span | None:
    """The one range that is asked for; None: send the whole body. Raises RangeUnsatisfiable.

    Several ranges at once, units that nobody knows and what makes no sense are answered with the whole, as is a
    range of a body that is another by now (RFC 9110, sections 14.2 and 13.1.5).
    """
    asked = headers.get(b"range")
    if asked is None or (found := _ONE.fullmatch(asked.decode("latin-1"))) is None:
        return None
    only_if = headers.get(b"if-range")
    if only_if is not None and only_if.strip().decode("latin-1") != etag:
        return None
    first, last = found.groups()
    if first:
        start, end = int(first), min(int(last) + 1, size) if last else size
        if last and int(last) < start:
            return None
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    if start >= end:
        raise RangeUnsatisfiable(f"The body has {size} bytes, and the Range header asks for none of them.")
    return Span(start, end)


def meant(headers: Mapping[bytes, bytes], etag: str) -> bool:
    """Whether this is the body that the client means, by its If-Match. Weak tags never match (RFC 9110, 13.1.1)."""
    known = headers.get(b"if-match")
    if known is None:
        return True
    text = known.decode("latin-1")
    return text.strip() == "*" or etag in (found[0] for found in _TAG.finditer(text))


def has_it(headers: Mapping[bytes, bytes], etag: str) -> bool:
    """Whether the client has this body already, by its If-None-Match."""
    known = headers.get(b"if-none-match")
    if known is None:
        return False
    text = known.decode("latin-1")
    return text.strip() == "*" or etag in _TAG.findall(text)

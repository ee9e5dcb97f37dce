"""Takes what a receiver answers, hands on as much of it as matters: whether it took the message, and what it said."""

from codecs import getincrementaldecoder
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

import aiohttp

from raincheck.core.clock import DAY, SECOND, micros

MOST_READ = 8 << 10
"""Bytes of a body that are read: with a longer one the connection is not used again."""
MOST_KEPT = 1 << 10
"""Bytes of it that the log keeps."""
_LONGEST_WAIT = DAY
_MOST_LOCATION = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a receiver said."""

    status: int
    code: str | None
    """A word for programs; None when it took the message."""
    error: str | None
    beginning: str | None
    """Of the body, as text that is safe to show."""
    wait: int | None = None
    """Microseconds that it asked to be left alone for, a day at most."""


async def read_beginning(content: aiohttp.StreamReader, into: bytearray) -> None:
    """Read what the log keeps, and a bit more, so that a short answer's connection can be used again."""
    while len(into) < MOST_READ and (piece := await content.read(MOST_READ - len(into))):
        into += piece


def answer(response: aiohttp.ClientResponse, beginning: bytearray, *, now: int) -> Answer:
    """What the head says, with so much of the body as has come."""
    code, error = _judged(response)
    return Answer(
        status=response.status,
        code=code,
        error=error,
        beginning=_text(bytes(beginning[:MOST_KEPT])) or None,
        wait=_wait(response.headers.get("retry-after"), now),
    )


def _judged(response: aiohttp.ClientResponse) -> tuple[str | None, str | None]:
    status = response.status
    if 200 <= status < 300:
        return None, None
    if 300 <= status < 400:
        where = _text(response.headers.get("location", "").encode("utf-8", "replace")[:_MOST_LOCATION])
        return "redirect", f"It answered {status}; redirects{where and f' (to {where})'} are not followed."
    return ("gone" if status == 410 else "status"), f"It answered {status}."


def _wait(header: str | None, now: int) -> int | None:
    """Retry-After in either form: seconds, or a date."""
    if header is None:
        return None
    try:
        if header.isascii() and header.isdecimal():
            wait = int(header[:9]) * SECOND
        else:
            when = parsedate_to_datetime(header)
            wait = micros((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()) - now
    except (ValueError, OverflowError):
        return None
    return min(wait, _LONGEST_WAIT) if wait > 0 else None


def _text(raw: bytes) -> str:
    """As text, without what a terminal or a page might take for more than that; a last half character is dropped."""
    text = getincrementaldecoder("utf-8")("replace").decode(raw).replace("\r\n", "\n")
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)

"""A file from a stranger and the limits in, what it is out; or a refusal that names the limit and what was found."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from raincheck.core.errors import MediaRefused
from raincheck.upstream.media.limits import MediaLimits, show_size
from raincheck.upstream.media.pictures import shape
from raincheck.upstream.media.probe import Facts, facts
from raincheck.upstream.media.sniff import head_of, kind_of

FASTEST = 300
"""Frames a second on average: more than cameras for slow motion have. Each of them costs, however small it is."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that may be worked on."""

    content_type: str
    """By its first bytes."""
    size: int
    facts: Facts | None
    """Of a picture always; of a video when ffmpeg is here to tell; of a sound never."""


async def check(path: Path, limits: MediaLimits) -> Checked:
    """What the file is. Raises MediaRefused when it is nothing we open, or more than the limits allow."""
    size = (await asyncio.to_thread(path.stat)).st_size
    if not size:
        raise MediaRefused("The file is empty.")
    if size > limits.max_bytes:
        raise MediaRefused(f"The file has {show_size(size)}; {show_size(limits.max_bytes)} are allowed.")
    kind = kind_of(await asyncio.to_thread(head_of, path))
    if kind is None:
        raise MediaRefused("The file is no picture, video or sound of a kind that is known here.")
    if kind.startswith("image/"):
        width, height = await asyncio.to_thread(shape, path, kind)
        found = Facts(width=width, height=height, codec=kind.removeprefix("image/"))
    else:
        found = await facts(path, limits) if kind.startswith("video/") else None
    if found is not None:
        _bounded(found, "picture" if kind.startswith("image/") else "video", limits)
    return Checked(kind, size, found)


def _bounded(found: Facts, what: str, limits: MediaLimits) -> None:
    if found.width * found.height > limits.max_pixels:
        raise MediaRefused(
            f"The {what} is {found.width}x{found.height}, which is {found.width * found.height:,} pixels; "
            f"{limits.max_pixels:,} are allowed."
        )
    # A second is the least, because few frames may well be shown for no time.
    if found.frames > FASTEST * max(found.seconds, 1.0):
        raise MediaRefused(
            f"The {what} has {found.frames:,} frames in {found.seconds:g} seconds; {FASTEST} a second are allowed."
        )

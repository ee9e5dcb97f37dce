"""A video in, its measures out: taken from its packets, not from what its header claims.

ffmpeg copies the packets without decoding them into its `framecrc` listing, one line for each. That tells how long the
video really plays and how many frames it has, in a form that nothing inside the file can forge.
"""

import asyncio
import re
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from raincheck.core.clock import SECOND
from raincheck.core.errors import MediaRefused
from raincheck.core.units import show_duration
from raincheck.upstream.media import ffmpeg
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.media.sniff import head_of, kind_of

_BOUNDS = ffmpeg.Bounds(memory=2 << 30, cpu_seconds=120, seconds=180)
_MOST_PACKETS = 1_000_000
_INDEXED = frozenset({"video/mp4", "video/quicktime", "video/3gpp", "audio/mp4"})
"""Kinds whose index says what else the file should hold, so that a cut is found out. Of others what is there plays."""
# Written together up to ffmpeg 7, apart since.
_ROTATED = re.compile(r"display ?matrix: rotation of (-?\d+(?:\.\d+)?) degrees", re.IGNORECASE)
# What ffmpeg says of a file that it did look into.
_VERDICTS = ("Invalid data found", "moov atom not found", "does not contain any stream")
_CORRUPT = 2
_UNKNOWN = -(1 << 63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a picture or a video is, as it is shown: turned upright when it says so itself."""

    width: int
    height: int
    codec: str
    seconds: float = 0.0
    """How long the video plays; 0 for a picture."""
    fps: float = 0.0
    """Frames a second on average; 0 for a picture."""
    frames: int = 1
    sound: bool = False


class Unread(MediaRefused):
    """ffmpeg came to no verdict on the file: it may be a good one, and ffmpeg at fault."""


async def facts(path: Path, limits: MediaLimits | None = None) -> Facts | None:
    """The measures of a video; None when there is no ffmpeg to take them.

    Raises MediaRefused for what cannot be read, was cut off, has no video in it, or plays longer than the limit; Unread
    when ffmpeg itself failed or took too long.
    """
    if ffmpeg.program() is None:
        return None
    kind = kind_of(await asyncio.to_thread(head_of, path))
    if kind is None:
        raise MediaRefused("The file is no picture, video or sound of a kind that is known here.")
    listing = _Listing(limits.max_duration if limits is not None else None)
    try:
        ran = await ffmpeg.run(
            *ffmpeg.reading(path),
            *("-map", "0:V:0?", "-map", "0:a:0?", "-c", "copy", "-copyinkf", "-f", "framecrc", "pipe:1"),
            bounds=_BOUNDS,
            line=listing.take,
        )
    except TimeoutError as error:
        raise Unread("The video took too long to read.") from error
    if kind in _INDEXED and (listing.corrupt or "partial file" in ran.said):
        raise MediaRefused("The video is not whole: parts that its index names are missing.")
    if not listing.streams:
        verdict = MediaRefused if any(words in ran.said for words in _VERDICTS) else Unread
        raise verdict(f"The video cannot be read{_reason(ran.said)}.")
    return _measured(listing, ran.said)


@dataclass(slots=True)
class _Stream:
    video: bool = False
    codec: str = ""
    tick: Fraction = Fraction(0)
    width: int = 0
    height: int = 0
    packets: int = 0
    begin: int | None = None
    end: int = 0

    @property
    def seconds(self) -> Fraction:
        return (self.end - (self.begin or 0)) * self.tick


@dataclass(slots=True)
class _Listing:
    """Takes the listing line by line; raises MediaRefused as soon as it is too long."""

    longest: int | None
    streams: dict[int, _Stream] = field(default_factory=dict[int, _Stream])
    corrupt: bool = False
    packets: int = 0

    def take(self, line: str) -> None:
        if line.startswith("#"):
            self._header(line[1:])
        elif line:
            self._packet(line.split(","))

    def _header(self, line: str) -> None:
        words, _, value = line.partition(": ")
        name, _, index = words.partition(" ")
        if not index.isdecimal():
            return
        stream = self.streams.setdefault(int(index), _Stream())
        match name:
            case "tb":
                stream.tick = Fraction(value)
            case "media_type":
                stream.video = value == "video"
            case "codec_id":
                stream.codec = value
            case "dimensions":
                stream.width, stream.height = map(int, value.split("x"))
            case _:
                pass

    def _packet(self, columns: list[str]) -> None:
        """Its stream, when to decode, when to show and for how long (all in ticks), its size, its sum, then flags."""
        stream = self.streams[int(columns[0])]
        decoded, shown, lasts = map(int, columns[1:4])
        shown = decoded if shown == _UNKNOWN else shown
        stream.packets += 1
        stream.begin = shown if stream.begin is None else min(stream.begin, shown)
        stream.end = max(stream.end, shown + lasts)
        self.corrupt = self.corrupt or any(
            int(column[3:], 0) & _CORRUPT for column in columns[6:] if column.startswith(" F=0x")
        )
        self.packets += 1
        if self.packets > _MOST_PACKETS:
            raise MediaRefused(f"The video has more than {_MOST_PACKETS} packets.")
        if self.longest is not None and stream.seconds * SECOND > self.longest:
            raise MediaRefused(f"The video plays longer than the {show_duration(self.longest)} that are allowed.")


def _measured(listing: _Listing, said: str) -> Facts:
    video = next((stream for stream in listing.streams.values() if stream.video), None)
    if video is None:
        raise MediaRefused("There is no video in the file.")
    if not (video.width and video.height and video.packets):
        raise MediaRefused("The video has no frames that could be shown.")
    turned = (found := _ROTATED.search(said)) is not None and round(float(found[1]) / 90) % 2 == 1
    width, height = (video.height, video.width) if turned else (video.width, video.height)
    return Facts(
        width=width,
        height=height,
        codec=video.codec,
        seconds=round(float(video.seconds), 6),
        fps=round(float(video.packets / video.seconds), 3) if video.seconds else 0.0,
        frames=video.packets,
        sound=any(not stream.video and stream.packets for stream in listing.streams.values()),
    )


def _reason(said: str) -> str:
    if "moov atom not found" in said:
        return ": its index (the moov atom) is missing, so it was probably cut off"
    return ""

"""The mark that tells our own clips: written into a clip's metadata by `sign`, found again by `read_mark`.

It goes to ffmpeg in a file, never on its command line, which has an end and which everyone on the machine can read.
"""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from raincheck.upstream.media.ffmpeg import reading
from raincheck.upstream.preview.drawing.storyboard import Plan
from raincheck.upstream.preview.encode import copy
from raincheck.upstream.preview.h264 import command
from raincheck.upstream.preview.job import MOST_PIXELS

COMMENT = "procedural preview, not a generative model"
_TAG = "raincheck"
_ASKING = 60.0
"""Seconds to look into a clip."""
_LONGEST_MARK = 1 << 16
"""Bytes. A clip with more to tell, after hundreds of extensions, gets no mark and goes on like a stranger's."""


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What a clip of ours says about itself."""

    renderer: Literal["preview/1"] = "preview/1"
    """Raised when scenes are drawn differently: an older clip is then extended like a stranger's."""
    plan: Plan
    stream: str
    """The digest of its frames as they are encoded: what was encoded anew is no longer ours."""


def sign(clip: Path, to: Path, plan: Plan) -> None:
    """Write a clip of ours once more, with what it says about itself. Raises EncodingFailed."""
    mark = msgspec.json.encode(Mark(plan=plan, stream=_digest(clip)))
    tags = {"title": plan.prompt[:200], "comment": COMMENT}
    tag(clip, to, tags | ({_TAG: mark.decode()} if len(mark) <= _LONGEST_MARK else {}))


def tag(clip: Path, to: Path, tags: Mapping[str, str]) -> None:
    """Write a clip once more, with these tags and no others. Raises EncodingFailed."""
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        listing = Path(folder, "tags.txt")
        lines = (f"{name}={_escaped(value)}\n" for name, value in tags.items())
        listing.write_text(";FFMETADATA1\n" + "".join(lines), encoding="utf-8", newline="")
        copy(to, *reading(clip), "-f", "ffmetadata", "-i", str(listing), "-map_metadata", "1")


def read_mark(path: Path) -> Mark | None:
    """What a clip of ours says about itself; None of a stranger's, of one that was encoded anew, and of one that says
    what cannot be.

    Anyone may write a mark into a file: it is checked to be harmless, not to be true.
    """
    listing = _asked(*reading(path), "-f", "ffmetadata", "pipe:1")[: 4 * _LONGEST_MARK]
    try:
        mark = msgspec.json.decode(_tag_of(listing.decode()), type=Mark)
    except (ValueError, msgspec.DecodeError):
        return None
    return mark if _sane(mark.plan) and mark.stream == _digest(path) else None


def _digest(path: Path) -> str:
    """Of the encoded frames; names, tags and the order of a file's parts do not change it."""
    return _asked(*reading(path), "-map", "0:v:0", "-c", "copy", "-f", "hash", "-hash", "sha256", "-").decode().strip()


def _asked(*arguments: str) -> bytes:
    """What ffmpeg writes; nothing when it takes too long."""
    try:
        return subprocess.run(command(*arguments), capture_output=True, check=False, timeout=_ASKING).stdout  # noqa: S603
    except subprocess.TimeoutExpired:
        return b""


def _escaped(value: str) -> str:
    return "".join(f"\\{one}" if one in "=;#\\\n" else one for one in value.replace("\0", ""))


def _tag_of(listing: str) -> str:
    """The tag in ffmpeg's metadata format: a line each, with some characters escaped by a backslash."""
    lines = iter(listing.replace("\\\n", "\n").splitlines())
    for line in lines:
        name, _, value = line.partition("=")
        if name == _TAG:
            plain = iter(value)
            return "".join(next(plain, "") if character == "\\" else character for character in plain)
    return ""


def _sane(plan: Plan) -> bool:
    width, height = plan.size
    return (
        min(width, height) >= 2
        and width * height <= MOST_PIXELS
        and 1 <= plan.fps <= 60
        and 1 <= len(plan.parts) <= 1000
        and all(1 <= frames <= 100_000 for frames in plan.parts)
        and 1 <= len(plan.shots) <= 1000
        and all(
            0.01 <= shot.pace <= 10_000 and 0 <= shot.key < 1 << 48 and 0 <= shot.begun <= shot.start
            for shot in plan.shots
        )
        and [shot.start for shot in plan.shots] == sorted({shot.start for shot in plan.shots})
        and plan.shots[0].start == 0
    )

"""Runs ffmpeg inside the renderer's child process: arguments and expected frames in, a whole file out, or CutFailed;
what was no fault of the input raises as in `ended`.

Unlike the runs of `media.ffmpeg` this one blocks and stays in the child's process group, so that who kills the group
kills ffmpeg with it; memory, time and output are bounded by the limits that the child has set for itself.
"""

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from raincheck.upstream.media.ffmpeg import plain, reading
from raincheck.upstream.preview.ended import raise_if_blameless
from raincheck.upstream.preview.h264 import H264, MP4, command
from raincheck.upstream.preview.mark import COMMENT

Hear = Callable[[int], None]
"""Told how many frames are written."""

_AAC = ("-c:a", "aac", "-b:a", "128k", "-flags:a", "+bitexact")
# The input's own tags are dropped: an edited clip is none of ours that could be continued seamlessly.
_TAGS = ("-map_metadata", "-1", "-map_chapters", "-1", "-metadata", f"comment={COMMENT}")

_HEARD = 1 << 16
_LONGER_THAN_ALL = 10_000
"""Seconds: at one frame in so many the `fps` filter holds each frame back until it knows the next, so that the last
one is left when the video is over."""


class CutFailed(Exception):
    """The input is such that ffmpeg did not write what it should have; the message says it for people."""


def cut(
    inputs: Sequence[str], graph: str, outputs: tuple[str, str | None], to: Path, *, frames: int, hear: Hear
) -> None:
    """Run a filter graph over inputs into an MP4 of so many frames, with sound when there is a label for it."""
    video_out, sound_out = outputs
    sound = ("-map", f"[{sound_out}]", *_AAC) if sound_out else ()
    part = to.with_name(f"{to.name}.part")
    written = run(
        *inputs,
        *("-filter_complex_threads", "1", "-filter_complex", graph),
        *("-map", f"[{video_out}]", "-frames:v", f"{frames}", *H264, *sound, *_TAGS, *MP4, str(part)),
        hear=hear,
    )
    # One may get lost in rounding; more means that the input broke off.
    if not frames - 1 <= written <= frames:
        part.unlink(missing_ok=True)
        raise CutFailed(f"parts of it cannot be decoded, so that {written} frames came of it where {frames} should")
    part.replace(to)


def run(*arguments: str, hear: Hear | None = None) -> int:
    """Run ffmpeg to its end; returns how many frames it wrote. Raises CutFailed."""
    watch = ("-progress", "pipe:1", "-stats_period", "0.2")
    frames = 0
    with tempfile.TemporaryFile(dir=".") as said:
        with subprocess.Popen(  # noqa: S603 - a list, no shell, no words of the prompt
            command(*watch, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True
        ) as process:
            for line in process.stdout or ():
                name, _, value = line.strip().partition("=")
                if name == "frame" and value.isdecimal():
                    frames = int(value)
                    if hear:
                        hear(frames)
        if code := process.returncode:
            said.seek(0)
            words = said.read(_HEARD).decode(errors="replace")
            raise_if_blameless(code, words, Path())
            first = plain(words.strip().partition("\n")[0])  # what follows is of its own making
            raise CutFailed(f"ffmpeg cannot decode or convert it ({first or f'it ended with {code}'})")
    return frames


def last_frame(video: Path, size: tuple[int, int], to: Path, *, max_pixels: int) -> None:
    """Write the last frame of a video as a picture of this size. Raises CutFailed.

    Of all frames that are decoded on the way only that one gets through the filters: a file of a few kilobytes can have
    thousands of them in its last second.
    """
    alone = f"fps=1/{_LONGER_THAN_ALL}:eof_action=pass"
    options = ("-vf", f"{alone},scale={size[0]}:{size[1]}", "-map", "0:V:0", "-update", "1", str(to))
    for tail in (("-sseof", "-1"), ()):  # some formats cannot be read from the end
        run(*reading(video, *tail, max_pixels=max_pixels), *options)
        if to.is_file():
            return
    raise CutFailed("it has no last frame")

"""Frames → MP4: H.264 by an ffmpeg child that is fed through a pipe; and clips of one kind put after another.

Everything blocks: it is meant for a child process that does nothing else. A file appears under its name only when it
is whole. What goes wrong and is not in what was given raises as in `ended`.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from raincheck.upstream.preview.ended import raise_if_blameless
from raincheck.upstream.preview.h264 import H264, MP4, command

_COLOURS = (
    "-vf",
    "scale=out_color_matrix=bt709:out_range=tv,setparams=color_primaries=bt709:color_trc=bt709",
)


_COPYING = 300.0
"""Seconds that writing frames as they are may take."""


class EncodingFailed(Exception):
    """ffmpeg did not write the file. The message has its last words."""


class Encoder:
    """A clip being written. Leave it by `close`, or by `kill`, which leaves nothing."""

    def __init__(self, path: Path, *, size: tuple[int, int], fps: int) -> None:
        self.path = path
        self.written = 0
        """Frames so far."""
        self._shape = (size[1], size[0], 3)
        self._part = path.with_name(f"{path.name}.part")
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", str(fps), "-i", "pipe:0")
        self._process = subprocess.Popen(  # noqa: S603
            command(*source, *_COLOURS, *H264, *MP4, str(self._part)),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._said,
        )

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Add one frame of exactly the clip's size, RGB."""
        if frame.shape != self._shape:
            raise ValueError(f"A frame of shape {frame.shape} does not fit {self._shape}.")
        assert self._process.stdin is not None  # noqa: S101
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except BrokenPipeError:
            self._fail()
        self.written += 1

    def close(self) -> None:
        """Finish the file, or raise EncodingFailed and leave none."""
        assert self._process.stdin is not None  # noqa: S101
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        if self._process.wait() or not self.written or not self._part.stat().st_size:
            self._fail()
        self._said.close()
        self._part.replace(self.path)

    def kill(self) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._said.close()
        self._part.unlink(missing_ok=True)

    def _fail(self) -> None:
        code = self._process.wait()
        words = _last_words(self._said)
        try:
            raise_if_blameless(code, words, self._part.parent)
        finally:
            self.kill()
        raise EncodingFailed(f"ffmpeg ended with {code} after {self.written} frames: {words}")


def join(parts: Sequence[Path], to: Path) -> None:
    """Put clips of one kind after another without encoding them again."""
    with tempfile.TemporaryDirectory(dir=to.parent) as folder:
        listing = Path(folder, "parts.txt")
        for n, clip in enumerate(parts):
            Path(folder, f"{n}.mp4").symlink_to(clip.absolute())
        listing.write_text("".join(f"file {n}.mp4\n" for n in range(len(parts))))
        only = ("-protocol_whitelist", "file", "-format_whitelist", "concat,mov")
        copy(to, *only, "-f", "concat", "-i", str(listing), "-map_metadata", "-1")


def copy(to: Path, *source: str) -> None:
    """Write the frames of a source into a file as they are. Raises EncodingFailed and leaves none."""
    part = to.with_name(f"{to.name}.part")
    try:
        ran = subprocess.run(  # noqa: S603
            command(*source, "-map", "0:v:0", "-c", "copy", *MP4, str(part)),
            capture_output=True,
            check=False,
            timeout=_COPYING,
        )
        words = ran.stderr.decode(errors="replace")[-400:]
        raise_if_blameless(ran.returncode, words, to.parent)
        if ran.returncode:
            raise EncodingFailed(f"ffmpeg ended with {ran.returncode}: {words}")
        part.replace(to)
    except subprocess.TimeoutExpired as error:
        raise EncodingFailed(f"ffmpeg was not done after {_COPYING:g} seconds") from error
    finally:
        part.unlink(missing_ok=True)


def _last_words(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read()[-400:].decode(errors="replace").strip()

"""The ffmpeg program: found, and run as a child that is bounded in memory, processor time, output and patience.

What it opens came from strangers. So a file is opened by `reading(...)`, which lets it be nothing but one of the
formats we know, read from disk: a playlist in disguise would have ffmpeg fetch whatever it names. The child has no
standard input, its own session, the lowest usual priority, and dies with the task that waits for it.
"""

import asyncio
import os
import re
import shutil
import signal
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from raincheck.core.errors import ModelUnavailable
from raincheck.upstream.media.sniff import head_of, kind_of

_DEMUXERS = {
    "image/png": "png_pipe",
    "image/jpeg": "jpeg_pipe",
    "image/webp": "webp_pipe",
    "image/gif": "gif",
    "video/mp4": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "audio/mp4": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/mp2t": "mpegts",
    "video/ogg": "ogg",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "audio/aac": "aac",
}
_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,gif,ogg,mp3,wav,flac,aac,png_pipe,jpeg_pipe,webp_pipe"
# A shell sets the limits, because between fork and exec of a process with threads Python code must not run. A limit
# that the system does not have, or that is stricter already, is left as it is. Sizes are in KiB and in 512 bytes.
_LAUNCH = '{ ulimit -c 0; ulimit -v "$1"; ulimit -t "$2"; ulimit -f "$3"; } 2>/dev/null; shift 3; exec nice -n 10 "$@"'
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR")
# Of no use to whoever reads it elsewhere, and nobody's business.
_INSIDES = re.compile(r"\[[^][]*@ 0x[0-9a-fA-F]+\] ?|\b0x[0-9a-fA-F]{6,}|(?<!\w)(?:file:)?\.{0,2}/[^\s'\":]+")
_LONGEST_WORDS = 160
_HEARD = 32 << 10
_LONGEST_LINE = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one run may use."""

    memory: int = 3 << 30
    """Bytes of address space."""
    cpu_seconds: int = 1800
    output: int = 4 << 30
    """Bytes of any one file it writes."""
    seconds: float = 1800.0
    """By the clock on the wall."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended."""

    code: int
    """0 when all went well; negative: the signal that ended it."""
    said: str
    """The first and the last of what it wrote to its standard error."""


def program() -> str | None:
    """The program: what IMAGEIO_FFMPEG_EXE names, the one that imageio-ffmpeg brings, or one on the PATH."""
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    if named:
        return shutil.which(named)
    if find_spec("imageio_ffmpeg") is not None:
        import imageio_ffmpeg

        with suppress(RuntimeError):
            return imageio_ffmpeg.get_ffmpeg_exe()
    return shutil.which("ffmpeg")


def reading(path: Path, *options: str, max_pixels: int | None = None) -> list[str]:
    """The arguments that open a file from a stranger as what its first bytes say it is, and as nothing else; `options`
    are about this input, as in `("-ss", "3")`.

    With `max_pixels` no frame of more than about twice that is decoded, also when the frames grow midway. (Decoders
    count the margins they work with, so the limit itself would refuse some frames below it.)
    """
    pixels = [] if max_pixels is None else ["-max_pixels", f"{2 * max_pixels}"]
    kind = kind_of(head_of(path)) if path.is_file() else None
    guard = ["-protocol_whitelist", "file", "-format_whitelist", _FORMATS]
    # Left to itself ffmpeg looks at the name as well, and opens a .jpg as a series of numbered files.
    opened_as = ["-f", _DEMUXERS[kind]] if kind is not None else []
    return [*guard, *opened_as, "-threads", "1", *pixels, *options, "-i", f"file:{path}"]


def plain(said: str) -> str:
    """The last line of what ffmpeg, or a program around it, said, fit to be shown: short, and without the addresses in
    memory and the paths that it may have in it."""
    lines = [line for line in map(str.strip, said.splitlines()) if line]
    return " ".join(_INSIDES.sub("", lines[-1]).split())[:_LONGEST_WORDS].rstrip(". ") if lines else ""


async def run(
    *arguments: str,
    bounds: Bounds | None = None,
    progress: Callable[[float], None] | None = None,
    line: Callable[[str], None] | None = None,
) -> Ran:
    """Run it to its end; cancelling the task, or an error in a callback, kills it at once.

    `progress` hears how many seconds of output there are; or `line` hears each line of its standard output. Files that
    exist are written over. Raises TimeoutError, and ModelUnavailable when there is no such program.
    """
    bounds = bounds or Bounds()
    watch = ["-progress", "pipe:1", "-stats_period", "0.2"] if progress is not None else []
    hear = partial(_tell, progress) if progress is not None else line
    async with _child([*watch, *arguments], bounds, hears=hear is not None) as child:
        said = _Said()
        readers = [asyncio.create_task(said.listen(child)), asyncio.create_task(_lines(child, hear))]
        try:
            async with asyncio.timeout(bounds.seconds):
                await asyncio.gather(*readers)
                await child.wait()
        finally:
            for reader in readers:  # One that broke does not end the other.
                reader.cancel()
            await asyncio.wait(readers)
    return Ran(child.returncode or 0, said.text())


@asynccontextmanager
async def _child(arguments: list[str], bounds: Bounds, *, hears: bool) -> AsyncGenerator[Process]:
    found = program()
    if found is None:
        raise ModelUnavailable("There is no ffmpeg here: install raincheck[preview], or ffmpeg itself.")
    limits = (bounds.memory >> 10, bounds.cpu_seconds, bounds.output >> 9)
    child = await asyncio.create_subprocess_exec(
        *("/bin/sh", "-c", _LAUNCH, "sh", *map(str, limits)),
        *(found, "-hide_banner", "-nostdin", "-nostats", "-y", *arguments),
        stdin=DEVNULL,
        stdout=PIPE if hears else DEVNULL,
        stderr=PIPE,
        env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.communicate()  # To the end of its pipes, and not only of itself, or they would stay open.


async def _lines(child: Process, hear: Callable[[str], None] | None) -> None:
    """Own splitting instead of readline, which raises for a line that is too long. Here it is cut."""
    if hear is None or child.stdout is None:
        return
    rest = b""
    while piece := await child.stdout.read(64 << 10):
        *whole, rest = (rest + piece).split(b"\n")
        rest = rest[:_LONGEST_LINE]
        for text in whole:
            hear(text.decode(errors="replace").rstrip())


def _tell(progress: Callable[[float], None], text: str) -> None:
    name, _, value = text.partition("=")
    if name == "out_time_us" and value.lstrip("-").isdecimal():
        progress(max(0.0, int(value) / 1e6))


class _Said:
    """Reads what a child says to the end, lest it waits for us, and keeps some."""

    def __init__(self) -> None:
        self._first = b""
        self._last = b""

    async def listen(self, child: Process) -> None:
        while piece := await child.stderr.read(64 << 10) if child.stderr is not None else b"":
            room = _HEARD - len(self._first)
            self._first += piece[:room]
            self._last = (self._last + piece[room:])[-_HEARD:]

    def text(self) -> str:
        return (self._first + self._last).decode(errors="replace")

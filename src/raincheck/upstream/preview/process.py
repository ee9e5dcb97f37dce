"""The parent's side of the renderer: starts a child process for one job, hears it, and leaves nothing of it behind."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec

from raincheck.upstream.media.ffmpeg import plain
from raincheck.upstream.media.room import no_room
from raincheck.upstream.preview.ended import OVERSPENT
from raincheck.upstream.preview.job import OVER_LIMIT, End, Job, Line, NoRoom, Progress

# The child opens files of strangers: it is given no keys, and no more threads than it is counted as.
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "LANG", "IMAGEIO_FFMPEG_EXE")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_STDERR_KEPT = 4096
_LINE = msgspec.json.Decoder(Line)


class Crashed(Exception):
    """The child ended without a word on how the job went; the message has what it said last."""


async def render(job: Job, folder: Path, tell: Callable[[Progress], None]) -> End:
    """Have a child do the job in `folder`. Raises Crashed.

    Cancelling kills the child and its ffmpeg at once; they are dead when the cancellation has gone through.
    """
    async with _child(folder) as child:
        words = asyncio.create_task(_last_words(child), name="the renderer's standard error")
        try:
            end = await _hear(child, job, tell)
            code = await child.wait()
            if end is not None:
                return end
            _kill(child)
            if -code in OVERSPENT:
                return OVER_LIMIT
            if no_room(folder, said := await words):
                return NoRoom()
            raise Crashed(f"The renderer {_ending(code)}{_quoted(said)}.")
        finally:
            words.cancel()


@asynccontextmanager
async def _child(folder: Path) -> AsyncGenerator[Process]:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "raincheck.upstream.preview.child"),
        stdin=PIPE,  # kept open: its end tells the child that we are gone
        stdout=PIPE,
        stderr=PIPE,
        cwd=folder,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD | {"TMPDIR": "."},
        start_new_session=True,
    )
    try:
        yield child
    finally:
        _kill(child)
        await child.wait()


def _kill(child: Process) -> None:
    """With its ffmpeg, which goes on when only the child is dead."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


async def _hear(child: Process, job: Job, tell: Callable[[Progress], None]) -> End | None:
    """What the child said in the end; None when it fell silent before."""
    assert child.stdin is not None  # noqa: S101
    assert child.stdout is not None  # noqa: S101
    with suppress(ConnectionError):
        child.stdin.write(msgspec.json.encode(job) + b"\n")
        await child.stdin.drain()
    while text := await child.stdout.readline():
        match _LINE.decode(text):
            case Progress() as progress:
                tell(progress)
            case end:
                return end
    return None


async def _last_words(child: Process) -> str:
    """Read to the end, or the pipe fills and the child stands still."""
    assert child.stderr is not None  # noqa: S101
    said = b""
    while piece := await child.stderr.read(_STDERR_KEPT):
        said = (said + piece)[-_STDERR_KEPT:]
    return said.decode(errors="replace")


def _ending(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"


def _quoted(words: str) -> str:
    return f" and said: {said}" if (said := plain(words)) else ""

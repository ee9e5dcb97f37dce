"""The process that renders: one job as a JSON line on standard input, JSON lines about it on standard output.

Run as `python -m raincheck.upstream.preview.child` in the folder it is to work in, as the leader of its own process
group, which ffmpeg joins. It is nice to others, bounded, and dies with its parent, and its group with it.
"""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
from typing import IO, NoReturn

import msgspec

from raincheck.upstream.preview.job import Job, Line, Progress

_MEMORY = 4 << 30
"""Bytes of address space, in each process of the group."""
_CPU_SECONDS = 3600
_LARGEST_FILE = 4 << 30
_TELL_EVERY = 0.1


def main() -> None:
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    with os.fdopen(os.dup(1), "wb", buffering=0) as parent:
        os.dup2(2, 1)  # whatever a library prints must not be taken for our lines
        _end_with_parent()
        _be_modest()
        from raincheck.upstream.preview.make import make

        _say(parent, make(job, _Teller(parent)))


class _Teller:
    """Passes on some of the progress; the rest comes too fast for anybody."""

    def __init__(self, parent: IO[bytes]) -> None:
        self._parent = parent
        self._last = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._last >= _TELL_EVERY:
            self._last = now
            _say(self._parent, progress)


def _say(parent: IO[bytes], line: Line) -> None:
    parent.write(msgspec.json.encode(line) + b"\n")


def _be_modest() -> None:
    os.nice(10)
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, _LARGEST_FILE),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        soft = most if hard == resource.RLIM_INFINITY else min(most, hard)
        if sys.platform == "linux" or kind != resource.RLIMIT_AS:  # macOS has no such limit
            resource.setrlimit(kind, (soft, hard))


def _end_with_parent() -> None:
    """Take the whole group along when the parent is gone, however it went."""
    parent_id = os.getppid()

    def end(*_: object) -> NoReturn:
        if os.getpgrp() == os.getpid():  # else, started by hand, it would be somebody else's group
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    def orphaned(*_: object) -> None:
        # The kernel sends this when the thread that started us dies, which may be a moment before the last one.
        for _attempt in range(50):
            if os.getppid() != parent_id:
                end()
            time.sleep(0.01)

    def end_at_end_of_input() -> None:
        while os.read(0, 4096):
            pass
        end()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    if sys.platform == "linux":
        # Beside the end of input, which a sibling that inherited the pipe's other end would hold back.
        signal.signal(signal.SIGUSR1, orphaned)
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGUSR1)
    threading.Thread(target=end_at_end_of_input, daemon=True).start()


if __name__ == "__main__":
    main()

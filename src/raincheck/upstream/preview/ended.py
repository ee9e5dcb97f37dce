"""How a run of ffmpeg ended, inside the renderer's child process: what was no fault of its input is raised here."""

import errno
import os
import resource
import signal
from pathlib import Path

from raincheck.upstream.media.ffmpeg import plain
from raincheck.upstream.media.room import no_room

OVERSPENT = frozenset({signal.SIGXCPU, signal.SIGXFSZ})
"""What the kernel ends a process with that went over its processor time, or over the size of a file."""
_ON_A_SIGNAL = frozenset({255, 123})
"""How ffmpeg ends when it caught a signal, that for its processor time among them; and when it caught many."""


class Overspent(Exception):
    """It went over a limit that the child has set for itself, and would again."""


class Killed(Exception):
    """Somebody ended it."""


def raise_if_blameless(code: int, said: str, folder: Path) -> None:
    """Raise Overspent, Killed, or the OSError of a full disk. Else it was the input or the arguments.

    To be asked while what ffmpeg wrote into the folder is still there.
    """
    if -code in OVERSPENT or (code in _ON_A_SIGNAL and _is_spent()):
        raise Overspent
    if code and no_room(folder, said):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if code < 0 or code in _ON_A_SIGNAL:
        raise Killed(f"ffmpeg was ended from outside, with {code}: {plain(said)}")


def _is_spent() -> bool:
    """Whether the runs so far took what one may."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CPU)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return soft != resource.RLIM_INFINITY and used.ru_utime + used.ru_stime > soft - 1

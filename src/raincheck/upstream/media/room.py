"""Whether it was the disk that an attempt failed for: a trouble that is neither the file's fault nor the program's."""

import errno
import os
from pathlib import Path

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_WORDS = tuple(os.strerror(number) for number in _FULL)
_LITTLE = 1 << 20
"""Bytes. A program that found no room for its next piece leaves less than that."""


def is_full(error: OSError) -> bool:
    """Whether that is what the system says."""
    return error.errno in _FULL


def no_room(folder: Path, said: str) -> bool:
    """Whether a program that wrote into `folder` and failed found the disk full: by its words, which may themselves
    have found no room, or by what is free. Ask before anything is removed."""
    if any(words in said for words in _WORDS):
        return True
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < _LITTLE

"""Takes whatever someone called the files they made, hands on names that fit a link, a record and an object store."""

import mimetypes
import re
from collections.abc import Iterable
from pathlib import PurePath

LONGEST_NAME = 200
UNTYPED = "application/octet-stream"


def tidied(names: Iterable[str]) -> list[str]:
    """These names without folders, leading dots and odd characters, each different from the others however they are
    written. Names that are tidy stay as they are."""
    taken: set[str] = set()
    tidy: list[str] = []
    for name in names:
        plain = free = _plain(name)
        number = 1
        while (leaf := in_ascii(free).casefold()) in taken:
            number += 1
            free = _numbered(plain, number)
        taken.add(leaf)
        tidy.append(free)
    return tidy


def in_ascii(name: str) -> str:
    """A name in letters that every object store takes as they are."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def type_of(name: str) -> str:
    """The content type that a name suggests."""
    return mimetypes.guess_type(name, strict=False)[0] or UNTYPED


def _plain(name: str) -> str:
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(each for each in last if each.isprintable() and each not in ':*?"<>|').strip().lstrip(".")
    return _shortened(kept, LONGEST_NAME) or "file"


def _numbered(name: str, number: int) -> str:
    mark = f"-{number}"
    suffix = PurePath(name).suffix
    return _shortened(name.removesuffix(suffix), LONGEST_NAME - len(mark) - len(suffix)) + mark + suffix


def _shortened(name: str, longest: int) -> str:
    if len(name) <= longest:
        return name
    suffix = PurePath(name).suffix[:20]
    return name[: longest - len(suffix)] + suffix

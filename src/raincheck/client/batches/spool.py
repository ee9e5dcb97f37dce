"""Requests to a file on disk that can be uploaded: what was given as one, or a temporary one."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, cast

from raincheck.client.batches.lines import CHAT, Recipe, Requests, each, opened, text_of

_FIRST = 4 * 1024 * 1024
"""Bytes of a first line that are looked at: nobody's file shall be held in memory for it."""


_EMPTY = "There are no requests: nothing but blank lines, or nothing at all."


@dataclass(frozen=True, slots=True)
class Spooled:
    """A batch file that is ready."""

    name: str
    file: IO[bytes]
    endpoint: str
    """What all its lines ask; the server checks that."""


@contextmanager
def spooled(requests: Requests, recipe: Recipe) -> Generator[Spooled]:
    """The file, at its beginning; gone on leaving if it was made for this. Never more than a line is held in memory.
    A file is taken as it is, but for a recipe with something to fill in. Raises ValueError, OSError."""
    fills = recipe.model is not None or recipe.custom_ids is not None or bool(recipe.params)
    if isinstance(requests, str | PathLike) and not fills:
        with opened(requests) as file:
            asked = _endpoint(file)
            yield Spooled(Path(requests).name, file, recipe.endpoint or asked)
        return
    with TemporaryFile(prefix="raincheck-") as file:
        for line in each(requests, recipe):
            file.write(text_of(line))
        if not file.tell():
            raise ValueError(_EMPTY)
        file.seek(0)
        yield Spooled("batch.jsonl", file, recipe.endpoint or _endpoint(file))


def _endpoint(file: IO[bytes]) -> str:
    """What the first line asks. What is wrong with the file the server says better. Raises ValueError when there is
    nothing in it."""
    first = file.readline(_FIRST)
    while first and not first.strip():
        first = file.readline(_FIRST)
    if not first:
        raise ValueError(_EMPTY)
    file.seek(0)
    try:
        value: object = json.loads(first.removeprefix(b"\xef\xbb\xbf"))
    except ValueError:
        return CHAT
    url = cast("dict[str, Any]", value).get("url") if isinstance(value, dict) else None
    return url if isinstance(url, str) else CHAT

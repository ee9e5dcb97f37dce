"""Takes what a function returned, hands on its JSON and the files in it, each under a name of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from raincheck.core.outcome import Made
from raincheck.upstream.naming import tidied, type_of


class File:
    """A file to return: bytes or a path, and what the caller shall call it.

    It may be the whole result or stand anywhere in it, and so may a plain `Path`, which is called as it is. The name
    tells the content type unless that is given.
    """

    # No dataclass: those are written as JSON objects.
    def __init__(self, content: bytes | Path, name: str | None = None, content_type: str | None = None) -> None:
        if name is None:
            if not isinstance(content, Path):
                raise TypeError("A File of bytes needs a name.")
            name = content.name
        self.content = content
        self.name = name
        self.content_type = content_type


@dataclass(frozen=True, slots=True)
class Returned:
    """What a function returned, as JSON, with its `usage` member and the files it names."""

    body: bytes
    usage: bytes | None = None
    made: tuple[Made, ...] = ()


class Unwritable(Exception):
    """What a function returned cannot be passed on as JSON."""


def written(value: Any, folder: Callable[[], Path]) -> Returned:
    """A function's result. Bytes that are files are written into the folder. Raises Unwritable."""
    files = _Files(folder)
    try:
        match value:
            case bytes() | bytearray():
                body = bytes(value)
                msgspec.json.decode(body)
            case str():
                body = value.encode()
                msgspec.json.decode(body)
            case Path() | File():
                body = msgspec.json.encode({"object": "file", **files.named(value)})
            case _:
                body = msgspec.json.encode(value, enc_hook=files.named)
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        kind = type(value).__name__
        raise Unwritable(f"What the handler returned ({kind}) is no JSON: {error}") from error
    return Returned(body, _usage(body), files.made)


class _Files:
    """The files of one result, in the order in which they stand in it."""

    def __init__(self, folder: Callable[[], Path]) -> None:
        self._folder = folder
        self._made: dict[Path | int, Made] = {}

    @property
    def made(self) -> tuple[Made, ...]:
        return tuple(self._made.values())

    def named(self, value: Any) -> dict[str, str]:
        """What stands for a file in the JSON. Raises TypeError for anything else."""
        match value:
            case Path():
                file = File(value)
            case File():
                file = value
            case _:
                raise TypeError(f"there is no way to write an object of type {type(value).__name__}.")
        key = file.content if isinstance(file.content, Path) else id(file)
        if key not in self._made:
            *_, name = tidied([*(made.name for made in self._made.values()), file.name])
            self._made[key] = Made(name, self._on_disk(file, name), file.content_type or type_of(name))
        return {"attachment": self._made[key].name}

    def _on_disk(self, file: File, name: str) -> Path:
        if isinstance(file.content, bytes):
            folder = self._folder() / "returned"
            folder.mkdir(exist_ok=True)
            path = folder / name
            path.write_bytes(file.content)
            return path
        if not file.content.is_file():
            raise Unwritable(f"The handler returned the path {file.content}, and there is no such file.")
        return file.content


_NULL = msgspec.Raw(b"null")


class _Head(msgspec.Struct):
    usage: msgspec.Raw = _NULL


def _usage(body: bytes) -> bytes | None:
    try:
        usage = msgspec.json.decode(body, type=_Head).usage
    except msgspec.ValidationError:  # no object
        return None
    return None if usage == _NULL else bytes(usage)

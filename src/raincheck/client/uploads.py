"""Inputs of a video call, as people have them, to what the server takes: a link, a request's id, or a file's id."""

import re
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from openai import AsyncOpenAI, OpenAI, OpenAIError
from openai._types import FileTypes

from raincheck.client.video import Video

Input: TypeAlias = str | PathLike[str] | bytes | IO[bytes] | FileTypes | Video
"""A video that was made here or its id, a URL, a data URI, the id of an uploaded file, a path, bytes, an open file, or
what else openai takes for a file."""

KEPT = 86_400
"""Seconds after which the server forgets an upload that nobody could delete after the submit."""
_INPUTS = ("image", "reference_images", "video")
_URL = re.compile(r"(https?://|data:)", re.IGNORECASE)
_FILE_ID = re.compile(r"file[-_][0-9A-Za-z]+")
_REQUEST_ID = re.compile(r"(req|video)_[0-9A-Za-z_]+|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@contextmanager
def settled(client: OpenAI, body: Mapping[str, Any]) -> Generator[dict[str, Any]]:
    """The body with its inputs as the server takes them. What had to be uploaded is deleted on leaving: the request
    keeps what it needs. Raises ValueError for what is no input, OSError for a file that cannot be read."""
    inputs = _Inputs(body)
    ids = list[str]()
    try:
        for name, content in inputs.uploads:
            ids.append(client.files.create(file=(name, content), purpose="user_data", expires_after=_SOON).id)
        yield inputs.with_files(ids)
    finally:
        inputs.close()
        for file_id in ids:
            with suppress(OpenAIError):  # It expires by itself.
                client.files.delete(file_id)


@asynccontextmanager
async def asettled(client: AsyncOpenAI, body: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """The same for an async client."""
    inputs = _Inputs(body)
    ids = list[str]()
    try:
        for name, content in inputs.uploads:
            created = await client.files.create(file=(name, content), purpose="user_data", expires_after=_SOON)
            ids.append(created.id)
        yield inputs.with_files(ids)
    finally:
        inputs.close()
        for file_id in ids:
            with suppress(OpenAIError):
                await client.files.delete(file_id)


_SOON: Any = {"anchor": "created_at", "seconds": KEPT}


@dataclass(slots=True)
class _Upload:
    """Stands in a body where the id of a file will be."""

    number: int


@dataclass(slots=True)
class _Inputs:
    body: Mapping[str, Any]
    uploads: list[tuple[str, bytes | IO[bytes]]] = field(default_factory=list[tuple[str, bytes | IO[bytes]]])
    _opened: list[IO[bytes]] = field(default_factory=list[IO[bytes]])
    _taken: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        for name in _INPUTS:
            given = self.body.get(name)
            if given is None:
                continue
            if isinstance(given, list | tuple) and name == "reference_images":
                self._taken[name] = [self._take(name, each) for each in cast("list[Any]", given)]
            else:
                self._taken[name] = self._take(name, given)

    def with_files(self, ids: list[str]) -> dict[str, Any]:
        def filled(taken: Any) -> Any:
            if isinstance(taken, list):
                return [filled(each) for each in cast("list[Any]", taken)]
            return {"file_id": ids[taken.number]} if isinstance(taken, _Upload) else taken

        return {**self.body, **{name: filled(taken) for name, taken in self._taken.items()}}

    def close(self) -> None:
        for file in self._opened:
            file.close()

    def _take(self, name: str, given: Any) -> Any:
        match given:
            case Video():
                return {"request_id": given.id}
            case Mapping():
                return cast("Any", given)  # As the server takes it already.
            case str():
                return self._named(name, given)
            case PathLike():
                return self._open(Path(cast("PathLike[str]", given)))
            case bytes() | bytearray():
                return self._upload(name, bytes(given))
            case (str(filename), content, *_):  # As openai takes files: name, content, and what else it says of it.
                taken = self._take(name, content)
                if isinstance(taken, _Upload):
                    self.uploads[taken.number] = (filename, self.uploads[taken.number][1])
                return taken
            case _ if hasattr(given, "read"):
                return self._upload(Path(str(getattr(given, "name", name))).name, given)
            case _:
                raise ValueError(f"{name} cannot be a {type(given).__name__}; give a path, bytes, a URL or an id.")

    def _named(self, name: str, text: str) -> Any:
        if _URL.match(text):
            return {"url": text}
        if _FILE_ID.fullmatch(text):
            return {"file_id": text}
        if _REQUEST_ID.fullmatch(text):
            return {"request_id": text}
        with suppress(OSError):  # Such as a name too long to be one.
            if Path(text).is_file():
                return self._open(Path(text))
        raise ValueError(f"{name}: {text[:100]!r} is neither a URL nor an id, and there is no such file.")

    def _open(self, path: Path) -> _Upload:
        file = path.open("rb")
        self._opened.append(file)
        return self._upload(path.name, file)

    def _upload(self, name: str, content: bytes | IO[bytes]) -> _Upload:
        self.uploads.append((name, content))
        return _Upload(len(self.uploads) - 1)

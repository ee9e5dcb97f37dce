"""A file from the server to this machine's disk: whole or not at all, taken up again where a connection broke."""

import asyncio
import os
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkstemp
from typing import IO, Literal, cast
from urllib.parse import quote

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, AsyncStream, OpenAI, RequestOptions, Stream
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from raincheck.client.dialect import request_path, video_path

Variant = Literal["video", "thumbnail", "spritesheet"]
_ENDINGS = {"video/mp4": ".mp4", "video/webm": ".webm", "video/quicktime": ".mov", "image/webp": ".webp"}
_TRIES = 5
"""Connections in a row that brought no byte, before the trouble is the caller's."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A file at the server."""

    path: str
    name: str
    """What it is called here when only a folder was given; without an ending, it gets that of its type."""
    query: Mapping[str, str] = field(default_factory=dict[str, str])


def video_file(video_id: str, variant: Variant) -> Remote:
    name = video_id if variant == "video" else f"{video_id}-{variant}"
    return Remote(video_path(video_id, "/content"), name, {"variant": variant})


def attachment(request_id: str, name: str) -> Remote:
    return Remote(request_path(request_id, f"/attachments/{quote(name, safe='')}"), Path(name).name)


def download(client: OpenAI, remote: Remote, to: Path, *, progress: bool) -> Path:
    with _Fetch(remote, to) as fetch, _bar(remote.name, shown=progress) as tell:
        while not fetch.done:
            try:
                with client.get(
                    remote.path, cast_to=object, options=fetch.options(), stream=True, stream_cls=Stream[object]
                ) as stream:
                    fetch.begin(stream.response)
                    for piece in stream.response.iter_raw():
                        fetch.write(piece)
                        tell(fetch.size, fetch.total)
                    fetch.end()
            except (APIConnectionError, APIStatusError, httpx2.TransportError) as error:
                time.sleep(fetch.broken(error))
        return fetch.keep()


async def adownload(client: AsyncOpenAI, remote: Remote, to: Path, *, progress: bool) -> Path:
    with _Fetch(remote, to) as fetch, _bar(remote.name, shown=progress) as tell:
        while not fetch.done:
            try:
                async with await client.get(
                    remote.path, cast_to=object, options=fetch.options(), stream=True, stream_cls=AsyncStream[object]
                ) as stream:
                    fetch.begin(stream.response)
                    async for piece in stream.response.aiter_raw():
                        fetch.write(piece)
                        tell(fetch.size, fetch.total)
                    fetch.end()
            except (APIConnectionError, APIStatusError, httpx2.TransportError) as error:
                await asyncio.sleep(fetch.broken(error))
        return fetch.keep()


class _Fetch:
    """One download: what is there already, and what the server said of the whole."""

    def __init__(self, remote: Remote, to: Path) -> None:
        self.size = 0
        self.total: int | None = None
        self.done = False
        self._remote = remote
        self._to = to
        self._part: Path | None = None
        self._file: IO[bytes] | None = None
        self._etag: str | None = None
        self._type = ""
        self._fruitless = 0

    def __enter__(self) -> "_Fetch":
        # A name of its own, made new: two downloads may be under way in one folder, and others may write there too.
        folder = self._to if self._to.is_dir() else self._to.parent
        handle, name = mkstemp(prefix=".", suffix=".part", dir=folder)
        self._part, self._file = Path(name), os.fdopen(handle, "wb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def options(self) -> RequestOptions:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if self.size and self._etag:
            headers |= {"Range": f"bytes={self.size}-", "If-Range": self._etag}
        return {"headers": headers, "params": self._remote.query, "max_retries": 0}

    def begin(self, response: httpx2.Response) -> None:
        file = cast("IO[bytes]", self._file)
        if response.status_code != 206:
            self.size = 0
            file.seek(0)
            file.truncate()
        length = response.headers.get("content-length")
        self.total = None if length is None else self.size + int(length)
        self._etag = response.headers.get("etag")
        self._type = response.headers.get("content-type", "").partition(";")[0]

    def write(self, piece: bytes) -> None:
        cast("IO[bytes]", self._file).write(piece)
        self.size += len(piece)
        self._fruitless = 0

    def end(self) -> None:
        if self.total is not None and self.size < self.total:
            raise httpx2.RemoteProtocolError(f"the file ended after {self.size} of {self.total} bytes")
        self.done = True

    def broken(self, error: Exception) -> float:
        """Seconds until the next connection may do better. Raises the error again when none will."""
        final = isinstance(error, APIStatusError) and error.status_code < 500 and error.status_code not in (408, 429)
        self._fruitless += 1
        if final or self._fruitless >= _TRIES:
            raise error
        return 0.25 * 2.0**self._fruitless

    def keep(self) -> Path:
        cast("IO[bytes]", self._file).close()
        part = cast("Path", self._part)
        part.chmod(0o666 & ~_umask())
        if not self._to.is_dir():
            return part.replace(self._to)
        name = self._remote.name
        return part.replace(self._to / (name if Path(name).suffix else name + _ENDINGS.get(self._type, ".bin")))


def _umask() -> int:
    """What new files of this process may not be; it can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def _bar(name: str, *, shown: bool) -> Generator[Callable[[int, int | None], None]]:
    console = Console(stderr=True)
    if not shown or not (console.is_terminal or console.is_jupyter):
        yield lambda _, __: None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(24),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        transient=True,
    ) as bar:
        task = bar.add_task(name, total=None)
        yield lambda size, total: bar.update(task, completed=size, total=total)

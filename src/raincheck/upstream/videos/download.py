"""From a job's file at its server to a file on this disk: streamed, bounded, taken up again where it broke off."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
from yarl import URL

from raincheck.core import clock
from raincheck.core.clock import SECOND
from raincheck.core.outcome import Failure, FailureKind
from raincheck.upstream.openai import failures
from raincheck.upstream.videos.patience import NewPatience, Patience
from raincheck.upstream.videos.wire import TROUBLE, JobWire

_PIECE = 1 << 20
_GONE = frozenset({404, 410})


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """The file is at another address, as with a bucket's signed link."""

    url: str


class Gone:
    """The server has no such file any more."""


class Download:
    """One file on its way."""

    def __init__(self, wire: JobWire, name: str, path: str, *, largest: int, patience: NewPatience) -> None:
        self._wire = wire
        self._name = name
        self._path = path
        self._largest = largest
        self._patience = patience
        self._etag: str | None = None
        """What the bytes so far belong to; None when they cannot be gone on with."""
        self._have = self._farthest = 0

    async def to(self, file: Path) -> Failure | Elsewhere | Gone | None:
        """None when the whole of it is there. Trouble is endured until nothing came for too long."""
        patience = self._patience()
        absent = 0
        with await asyncio.to_thread(file.open, "wb") as out:
            while True:
                try:
                    found = await self._try(out, patience)
                except TROUBLE as error:
                    found = failures.broke(self._name, error)
                except _NoRoom as error:
                    return failures.transient(self._name, "scratch_full", f"sent a video that found no room: {error}.")
                absent = absent + 1 if isinstance(found, Gone) else 0
                if absent == 1:  # One of several servers behind an address may not have heard of it yet.
                    await asyncio.sleep(patience.pause() or 0)
                    continue
                if not isinstance(found, Failure) or found.kind is FailureKind.REJECTED:
                    return found
                pause = patience.pause((found.retry_after or 0) / SECOND)
                if pause is None:
                    return Failure(FailureKind.TRANSIENT, found.error)
                await asyncio.sleep(pause)

    async def _try(self, out: BinaryIO, patience: Patience) -> Failure | Elsewhere | Gone | None:
        start = self._have if self._etag is not None else 0
        async with self._wire.film(self._path, start=start, same=self._etag) as response:
            if 300 <= response.status < 400 and (location := response.headers.get("location")):
                return Elsewhere(str(response.url.join(URL(location))))
            if response.status in _GONE:
                return Gone()
            if response.status == 416:
                self._etag = None  # It does not fit what we have: from the beginning.
                return failures.transient(self._name, "upstream_disconnected", "has no more of the video.")
            if not 200 <= response.status < 300:
                body = await response.content.read(failures.KEPT)
                return failures.answered(self._name, response.status, response.headers, body, now=clock.now())
            if not (response.status == 206 and _begins_at(response.headers, start)):
                start = 0
            return await self._take(response, out, start, patience)

    async def _take(
        self, response: aiohttp.ClientResponse, out: BinaryIO, start: int, patience: Patience
    ) -> Failure | None:
        etag = response.headers.get("etag", "")
        self._etag = etag if etag.startswith('"') and response.headers.get("accept-ranges") != "none" else None
        if start + (response.content_length or 0) > self._largest:
            return failures.too_large(self._name, self._largest)
        await asyncio.to_thread(_cut, out, start)
        self._have = start
        async for piece in response.content.iter_chunked(_PIECE):
            self._have += len(piece)
            if self._have > self._farthest:  # One that breaks off at the same place each time gets nowhere.
                self._farthest = self._have
                patience.heard()
            if self._have > self._largest:
                return failures.too_large(self._name, self._largest)
            await asyncio.to_thread(_write, out, piece)
        return None


class _NoRoom(Exception):
    """The disk took no more."""


def _write(out: BinaryIO, piece: bytes) -> None:
    try:
        out.write(piece)
        out.flush()
    except OSError as error:
        raise _NoRoom(error.strerror) from error


def _cut(out: BinaryIO, length: int) -> None:
    try:
        out.seek(length)
        out.truncate()
    except OSError as error:
        raise _NoRoom(error.strerror) from error


def _begins_at(headers: Mapping[str, str], start: int) -> bool:
    return headers.get("content-range", "").startswith(f"bytes {start}-")

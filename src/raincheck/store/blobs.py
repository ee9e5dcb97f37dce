"""The object store: takes the URL of a folder or a bucket, hands on a BlobStore that keeps bodies under names.

A name is never written again with other bytes, so whoever reads a piece at a time reads one body. Every method may
raise StoreUnavailable: the object store cannot be reached, refuses, or is full.
"""

import asyncio
import os
import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store

from raincheck.core.errors import NotFound, SettingsInvalid, StoreUnavailable
from raincheck.core.ids import new_id

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

PIECE = 2 << 20
"""Bytes read at once. Each piece is a read of its own, so that a slow reader holds no connection to a bucket."""
PART = 8 << 20
"""Bytes of one part of an upload: what is larger goes up in parts, two at a time."""
UNTYPED = "application/octet-stream"
LONGEST_WORDS = 300
MARK = ".raincheck"
"""A file at the top of each folder that is in use. Without it the folder is not ours: the disk that should be mounted
there has gone, and what was found to be missing is only out of reach."""

# An outage is told within seconds: whoever writes tries again by itself, and whoever reads can come back.
RETRIES: "RetryConfig" = {"max_retries": 2, "retry_timeout": timedelta(seconds=10)}
# Plain HTTP is only for an endpoint that was named with http://, such as a MinIO next door; AWS itself is always HTTPS.
CLIENT: "ClientConfig" = {
    "allow_http": True,
    "connect_timeout": timedelta(seconds=5),
    "timeout": timedelta(seconds=60),
}


class BlobStore(ABC):
    """Bodies by name."""

    def __init__(self, objects: LocalStore | S3Store) -> None:
        self._objects = objects

    @abstractmethod
    async def put(self, name: str, data: bytes | AsyncIterable[bytes], *, content_type: str = UNTYPED) -> None:
        """Keep a body, whole or in pieces as they come; when this returns it survives a power cut. All or nothing."""

    async def size(self, name: str) -> int:
        """How many bytes a body has. Raises NotFound."""
        try:
            return (await obstore.head_async(self._objects, name))["size"]
        except (BaseError, FileNotFoundError) as error:
            raise await self._meaning(error, name) from error

    async def read(self, name: str, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` up to `end` (None: to the last), in pieces of bounded size. Raises NotFound."""
        stop = await self.size(name) if end is None else end
        for at in range(start, stop, PIECE):
            wanted = min(PIECE, stop - at)
            try:
                piece = await obstore.get_range_async(self._objects, name, start=at, length=wanted)
            except (BaseError, FileNotFoundError) as error:
                raise await self._meaning(error, name) from error
            if len(piece) != wanted:
                raise NotFound(f"{name} ends before byte {stop}.")
            yield bytes(piece)

    @abstractmethod
    async def delete(self, names: Sequence[str]) -> None:
        """Forget bodies. One that is not there is forgotten already."""

    @abstractmethod
    async def sign(self, name: str, *, expires_in: int) -> str | None:
        """A link to a body that anyone may follow for `expires_in` microseconds; None where nobody could."""

    async def check(self) -> None:
        """Write, read and delete a small body. Raises StoreUnavailable with what the object store said, and advice."""
        name = f"check/{new_id('check')}"
        try:
            await self.put(name, name.encode())
            async for _ in self.read(name):
                pass
            await self.delete([name])
        except (StoreUnavailable, NotFound) as error:
            raise StoreUnavailable(self.advice(in_short(error.__cause__ or error))) from error

    async def _meaning(self, error: Exception, name: str) -> NotFound | StoreUnavailable:
        """Of an error while reading: that there is nothing by this name, or an outage."""
        if isinstance(error, FileNotFoundError) and await self._is_there(error, name):
            return NotFound(f"The object store has nothing by the name {name}.")
        return _unavailable()

    @abstractmethod
    async def _is_there(self, error: FileNotFoundError, name: str) -> bool:
        """Whether the object store was there, and only the body was not. One that is gone may come back with all that
        it held."""

    @abstractmethod
    def advice(self, said: str) -> str:
        """What to tell an operator about an error that said this."""


class Bucket(BlobStore):
    """Bodies as objects in a bucket of S3, or of a server that speaks like it."""

    def __init__(self, objects: S3Store) -> None:
        super().__init__(objects)
        self._bucket = objects

    async def put(self, name: str, data: bytes | AsyncIterable[bytes], *, content_type: str = UNTYPED) -> None:
        # What a signed link will say it is. An upstream may call its answer anything, even what no header can carry.
        told = content_type if content_type.isascii() and content_type.isprintable() else UNTYPED
        try:
            await obstore.put_async(
                self._bucket, name, data, attributes={"Content-Type": told}, chunk_size=PART, max_concurrency=2
            )
        except (BaseError, FileNotFoundError) as error:
            raise _unavailable() from error

    async def delete(self, names: Sequence[str]) -> None:
        try:
            await obstore.delete_async(self._bucket, list(names))
        except (BaseError, FileNotFoundError) as error:
            # Deleting what is not there is no error in a bucket: what was not found is the bucket.
            raise _unavailable() from error

    async def sign(self, name: str, *, expires_in: int) -> str | None:
        try:
            return await obstore.sign_async(self._bucket, "GET", name, timedelta(microseconds=expires_in))
        except BaseError as error:
            raise _unavailable() from error

    async def _is_there(self, error: FileNotFoundError, name: str) -> bool:
        del name
        return "NoSuchBucket" not in str(error)

    def advice(self, said: str) -> str:
        return (
            f"The bucket for big results (store.blobs) cannot be used: {said}. Check its name, AWS_ACCESS_KEY_ID, "
            "AWS_SECRET_ACCESS_KEY and AWS_REGION, and AWS_ENDPOINT_URL for a server of your own; the key must be "
            "allowed to put, get and delete objects."
        )


class Folder(BlobStore):
    """Bodies as files in a folder of this machine, or of a disk that all machines share."""

    def __init__(self, folder: Path) -> None:
        super().__init__(LocalStore(folder))
        self._folder = folder
        self._mark = folder / MARK

    async def put(self, name: str, data: bytes | AsyncIterable[bytes], *, content_type: str = UNTYPED) -> None:
        del content_type  # A file has none.
        try:
            # Else the folder would be made again where it has gone from.
            await asyncio.to_thread(self._mark.stat)
        except OSError as error:
            raise _unavailable() from error
        try:
            await obstore.put_async(self._objects, name, data, chunk_size=PART, max_concurrency=2)
        except (BaseError, FileNotFoundError) as error:
            raise _unavailable() from error
        try:
            # The file is whole and has its name, but the disk may not have heard of either yet.
            await asyncio.to_thread(self._flush, name)
        except OSError as error:
            raise _unavailable() from error

    async def delete(self, names: Sequence[str]) -> None:
        try:
            await asyncio.to_thread(self._unlink, names)
        except OSError as error:
            raise _unavailable() from error

    async def sign(self, name: str, *, expires_in: int) -> str | None:
        del name, expires_in
        return None

    async def _is_there(self, error: FileNotFoundError, name: str) -> bool:
        del error
        # A body that can be seen now was only away, with the disk that has just come back.
        return await asyncio.to_thread(lambda: self._mark.exists() and not (self._folder / name).exists())

    def advice(self, said: str) -> str:
        return (
            f"The folder for big results (store.blobs) cannot be used: {said}. Make room on its disk, let this user "
            "write to it, or name another."
        )

    def _flush(self, name: str) -> None:
        path = self._folder / name
        _sync(path)
        while path != self._folder:
            path = path.parent
            _sync(path)
        self._mark.stat()  # Still: a disk that went in between has not got it.

    def _unlink(self, names: Sequence[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)
            # Of a write that a crash cut short, the bytes are left under the name and a number.
            numbers = count(1)
            while (left := self._folder / f"{name}#{next(numbers)}").exists():
                left.unlink()
        self._mark.stat()  # Where the disk has gone, there was nothing to delete, but there will be.


def open_blobs(url: str) -> BlobStore:
    """The object store at `file:///folder` (made, for its owner alone, when it is not there) or `s3://bucket/prefix`.

    How to reach S3, and its keys, stand in the usual AWS_… variables. Nothing is asked of it yet: see `check`. Raises
    SettingsInvalid.
    """
    parts = urlsplit(url)
    match parts.scheme:
        case "file" if not parts.netloc and parts.path.strip("/"):
            return _open_folder(Path(unquote(parts.path)))
        case "s3" if parts.netloc:
            return _open_bucket(parts.netloc, unquote(parts.path.strip("/")))
        case _:
            raise SettingsInvalid(f"store.blobs must be file:///folder or s3://bucket/prefix, not {url!r}.")


def in_short(error: BaseException) -> str:
    """The first line of what went wrong, and the name S3 gives it; more would be XML, with keys in it."""
    words = re.split(r"[\n<]", str(error), maxsplit=1)[0].strip(" .:")[:LONGEST_WORDS]
    code = re.search(r"<Code>(\w+)</Code>", str(error))
    return f"{words}: {code[1]}" if code else words


def _open_folder(folder: Path) -> BlobStore:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for each in folder.parents:  # Any of them may be new.
            with suppress(PermissionError):
                _sync(each)
        with suppress(FileExistsError):  # It may be another user's.
            (folder / MARK).touch(exist_ok=False)
        return Folder(folder)
    except (BaseError, OSError) as error:
        raise SettingsInvalid(
            f"The folder for big results, {folder}, cannot be made: {getattr(error, 'strerror', None) or error}. "
            "Let this user write there, or name another with store.blobs."
        ) from error


def _open_bucket(bucket: str, prefix: str) -> BlobStore:
    try:
        return Bucket(S3Store(bucket, prefix=prefix or None, client_options=CLIENT, retry_config=RETRIES))
    except (BaseError, ValueError) as error:
        raise SettingsInvalid(
            f"The bucket for big results, {bucket}, cannot be used: {in_short(error)}. Check the AWS_… variables."
        ) from error


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _unavailable() -> StoreUnavailable:
    """What callers are told says nothing of endpoints and buckets; the cause does, to those who look after them."""
    return StoreUnavailable("The object store cannot be used just now; try again.", retry_after=5)

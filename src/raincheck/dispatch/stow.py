"""Takes outcomes on their way to the record, puts files and big answers into the object store, hands on their names."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from msgspec import structs

from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Attachment, Fence, Finish
from raincheck.core.outcome import Made, Reply, Succeeded
from raincheck.store.blobs import BlobStore
from raincheck.store.keeping import keep
from raincheck.store.protocol import Blobs
from raincheck.upstream.naming import in_ascii, tidied

BIG = 1 << 20
"""Bytes above which an answer does not go into the record. A database writes what it is given twice (log and table),
copies it into every backup and pushes hotter rows out of memory for it; below this size that costs less than another
call to an object store does."""

KEEP_FOR = 7 * DAY
"""Microseconds after which a body that no finish has referred to is collected: longer than any write takes, and soon
enough for what a crash leaves behind."""

SETTLED_AFTER = 10 * SECOND
"""The same for one whose writing was cut off: its last bytes may still be on their way."""

PIECE = 1 << 20
"""Bytes of a file that are in memory at once."""

AT_ONCE = 4
"""How many bodies are put away at the same time; each takes some 16 MiB while it is."""

LONGEST_LEAF = 80

T = TypeVar("T")


class Unreadable(Exception):
    """A file that was made cannot be read: another try has to make it again."""


class Stow:
    """Where an attempt puts what is too big for the record, before it is recorded."""

    def __init__(
        self, names: Blobs, objects: BlobStore, *, troubled: Callable[[StoreUnavailable | None], None] = lambda _: None
    ) -> None:
        self._names = names
        self._objects = objects
        self._troubled = troubled
        """Told of the error when the object store stops taking bodies, and of None when it takes them again."""
        self._in_trouble = False
        self._places = asyncio.Semaphore(AT_ONCE)

    async def put(self, finish: Finish) -> Finish:
        """The same outcome, with its files and its big answer put away.

        Raises Unreadable; StoreUnavailable while the object store or the store cannot take it, to be tried again: the
        files must be there until then. However else it ends, also when it is cancelled, nothing of it is kept.
        """
        if not is_bulky(finish) or not isinstance(finish.outcome, Succeeded):
            return finish
        begun = list[str]()
        try:
            reply = await self._put(finish.outcome.reply, finish.fence, begun)
        except StoreUnavailable:
            raise
        except BaseException:
            await self._doom(begun, SETTLED_AFTER)
            raise
        return structs.replace(finish, outcome=Succeeded(reply))

    async def drop(self, finish: Finish) -> None:
        """What was put away for an outcome that turned out to be nobody's goes again. Anything that was recorded after
        all stays."""
        if isinstance(finish.outcome, Succeeded):
            reply = finish.outcome.reply
            blobs = [each.blob for each in reply.attachments]
            await self._doom(blobs if reply.blob is None else [*blobs, reply.blob], 0)

    async def _put(self, reply: Reply, fence: Fence, begun: list[str]) -> Reply:
        if reply.made:
            # One file after the other, so that many of them take no more memory than one.
            names = tidied(each.name for each in reply.made)
            kept = [
                await self._file(attachment_blob(fence, number, name), name, made, begun)
                for number, (name, made) in enumerate(zip(names, reply.made, strict=True), 1)
            ]
            reply = replace(reply, made=(), attachments=tuple(kept))
        if len(reply.body) > BIG:
            blob = blob_name(fence)
            put = partial(self._objects.put, blob, reply.body, content_type=reply.content_type)
            await self._keep(blob, put, begun)
            reply = replace(reply, body=b"", blob=blob, size=len(reply.body))
        return reply

    async def _file(self, blob: str, name: str, made: Made, begun: list[str]) -> Attachment:
        put = partial(keep, self._objects, blob, _pieces(made.path), content_type=made.content_type)
        try:
            measures = await self._keep(blob, put, begun)
        except OSError as error:
            raise Unreadable(f"{name} was made and cannot be read: {error.strerror or error}.") from error
        return Attachment("output", name, blob, made.content_type, measures.size, measures.digest)

    async def _keep(self, blob: str, put: Callable[[], Awaitable[T]], begun: list[str]) -> T:
        async with self._places:
            # Noted before it is written, so that a body which no finish refers to is found and collected.
            await self._names.expect(blob, keep_for=KEEP_FOR)
            begun.append(blob)
            with self._watched():
                return await put()

    @contextmanager
    def _watched(self) -> Generator[None]:
        try:
            yield
        except StoreUnavailable as error:
            if not self._in_trouble:
                self._in_trouble = True
                self._troubled(error)
            raise
        if self._in_trouble:
            self._in_trouble = False
            self._troubled(None)

    async def _doom(self, blobs: Sequence[str], keep_for: int) -> None:
        with suppress(StoreUnavailable):  # They will be found when their time is over.
            for blob in blobs:
                await self._names.expect(blob, keep_for=keep_for)


def is_bulky(finish: Finish) -> bool:
    """Whether there is anything to put away."""
    return makes_files(finish) or (isinstance(finish.outcome, Succeeded) and len(finish.outcome.reply.body) > BIG)


def makes_files(finish: Finish) -> bool:
    """Whether there are files to put away."""
    return isinstance(finish.outcome, Succeeded) and bool(finish.outcome.reply.made)


def blob_name(fence: Fence) -> str:
    """Where an answer is kept: elsewhere for each claim, so that a late worker never writes over the owner's."""
    return f"results/{fence.request_id}.{fence.number}"


def attachment_blob(fence: Fence, number: int, name: str) -> str:
    """Where the file of this number is kept. No folder for each attempt, for nobody would remove it; and the end of the
    name alone, since a file name may have 255 letters."""
    return f"attachments/{fence.request_id}.{fence.number}.{number}.{in_ascii(name)[-LONGEST_LEAF:]}"


async def _pieces(path: Path) -> AsyncGenerator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE):
            yield piece

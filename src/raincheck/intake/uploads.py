"""Takes what callers send or name as inputs, hands on attachments whose bodies are in the object store.

What comes inside a call goes there as it arrives and is never whole in memory; what is there already, a file or the
video of a request, is shared.
"""

import asyncio
import binascii
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from raincheck.core.clock import DAY, Clock
from raincheck.core.errors import (
    AttachmentGone,
    BadInput,
    MediaRefused,
    NoObjectStore,
    NotFound,
    StoreUnavailable,
    TooLarge,
)
from raincheck.core.ids import new_id
from raincheck.core.model import Attachment
from raincheck.core.status import Status
from raincheck.intake.links import Links, Named
from raincheck.store.blobs import UNTYPED, BlobStore
from raincheck.store.keeping import keep
from raincheck.store.protocol import Blobs, Files, Requests
from raincheck.upstream.media.sniff import HEAD, kind_of

UPLOAD_SILENCE = 60.0
"""Seconds for which none of an upload may come."""
UPLOAD_PACE = 16 << 10
"""Bytes a second that an upload comes with at least, after those first seconds."""
KEEP_FOR = DAY
"""Microseconds that a body is kept for without anything that refers to it: longer than any upload takes."""

Look = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Kept:
    """A body that has just been put into the object store."""

    blob: str
    size: int
    digest: str
    """SHA-256, in hex."""
    head: bytes
    """Its first bytes."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """Where inputs come in."""

    blobs: Blobs
    objects: BlobStore | None
    files: Files
    requests: Requests
    links: Links
    clock: Clock
    max_bytes: int

    async def receive(self, name: str, pieces: AsyncIterable[bytes], *, filename: str | None = None) -> Attachment:
        """An input that comes inside the call. Raises MediaRefused for what is no picture, video or sound, as soon as
        that can be seen; TooLarge, NoObjectStore, StoreUnavailable."""
        kept = await self.keep(pieces, content_type=UNTYPED, look=lambda head: _kind(head, name, filename))
        return Attachment("input", name, kept.blob, _kind(kept.head, name, filename), kept.size, kept.digest)

    async def from_data_uri(self, name: str, uri: str) -> Attachment:
        """An input that is written out in a text, as in `data:image/png;base64,…`. Raises BadInput, and as `receive`
        does."""
        # The texts are long: nobody else shall wait for them.
        data = await asyncio.to_thread(_decode, uri, name)
        return await self.receive(name, _one(data))

    async def from_file(self, tenant: str, name: str, file_id: str) -> Attachment:
        """A file that this tenant has uploaded. Raises NotFound, AttachmentGone, MediaRefused; TooLarge, as files may
        be larger than inputs."""
        file = await self.files.get(tenant, file_id)
        if file.size > self.max_bytes:
            raise TooLarge(f"{name} ({file_id}) has {file.size} bytes; an input may have {self.max_bytes}.", param=name)
        head = await self._head(file.blob, file.size)
        return Attachment("input", name, file.blob, _kind(head, name, file_id), file.size, file.digest)

    async def from_request(self, tenant: str, name: str, request_id: str, output: str | None = None) -> Attachment:
        """An output of another of this tenant's requests: the one of this name, else its video.

        Raises NotFound, ResultGone, BadInput when there is none.
        """
        result = await self.requests.result(tenant, request_id)
        if result is None:
            status = (await self.requests.get(tenant, request_id)).status
            how = f"ended as {status}" if status.final and status is not Status.COMPLETED else f"is still {status}"
            raise BadInput(f"{request_id} {how}: it has no file that could be used.", param=name)
        for made in result.attachments:
            if made.name == output or (output is None and made.content_type.startswith("video/")):
                return Attachment("input", name, made.blob, made.content_type, made.size, made.digest)
        raise BadInput(f"{request_id} has made no {output or 'video'} that could be used.", param=name)

    def own_link(self, url: str) -> Named | None:
        """What a link of this server's own leads to, whatever host it names: it is never fetched. Raises AttachmentGone
        when its time is over."""
        return self.links.own(url, self.clock())

    async def keep(
        self,
        pieces: AsyncIterable[bytes],
        *,
        content_type: str = UNTYPED,
        look: Look = lambda _: None,
        at_most: int | None = None,
    ) -> Kept:
        """Put a body into the object store, where it is kept for a day unless something refers to it by then.

        `look` is shown the first bytes before the rest is taken, and may raise what shall end it. `at_most`: the bytes
        it may have, when that is not what an input may. Raises TooLarge as soon as it is, NoObjectStore,
        StoreUnavailable.
        """
        if self.objects is None:
            raise NoObjectStore
        blob = new_id("uploads/blob")
        await self.blobs.expect(blob, keep_for=KEEP_FOR)
        body = _Body(pieces, self.max_bytes if at_most is None else at_most, look)
        try:
            measures = await keep(self.objects, blob, body.looked_at(), content_type=content_type)
        except BaseException:  # Also when whoever sends it has left.
            await self.drop(blob)
            raise
        return Kept(blob, measures.size, measures.digest, bytes(body.head))

    async def drop(self, *blobs: str) -> None:
        """Let go of bodies that were put for nothing, as when the request they came with was refused; those that
        something refers to stay."""
        with suppress(StoreUnavailable):  # They will be found when their time is over.
            for blob in blobs:
                await self.blobs.expect(blob, keep_for=0)

    async def _head(self, blob: str, size: int) -> bytes:
        if self.objects is None:
            raise NoObjectStore
        try:
            return b"".join([piece async for piece in self.objects.read(blob, end=min(size, HEAD))])
        except NotFound as error:
            raise AttachmentGone from error


class _Body:
    """Sees to it that a body is not too large, and what it begins with."""

    def __init__(self, pieces: AsyncIterable[bytes], max_bytes: int, look: Look) -> None:
        self._pieces = pieces
        self._max_bytes = max_bytes
        self._look = look
        self.head = bytearray()

    async def looked_at(self) -> AsyncGenerator[bytes]:
        seen, size = False, 0
        async for piece in self._pieces:
            size += len(piece)
            if size > self._max_bytes:
                raise TooLarge(f"The file has more than {self._max_bytes} bytes, which is all that is accepted.")
            if not seen:
                self.head += piece[: HEAD - len(self.head)]
                if seen := len(self.head) == HEAD:
                    self._look(bytes(self.head))
            yield piece
        if not seen:
            self._look(bytes(self.head))


def _kind(head: bytes, name: str, which: str | None) -> str:
    """The content type of an input by its first bytes; `which` file was given for it. Raises MediaRefused."""
    called = f"{name} ({which})" if which else name
    if not head:
        raise MediaRefused(f"{called} is empty.", param=name)
    if (kind := kind_of(head)) is None:
        raise MediaRefused(
            f"{called} is no picture, video or sound of a known kind. Send PNG, JPEG, WebP, GIF, MP4, MOV or WebM; "
            "playlists and pages are not followed.",
            param=name,
        )
    return kind


def _decode(uri: str, name: str) -> bytes:
    head, comma, text = uri.partition(",")
    if not comma or not head.lower().startswith("data:"):
        raise BadInput(f"`{name}` is no data URI; one begins as in data:image/png;base64,", param=name)
    if not head.lower().endswith(";base64"):
        return unquote_to_bytes(text)
    try:
        return b64decode(unquote_to_bytes(text) if "%" in text else text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(f"`{name}` is a data URI whose base64 is broken.", param=name) from None


async def _one(data: bytes) -> AsyncGenerator[bytes]:
    """A body that is there already, in pieces that are handed over one at a time."""
    for start in range(0, len(data), 1 << 20):
        yield data[start : start + (1 << 20)]

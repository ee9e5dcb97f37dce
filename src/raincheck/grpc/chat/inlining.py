"""Takes files that a chat names or brings, hands on their bytes as parts of a message: an upstream has no other way to
them."""

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass
from functools import partial
from urllib.parse import unquote_to_bytes

from raincheck.core.errors import AttachmentGone, BadInput, NotFound, TooLarge
from raincheck.core.responses import Json, aside
from raincheck.grpc.call import Call
from raincheck.intake.files import fit_type
from raincheck.store.blobs import UNTYPED
from raincheck.upstream.media.sniff import HEAD, kind_of

MOST = 20 << 20
"""Bytes of all the files of one chat."""
MOST_ESCAPES = 1 << 20
"""Bytes of a data URI that may be spelled as %41 is: each takes a hundredfold of its room while it is read."""


@dataclass(frozen=True, slots=True)
class Inlined:
    """A file with its bytes."""

    name: str
    data: bytes
    content_type: str
    """As its sender says; nothing depends on it but what the upstream is told."""

    async def part(self) -> Json:
        """The part of a message that shows it: a picture, its text under its name, or the file as it is."""
        return await aside(len(self.data), self._part)

    def _part(self) -> Json:
        kind = kind_of(self.data[:HEAD])
        if kind is not None and kind.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": _data_uri(self.data, kind)}}
        if kind is None and (text := _text(self.data)) is not None:
            return {"type": "text", "text": f"{self.name}:\n\n{text}"}
        told = _data_uri(self.data, kind or self.content_type)
        return {"type": "file", "file": {"filename": self.name, "file_data": told}}


class Inlining:
    """The files of one chat; what they have together is bounded."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.taken = 0
        """Bytes of those there were so far."""

    async def uploaded(self, file_id: str, param: str) -> Inlined:
        """A file that the caller's tenant has uploaded. Raises ScopeMissing, NotFound, AttachmentGone, TooLarge,
        StoreUnavailable."""
        edge = self._call.edge
        tenant = await self._call.caller("read")  # The answer may tell all that is in it.
        try:
            file = await edge.store.files.get(tenant.name, file_id)
        except NotFound:
            raise NotFound(f"There is no file {file_id[:80]!r}; upload it first.", param=param) from None
        self._take(file.size, param)
        pieces = edge.desk.read(file.blob, 0, file.size, gone=AttachmentGone(param=param))
        return Inlined(file.filename, b"".join([piece async for piece in pieces]), file.content_type)

    def sent(self, data: bytes, filename: str, content_type: str, param: str) -> Inlined:
        """A file whose bytes came with the chat. Raises TooLarge."""
        self._take(len(data), param)
        return Inlined(filename or "file", data, fit_type(content_type))

    async def written(self, uri: str, filename: str, param: str) -> Inlined:
        """A file that is written out as a data URI. Raises BadInput, also for any other URL; TooLarge."""
        head, comma, text = uri.partition(",")
        if not comma or head[:5].lower() != "data:":
            raise BadInput(
                f"`{param}`: files are not fetched from URLs here. Upload it (client.files.upload) and send its id, or "
                "send its bytes.",
                param=param,
            )
        kind, *how = head[5:].split(";")
        data = await aside(len(text), partial(_written_out, text, param, base64="base64" in how))
        return self.sent(data, filename, kind or UNTYPED, param)

    def _take(self, size: int, param: str) -> None:
        self.taken += size
        if self.taken > MOST:
            raise TooLarge(f"The files of one chat may have {MOST >> 20} MiB together; send less.", param=param)


def _written_out(text: str, param: str, *, base64: bool) -> bytes:
    """The bytes after the comma of a data URI. Raises BadInput."""
    if text.count("%") > MOST_ESCAPES:
        raise BadInput(f"`{param}` is a data URI with more than {MOST_ESCAPES} escapes; send base64.", param=param)
    data = unquote_to_bytes(text)
    try:
        return b64decode(data, validate=True) if base64 else data
    except binascii.Error:
        raise BadInput(f"`{param}` is a data URI whose base64 is broken.", param=param) from None


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(data).decode()}"


def _text(data: bytes) -> str | None:
    """What can be shown as text: a PDF may be plain ASCII and is none."""
    if b"\0" in data or data.startswith(b"%PDF-"):
        return None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None

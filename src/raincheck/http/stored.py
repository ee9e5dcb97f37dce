"""Takes a body in the object store, hands on its bytes as they are read: all of them, or those that are asked for."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from urllib.parse import quote

from litestar.types import Receive, Scope, Send

from raincheck.core.errors import AttachmentGone, PreconditionFailed, RaincheckError, RangeUnsatisfiable, ResultGone
from raincheck.core.model import Result
from raincheck.http.presence import ClientGone, while_present
from raincheck.http.problems import problem_of
from raincheck.http.ranges import has_it, meant, span_of
from raincheck.intake.retrieve import Desk
from raincheck.store.blobs import UNTYPED

Headers = Sequence[tuple[str, str]]

HARMLESS = (
    "content-security-policy",
    (
        "sandbox allow-same-origin; default-src 'none'; media-src 'self'; img-src 'self'; style-src 'unsafe-inline'; "
        "frame-ancestors 'none'"
    ),
)
"""What others made, opened as a page of this server, can run nothing and reach nothing but this server. (In a sandbox
without an origin nothing is `'self'`, and the link to a video would not play.)"""
_SHOWN = ("video/", "audio/", "image/", "text/plain", "application/json")
"""What a browser may show by itself; all else is to be saved. (A PDF would need more than HARMLESS allows.)"""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A whole answer that is never whole in memory: the next piece is read when the client has taken the last."""

    read: Callable[[int, int], AsyncGenerator[bytes]]
    """The bytes from a start up to an end."""
    size: int
    etag: str
    content_type: str
    headers: Headers = ()
    status: int = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = dict(scope["headers"]) if self.status == 200 else {}
        if not meant(asked, self.etag):
            problem = replace(problem_of(PreconditionFailed()), headers=tuple(self._told()))
            await problem.answer(scope["path"])(scope, receive, send)
            return
        if has_it(asked, self.etag):
            await send({"type": "http.response.start", "status": 304, "headers": _encoded(self._told())})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        try:
            span = span_of(asked, self.size, self.etag)
        except RangeUnsatisfiable as error:
            problem = replace(problem_of(error), headers=(("content-range", f"bytes */{self.size}"), *self._told()))
            await problem.answer(scope["path"])(scope, receive, send)
            return
        start, end = span or (0, self.size)
        told = [("content-type", _sane(self.content_type)), ("content-length", str(end - start)), *self._told()]
        if span is not None:
            told.append(("content-range", span.told(self.size)))
        head = (206 if span is not None else self.status), _encoded(told)
        with suppress(ClientGone):  # Whether the answer has begun or not, there is nobody to tell.
            await while_present(receive, _send(send, self.read(start, end), *head))

    def _told(self) -> Headers:
        ranged = (("accept-ranges", "bytes"), ("etag", self.etag)) if self.status == 200 else ()
        return (*ranged, HARMLESS, *self.headers)


def result_answer(desk: Desk, result: Result, headers: Headers) -> StoredAnswer:
    """A result whose body is in the object store."""
    blob, size = result.blob, result.size
    assert blob is not None and size is not None  # noqa: S101, PT018
    gone = ResultGone("The result is not in the object store any more; submit the request again.")
    # A blob has one body for ever, so its name is as good as a hash of that.
    etag = f'"{sha256(blob.encode()).hexdigest()[:32]}"'
    return StoredAnswer(
        lambda start, end: desk.read(blob, start, end, gone=gone),
        size,
        etag,
        result.content_type,
        headers,
        result.status,
    )


def file_answer(
    desk: Desk, *, blob: str, size: int, digest: str, content_type: str, filename: str, headers: Headers = ()
) -> StoredAnswer:
    """A file: what a request made or was given, or what was uploaded."""
    return StoredAnswer(
        lambda start, end: desk.read(blob, start, end, gone=AttachmentGone()),
        size,
        f'"{digest}"',
        content_type,
        (("content-disposition", _disposition(content_type, filename)), *headers),
    )


def _sane(content_type: str) -> str:
    """Whoever made a body may call it anything, even what would be two headers."""
    return content_type if content_type.isascii() and content_type.isprintable() else UNTYPED


def _disposition(content_type: str, filename: str) -> str:
    """How a browser shall take it, and under which name it is saved (RFC 6266)."""
    kind = content_type.lower()
    shown = kind.startswith(_SHOWN) and not kind.startswith("image/svg")
    plain = "".join(char if " " <= char <= "~" and char not in '"\\%' else "_" for char in filename)
    return f"{'inline' if shown else 'attachment'}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


async def _send(send: Send, reading: AsyncGenerator[bytes], status: int, headers: list[tuple[bytes, bytes]]) -> None:
    async with aclosing(reading) as pieces:
        # Nothing is sent before the first piece is here: until then an error can still be told.
        first = await anext(pieces, b"")
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": first, "more_body": True})
        try:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except RaincheckError:
            return  # The server cuts the connection of an answer without an end, as the client must see.
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]

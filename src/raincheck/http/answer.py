"""What a handler hands back: a status, headers and bytes, sent without further ado."""

from collections.abc import AsyncIterator, Iterable

from litestar.types import Receive, Scope, Send

Headers = Iterable[tuple[str, str]]
JSON = b"application/json"


class Answer:
    """A whole answer. An ASGI application, which is what Litestar sends as it is."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes, status: int = 200, *, headers: Headers = (), content_type: bytes = JSON) -> None:
        self.body = body
        self.status = status
        self.headers = [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
        for name, value in headers:
            self.headers.append((name.encode(), value.encode("latin-1", "replace")))

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


async def send_stream(send: Send, status: int, headers: Headers, chunks: AsyncIterator[bytes]) -> None:
    """Send chunks as they come."""
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
    # Without this, common proxies gather a stream until it has ended.
    encoded.append((b"x-accel-buffering", b"no"))
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    async for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})

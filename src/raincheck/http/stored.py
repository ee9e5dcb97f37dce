"""Takes a result that is kept in the object store, hands on its bytes as they are read."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from litestar.types import Receive, Scope, Send

from raincheck.core.errors import RaincheckError
from raincheck.core.model import Result
from raincheck.http.presence import ClientGone, while_present


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A whole answer that is never whole in memory: the next piece is read when the client has taken the last."""

    result: Result
    pieces: AsyncGenerator[bytes]
    headers: Sequence[tuple[str, str]]

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(ClientGone):  # Whether the answer has begun or not, there is nobody to tell.
            await while_present(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        async with aclosing(self.pieces) as pieces:
            # Nothing is sent before the first piece is here: until then an error can still be told.
            first = await anext(pieces, b"")
            await send({"type": "http.response.start", "status": self.result.status, "headers": self._head()})
            await send({"type": "http.response.body", "body": first, "more_body": True})
            try:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except RaincheckError:
                return  # The server cuts the connection of an answer without an end, as the client must see.
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _head(self) -> list[tuple[bytes, bytes]]:
        told = [("content-type", self.result.content_type), ("content-length", str(self.result.size)), *self.headers]
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in told]

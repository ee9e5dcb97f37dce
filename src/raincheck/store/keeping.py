"""Takes a body in pieces, puts it into the object store as they come, hands on how large it was and its digest."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass
from hashlib import sha256

from raincheck.store.blobs import UNTYPED, BlobStore

LONG = 1 << 16
"""Bytes above which a piece is hashed beside the event loop."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What was learned about a body on its way."""

    size: int
    digest: str
    """SHA-256, in hex."""


async def keep(objects: BlobStore, name: str, pieces: AsyncIterable[bytes], *, content_type: str = UNTYPED) -> Measures:
    """Put a body away. Raises StoreUnavailable, and whatever the pieces raise."""
    body = _Passing(pieces)
    try:
        await objects.put(name, body.on(), content_type=content_type)
    except Exception as error:
        # The object store takes it for trouble of its own, and that would be tried again for ever.
        if body.broke is not None and body.broke is not error:
            raise body.broke from error
        raise
    return Measures(body.size, body.hash.hexdigest())


class _Passing:
    """Counts and hashes a body that passes through, and remembers why it broke off."""

    def __init__(self, pieces: AsyncIterable[bytes]) -> None:
        self._pieces = pieces
        self.size = 0
        self.hash = sha256()
        self.broke: Exception | None = None

    async def on(self) -> AsyncGenerator[bytes]:
        try:
            async for piece in self._pieces:
                self.size += len(piece)
                if len(piece) > LONG:
                    await asyncio.to_thread(self.hash.update, piece)
                else:
                    self.hash.update(piece)
                yield piece
        except Exception as error:
            self.broke = error
            raise

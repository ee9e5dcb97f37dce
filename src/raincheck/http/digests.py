"""Takes what a client says of the bytes that it sends, holds it against those that came."""

import asyncio
import binascii
import re
from base64 import b64decode
from hashlib import sha256

from litestar.types import HTTPReceiveMessage, Receive

from raincheck.core.errors import BadInput

LONG = 1 << 16
"""Bytes above which a piece is hashed beside the event loop."""
_SHA256 = re.compile(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/=]*):")
_HEX = re.compile(r"[0-9a-fA-F]{64}")


class ContentDigest:
    """The header Content-Digest (RFC 9530): it speaks of the whole body of a call, whatever that is in."""

    def __init__(self, receive: Receive, header: bytes | None) -> None:
        """A digest by another algorithm than SHA-256 is passed over. Raises BadInput for one that cannot be read."""
        self._receive = receive
        self._told = _of_header(header)
        self._hash = sha256()

    async def receive(self) -> HTTPReceiveMessage:
        """The next piece of the body, counted in."""
        message = await self._receive()
        if self._told is not None and message["type"] == "http.request":
            piece = message["body"]
            if len(piece) > LONG:
                await asyncio.to_thread(self._hash.update, piece)
            else:
                self._hash.update(piece)
        return message  # pyright: ignore[reportReturnType]

    def check(self) -> None:
        """Raise BadInput when another body came than was sent."""
        check_digest(self._told, self._hash.hexdigest(), param="Content-Digest")


def check_digest(told: str | None, found: str, *, param: str) -> None:
    """Raise BadInput when a SHA-256 that was told, in hex, is not the one that was found."""
    if told is None:
        return
    if not _HEX.fullmatch(told):
        raise BadInput(f"{param} must be a SHA-256, as 64 hexadecimal digits.", param=param)
    if told.lower() != found:
        raise BadInput(
            f"{param} does not match: SHA-256 {found} arrived. Nothing was kept; send it again.", param=param
        )


def _of_header(header: bytes | None) -> str | None:
    if header is None or (found := _SHA256.search(header.decode("latin-1"))) is None:
        return None
    try:
        digest = b64decode(found[1], validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != sha256().digest_size:
        raise BadInput("Content-Digest must be as in sha-256=:…: with a SHA-256 in base64.", param="Content-Digest")
    return digest.hex()

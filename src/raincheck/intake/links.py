"""Signed links: takes whose file is meant, hands on a path that anyone may follow for a while, and reads it back.

The path is all there is to a link, so that it holds under whatever name the server is reached by.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass, field
from typing import NamedTuple
from urllib.parse import quote, unquote, urlsplit

from raincheck.core.clock import SECOND
from raincheck.core.errors import AttachmentGone, NotFound

FOLDER = "media"
_MARK = 16
"""Bytes of the signature that are kept: far beyond guessing, and the link stays short."""
_TIME = 5
"""Bytes of the time it ends at, in whole seconds."""


class Named(NamedTuple):
    """The output of a request that a link leads to."""

    tenant: str
    request_id: str
    name: str
    until: int
    """When the link ends."""


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads links. All processes on one store share the secret, so each reads what another made."""

    secret: bytes = field(repr=False)
    lifetime: int
    """Microseconds."""

    def sign(self, tenant: str, request_id: str, name: str, now: int) -> str:
        """The path under which this output can be read without a key until the lifetime is over."""
        until = -(-(now + self.lifetime) // SECOND)
        told = until.to_bytes(_TIME) + f"{tenant}\0{request_id}".encode()
        return f"/{FOLDER}/{_text(self._mark(told, name) + told)}/{quote(name, safe='')}"

    def read(self, token: str, name: str, now: int) -> Named:
        """What a link leads to. Raises NotFound for one that was not made here, AttachmentGone when its time is over.

        Everything about a link that was not signed is as unknown as what never was there (G8).
        """
        named = self._read(token, name)
        if named is None:
            raise NotFound("There is nothing behind this link; read the request for the right one.")
        if named.until <= now:
            raise AttachmentGone("This link has expired; read the request again for a new one.")
        return named

    def own(self, url: str, now: int) -> Named | None:
        """What a link of ours leads to, whatever host its URL names; None for any other URL. Raises AttachmentGone."""
        try:
            folders = urlsplit(url).path.split("/")
        except ValueError:
            return None
        if len(folders) < 3 or folders[-3] != FOLDER or self._read(folders[-2], name := unquote(folders[-1])) is None:
            return None
        return self.read(folders[-2], name, now)

    def _read(self, token: str, name: str) -> Named | None:
        """What a token says, when the signature on it is ours."""
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            mark, told = raw[:_MARK], raw[_MARK:]
            # What decodes alike is not all the same: a link has one spelling.
            if _text(raw) != token or not hmac.compare_digest(mark, self._mark(told, name)):
                return None
        except ValueError:
            return None
        tenant, _, request_id = told[_TIME:].decode().rpartition("\0")
        return Named(tenant, request_id, name, int.from_bytes(told[:_TIME]) * SECOND)

    def _mark(self, told: bytes, name: str) -> bytes:
        # `told` ends with an id, and no id has a NUL in it: nothing can move from one part to the other.
        said = b"\0".join((FOLDER.encode(), told, name.encode("utf-8", "surrogatepass")))
        return hmac.digest(self.secret, said, "sha256")[:_MARK]


def _text(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()

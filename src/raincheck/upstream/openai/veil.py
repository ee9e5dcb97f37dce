"""Takes a body in pieces, hands it on with a secret hidden, also where the secret is cut in two."""

from collections.abc import AsyncGenerator, AsyncIterator

HIDDEN = b"***"


class Veil:
    """Holds back no more than the end of a piece that may be the secret's beginning."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    async def over(self, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        held = b""
        async for piece in pieces:
            seen = (held + piece).replace(self._secret, HIDDEN)
            cut = self._maybe(seen)
            held = seen[cut:]
            if cut:
                yield seen[:cut]
        if held:
            yield held

    def _maybe(self, seen: bytes) -> int:
        """Where the secret's beginning may stand at the end; the length when it does not."""
        at = max(0, len(seen) - len(self._secret) + 1)
        while (at := seen.find(self._secret[:1], at)) >= 0:
            if self._secret.startswith(seen[at:]):
                return at
            at += 1
        return len(seen)

"""How a completion is asked for: as a stream, whatever the client wrote, as far as the server can stream."""

import re
from dataclasses import dataclass
from enum import Enum

import msgspec

from raincheck.core.outcome import Failure


class Asking(Enum):
    """How much of streaming a server takes."""

    STREAM_WITH_USAGE = 0
    STREAM = 1
    """It does not know `stream_options`."""
    WHOLE = 2
    """It cannot stream."""


@dataclass(frozen=True, slots=True)
class Payload:
    """A completion's payload, its members still as the client wrote them."""

    members: dict[str, msgspec.Raw]

    @classmethod
    def read(cls, payload: bytes) -> "Payload | None":
        """None when it is no JSON object."""
        try:
            return cls(_MEMBERS.decode(payload))
        except msgspec.DecodeError:
            return None

    def encode(self, asking: Asking) -> bytes:
        members = {key: value for key, value in self.members.items() if key not in ("stream", "stream_options")}
        match asking:
            case Asking.STREAM_WITH_USAGE:
                members["stream"] = _TRUE
                members["stream_options"] = _WITH_USAGE
            case Asking.STREAM:
                members["stream"] = _TRUE
            case Asking.WHOLE:
                pass
        return msgspec.json.encode(members)

    @property
    def choices(self) -> int:
        return self._number("n") or 1

    @property
    def max_tokens(self) -> int | None:
        """The most tokens that can come, over all choices; None when nothing says so."""
        most = self._number("max_completion_tokens") or self._number("max_tokens")
        return most * self.choices if most else None

    def _number(self, name: str) -> int | None:
        raw = self.members.get(name)
        try:
            return None if raw is None else max(msgspec.json.decode(raw, type=int), 0)
        except msgspec.DecodeError:
            return None


def ask_for_less(asking: Asking, refusal: Failure) -> Asking | None:
    """The next thing to try when a server refused a payload for how it was asked for; None when that was not why."""
    upstream = refusal.error.upstream
    if asking is Asking.WHOLE or upstream is None or upstream.status not in (400, 422, 501):
        return None
    text = bytes(upstream.body).decode(errors="replace")
    if asking is Asking.STREAM_WITH_USAGE and _NAMES_OPTIONS.search(text):
        return Asking.STREAM
    return Asking.WHOLE if _NAMES_STREAM.search(text) and _REFUSES.search(text) else None


_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TRUE = msgspec.Raw(b"true")
_WITH_USAGE = msgspec.Raw(b'{"include_usage":true}')
_NAMES_OPTIONS = re.compile(r"stream[_ ]options|include_usage", re.IGNORECASE)
_NAMES_STREAM = re.compile(r"\bstream(ing|ed)?\b", re.IGNORECASE)
_REFUSES = re.compile(
    r"\bnot\b|n't\b|cannot|unsupported|only|unknown|unrecogni[sz]ed|unexpected|extra|forbidden|invalid|disabled",
    re.IGNORECASE,
)

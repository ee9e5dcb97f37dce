"""Takes a delivery, its headers and secrets, and hands on the event, or the error that says what is wrong.

What is signed is `{webhook-id}.{webhook-timestamp}.{body}`, as Standard Webhooks lays down; see
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import binascii
import hashlib
import hmac
from base64 import b64decode
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import time  # noqa: TID251 - a receiver has no other clock
from typing import Literal

from raincheck.webhooks.errors import (
    BadPayload,
    BadSecret,
    BadTimestamp,
    CryptographyMissing,
    MissingHeader,
    Replayed,
    TamperedBody,
    TooNew,
    TooOld,
    WrongSecret,
    WrongSignature,
)
from raincheck.webhooks.event import Event, read
from raincheck.webhooks.headers import Headers, lowered

TOLERANCE = 300.0
"""Seconds by which the clocks may differ."""
KEYS = "raincheck-key"
"""The header in which Raincheck says which keys it signed with: `key_id` of each, between commas. It is not signed."""
MOST_SIGNATURES = 32
"""More than a sender has keys at a time; each one more that is looked at may cost a pass over the body."""


def verify(
    payload: bytes | str,
    headers: Headers,
    secret: str | Sequence[str],
    *,
    tolerance: float = TOLERANCE,
    seen: Callable[[str], bool] | Container[str] | None = None,
) -> Event:
    """The event of a delivery that is authentic.

    `payload` is the body byte for byte as it came, before any parsing; `headers` are those of the request, from any
    framework. `secret` is a `whsec_…`, or the `whpk_…` of an endpoint that signs with v1a; of several, one has to fit.
    `tolerance` is by how many seconds the delivery's time may be off.

    `seen` guards against replays: the ids of events that were handled before (a `Seen`, a set, anything with `in`), or
    a function that says of an id whether it was. Nothing is added to it here: do that when the event is handled.

    Raises a subclass of WebhookError: see raincheck.webhooks.errors. TypeError for a payload that is neither bytes nor
    text.
    """
    body, given = _bytes(payload), lowered(headers)
    if not secret:
        raise BadSecret("No secret was given to verify the webhook with. Is the environment variable set?")
    keys = [_Key.of(each) for each in ([secret] if isinstance(secret, str) else secret)]
    webhook_id, stamp, signatures = (_header(given, f"webhook-{part}") for part in ("id", "timestamp", "signature"))
    sent_at = _on_time(stamp, tolerance)
    # Halves of characters stand for bytes that were no text: no genuine id has any, and each must stay another id.
    _check(keys, f"{webhook_id}.{stamp}.".encode(errors="surrogatepass") + body, signatures, given.get(KEYS))
    event = read(body, webhook_id, sent_at, given.get("raincheck-attempt"))
    if seen is not None and (seen(webhook_id) if callable(seen) else webhook_id in seen):
        raise Replayed(event)
    return event


def key_id(secret: str) -> str:
    """Which key this is, for the header that names them; it tells nothing else about it."""
    return hashlib.sha256(f"raincheck-key:{secret}".encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class _Key:
    scheme: Literal["v1", "v1a"]
    raw: bytes = field(repr=False)
    id: str

    @classmethod
    def of(cls, secret: str) -> "_Key":
        """Raises BadSecret, which does not repeat it."""
        secret = secret.strip()
        prefix, _, encoded = secret.partition("_")
        if prefix == "whsk":
            raise BadSecret("A whsk_ key is the sender's, to sign with. Verify with the whpk_ key that goes with it.")
        if prefix not in ("whsec", "whpk"):
            raise BadSecret("A secret begins with whsec_ (or with whpk_ where v1a is used); what was given does not.")
        raw = _decoded(encoded)
        if prefix == "whpk":
            if raw is None or len(raw) != 32:
                raise BadSecret("After whpk_ come the 32 bytes of an Ed25519 key in base64. Was it cut off?")
            return cls("v1a", raw, key_id(secret))
        if not raw:
            raise BadSecret("After whsec_ comes base64 with its padding (A-Z a-z 0-9 + / =). Was the secret cut off?")
        return cls("v1", raw, key_id(secret))

    def judge(self, signed: bytes) -> Callable[[bytes], bool]:
        """Says of one signature after another whether this key made it over these bytes."""
        if self.scheme == "v1":
            return partial(hmac.compare_digest, hmac.digest(self.raw, signed, "sha256"))
        return partial(_is_of_pair, self.raw, signed)


def _is_of_pair(public: bytes, signed: bytes, signature: bytes) -> bool:
    if len(signature) != _PAIR_SIGNATURE_BYTES:
        return False
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        raise CryptographyMissing from None
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, signed)
    except (InvalidSignature, ValueError):
        return False
    return True


def _check(keys: Sequence[_Key], signed: bytes, header: str, named: str | None) -> None:
    """Raises WrongSignature or what is known better, unless one of the signatures is of one of the keys. Signatures of
    unknown schemes are passed over: a sender may use more than one."""
    offered = [part.partition(",") for part in header.split()[:MOST_SIGNATURES]]
    schemes = {scheme for scheme, _, _ in offered}
    judges = [(key.scheme, key.judge(signed)) for key in keys if key.scheme in schemes]
    for scheme, _, text in offered:
        signature = _decoded(text)
        if signature and any(known == scheme and fits(signature) for known, fits in judges):
            return
    if not judges:
        raise WrongSignature(_SCHEME_HINT.format(" and ".join(sorted(schemes & _SCHEMES)) or "nothing known here"))
    if named is None:
        raise WrongSignature
    ids = {each.strip() for each in named.split(",")}
    raise TamperedBody if any(key.id in ids for key in keys) else WrongSecret


_SCHEMES = frozenset({"v1", "v1a"})
_PAIR_SIGNATURE_BYTES = 64
_SCHEME_HINT = " It is signed by {}: v1 is verified with a whsec_ secret, v1a with a whpk_ key."


def _on_time(stamp: str, tolerance: float) -> int:
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise BadTimestamp
    sent_at = int(stamp)
    late = time() - sent_at
    if late > tolerance:
        raise TooOld(late, tolerance)
    if -late > tolerance:
        raise TooNew(-late, tolerance)
    return sent_at


def _bytes(payload: object) -> bytes:
    match payload:
        case bytes():
            return payload
        case str():
            try:
                return payload.encode()
            except UnicodeEncodeError:
                raise BadPayload("The payload is text that is no UTF-8: give the bytes of the body.") from None
        case bytearray():
            return bytes(payload)
        case _:
            raise TypeError(
                f"The payload is the body of the request as bytes, not {type(payload).__name__}: JSON that was parsed "
                "and written again is not what was signed."
            )


def _header(headers: dict[str, str], name: str) -> str:
    if value := headers.get(name):
        return value
    raise MissingHeader(name)


def _decoded(text: str) -> bytes | None:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None

"""Takes one message and the secrets that are live, hands on the headers it goes out with (Standard Webhooks)."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import NamedTuple

from standardwebhooks import Webhook

from raincheck.core.clock import SECOND
from raincheck.delivery.keys import PRIVATE, private_key, shown


def signed(event_id: str, body: bytes, secrets: Sequence[str], *, now: int) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp`, `webhook-signature` and `raincheck-key` for an attempt at this moment.

    There is one signature per secret. `raincheck-key` names the secrets in the same order, by a hash too short to find
    them by, so that a verifier can tell a wrong secret from a changed body.
    """
    timestamp, text = now // SECOND, body.decode()
    signers = [_signer(secret) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signer.sign(event_id, timestamp, text) for signer in signers),
        "raincheck-key": ",".join(signer.name for signer in signers),
    }


def key_name(secret: str) -> str:
    """What a secret is called in `raincheck-key`; `secret` as its owner knows it."""
    return sha256(f"raincheck-key:{secret}".encode()).hexdigest()[:8]


class _Signer(NamedTuple):
    name: str
    sign: Callable[[str, int, str], str]


@lru_cache(maxsize=1024)  # reading an Ed25519 key takes longer than signing with it
def _signer(secret: str) -> _Signer:
    return _Signer(key_name(shown(secret)), _by_pair(secret) if secret.startswith(PRIVATE) else _by_shared(secret))


def _by_shared(secret: str) -> Callable[[str, int, str], str]:
    webhook = Webhook(secret)
    return lambda event_id, timestamp, text: webhook.sign(event_id, datetime.fromtimestamp(timestamp, UTC), text)


def _by_pair(secret: str) -> Callable[[str, int, str], str]:
    key = private_key(secret)

    def sign(event_id: str, timestamp: int, text: str) -> str:
        return f"v1a,{b64encode(key.sign(f'{event_id}.{timestamp}.{text}'.encode())).decode()}"

    return sign

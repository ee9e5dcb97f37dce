"""Makes the secrets that deliveries are signed with, seals them for the store, and says what of them may be shown."""

import secrets
from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import assert_never

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from raincheck.core.errors import SecretSealed
from raincheck.core.webhooks import Signature, SigningKey

SHARED, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
"""The prefixes of Standard Webhooks: a secret of both sides (v1), and the halves of a key pair (v1a)."""
_SECRET_BYTES = 24
"""Of these base64 needs no padding, about which decoders disagree."""
_SEED_BYTES = 32
_SEALED = "sealed:"


def new_secret(signature: Signature = "v1") -> str:
    """A fresh secret in the notation of Standard Webhooks: `whsec_…`, for v1a the private `whsk_…`."""
    match signature:
        case "v1":
            return SHARED + b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        case "v1a":
            key = Ed25519PrivateKey.generate()
            # Seed and public key, one behind the other, is what the libraries that make such keys write.
            return PRIVATE + b64encode(key.private_bytes_raw() + key.public_key().public_bytes_raw()).decode()
        case _:
            assert_never(signature)


def shown(secret: str) -> str:
    """What its owner verifies with, shown when the secret is made: itself, of a v1a key the public half `whpk_…`."""
    if not secret.startswith(PRIVATE):
        return secret
    return PUBLIC + b64encode(private_key(secret).public_key().public_bytes_raw()).decode()


def private_key(secret: str) -> Ed25519PrivateKey:
    """The key of a `whsk_…`."""
    return Ed25519PrivateKey.from_private_bytes(b64decode(secret.removeprefix(PRIVATE))[:_SEED_BYTES])


def hint(secret: str) -> str:
    """Enough of what was shown to tell it from others, and too little to sign with: `whsec_…K9cA`."""
    known = shown(secret)
    return f"{known[: known.index('_') + 1]}…{known[-4:]}"


class Sealer:
    """Keeps secrets unreadable for whoever reads the store without the keys; without any keys it leaves them as they
    are. The first key seals, all of them open, and what was never sealed stays readable."""

    def __init__(self, keys: Sequence[str] = ()) -> None:
        self._box = MultiFernet([_fernet(key) for key in keys]) if keys else None

    def seal(self, secret: str) -> str:
        """As it may lie in the store."""
        return secret if self._box is None else _SEALED + self._box.encrypt(secret.encode()).decode()

    def unseal(self, stored: str) -> str:
        """As it was. Raises SecretSealed."""
        if not stored.startswith(_SEALED):
            return stored
        if self._box is None:
            raise SecretSealed
        try:
            return self._box.decrypt(stored.removeprefix(_SEALED)).decode()
        except InvalidToken as error:
            raise SecretSealed from error

    def live(self, key: SigningKey, now: int) -> tuple[str, ...]:
        """The secrets that sign at this moment, opened, the newest first; without those before that stay shut, for they
        are what a rotation after the loss of a sealing key is to replace. Raises SecretSealed."""
        live = [self.unseal(key.secret)]
        for secret, until in key.previous:
            if until > now:
                with suppress(SecretSealed):
                    live.append(self.unseal(secret))
        return tuple(live)


def _fernet(key: str) -> Fernet:
    derived = HKDF(SHA256(), _SEED_BYTES, salt=None, info=b"raincheck: webhook secrets").derive(key.encode())
    return Fernet(urlsafe_b64encode(derived))

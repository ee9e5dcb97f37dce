"""Takes the secret a caller shows, hands on the tenant it speaks for."""

from collections.abc import Collection
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import KeyInvalid, KeyMissing, ScopeMissing, TooLarge
from raincheck.core.model import LOCAL_TENANT, ApiKey, Tenant
from raincheck.store.protocol import Registry

Scope = Literal["read", "write"]
"""What a key may do."""
TRUST_FOR = 2 * SECOND
"""How long a key that was looked up is believed: a revoked key dies within this time."""
REMEMBERED_KEYS = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    tenant: Tenant
    key: ApiKey | None
    """None where no key is needed."""
    until: int


class Gate:
    """Decides who may come in. With `loopback` and no key ever made it is open, and everyone is the local tenant."""

    def __init__(self, registry: Registry, clock: Clock, *, loopback: bool) -> None:
        self._registry = registry
        self._clock = clock
        self._loopback = loopback
        self._known: dict[bytes, _Known] = {}
        self._open: _Known | None = None
        self._looked_at = -TRUST_FOR

    async def enter(self, secret: str | None, scopes: Collection[Scope]) -> Tenant:
        """The tenant of a secret that has all of these scopes. Raises KeyMissing, KeyInvalid, ScopeMissing."""
        known = await self._knows(secret)
        if known.key is not None:
            for missing in (scope for scope in scopes if scope not in known.key.scopes):
                raise ScopeMissing(f"This API key may not {missing}; make one with `--scopes {','.join(scopes)}`.")
        return known.tenant

    async def key(self, secret: str | None) -> tuple[Tenant, ApiKey | None]:
        """The same for any key, and the key; None where no key is needed. Raises KeyMissing, KeyInvalid."""
        known = await self._knows(secret)
        return known.tenant, known.key

    async def _knows(self, secret: str | None) -> _Known:
        now = self._clock()
        if self._loopback and now - self._looked_at >= TRUST_FOR:
            await self._look(now)
        if self._open is not None:
            return self._open
        if not secret:
            raise KeyMissing
        return await self._of(secret, now)

    async def _look(self, now: int) -> None:
        # A key that was made and revoked still counts: someone wanted the door shut.
        no_keys = not await self._registry.keys()
        self._open = _Known(await self._registry.tenant(LOCAL_TENANT), None, now) if no_keys else None
        self._looked_at = now

    async def _of(self, secret: str, now: int) -> _Known:
        digest = sha256(secret.encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(digest)
        if known is not None and now < known.until:
            return known
        key = await self._registry.find_key(digest)
        if key is None:
            self._known.pop(digest, None)
            raise KeyInvalid
        if len(self._known) >= REMEMBERED_KEYS:
            self._known.clear()
        known = _Known(await self._registry.tenant(key.tenant), key, now + TRUST_FOR)
        self._known[digest] = known
        return known


def check_size(tenant: Tenant, size: int) -> None:
    """Raise TooLarge when a body is larger than the tenant's cap."""
    if tenant.max_body_bytes is not None and size > tenant.max_body_bytes:
        raise TooLarge(
            f"The request body has {size} bytes; this API key may send {tenant.max_body_bytes}. Send a smaller one."
        )

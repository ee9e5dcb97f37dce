"""Who may come in, and for whom they speak."""

from collections.abc import AsyncIterator
from hashlib import sha256
from pathlib import Path

import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import KeyInvalid, KeyMissing, ScopeMissing, TooLarge
from raincheck.core.model import LOCAL_TENANT, ApiKey, Tenant
from raincheck.intake.gate import TRUST_FOR, Gate, check_size
from raincheck.store.protocol import Registry
from raincheck.store.sqlite import open_store
from tests.store.builders import START, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def registry(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Registry]:
    async with open_store(tmp_path / "store.db", clock=clock.now) as store:
        yield store.registry


async def a_key(registry: Registry, secret: str, *, tenant: str = "t", scopes: tuple[str, ...] = ("read",)) -> str:
    key = ApiKey(id=f"key_{secret}", tenant=tenant, name="n", hint="rc_", scopes=frozenset(scopes), created_at=START)
    await registry.add_key(key, sha256(secret.encode()).digest())
    return key.id


async def test_an_open_gate_lets_everyone_in_as_the_local_tenant(registry: Registry, clock: FakeClock) -> None:
    gate = Gate(registry, clock.now, loopback=True)

    assert (await gate.enter(None, ["write"])).name == LOCAL_TENANT


async def test_beyond_loopback_it_is_never_open(registry: Registry, clock: FakeClock) -> None:
    with pytest.raises(KeyMissing):
        await Gate(registry, clock.now, loopback=False).enter(None, ["read"])


async def test_the_first_key_shuts_an_open_gate_within_two_seconds(registry: Registry, clock: FakeClock) -> None:
    gate = Gate(registry, clock.now, loopback=True)
    await gate.enter(None, ["read"])
    await a_key(registry, "rc_1")
    clock.advance(seconds=TRUST_FOR / SECOND)

    with pytest.raises(KeyMissing):
        await gate.enter(None, ["read"])


async def test_a_key_speaks_for_its_tenant_with_its_caps(registry: Registry, clock: FakeClock) -> None:
    await registry.put_tenant(Tenant("blue", max_pending=3))
    await a_key(registry, "rc_1", tenant="blue")

    assert await Gate(registry, clock.now, loopback=True).enter("rc_1", ["read"]) == Tenant("blue", max_pending=3)


async def test_a_scope_that_the_key_lacks_is_named(registry: Registry, clock: FakeClock) -> None:
    await a_key(registry, "rc_1")

    with pytest.raises(ScopeMissing, match="write"):
        await Gate(registry, clock.now, loopback=True).enter("rc_1", ["write"])


async def test_a_revoked_key_dies_within_two_seconds(registry: Registry, clock: FakeClock) -> None:
    key_id = await a_key(registry, "rc_1")
    gate = Gate(registry, clock.now, loopback=True)
    await gate.enter("rc_1", ["read"])
    await registry.revoke_key(key_id)
    clock.advance(seconds=TRUST_FOR / SECOND)

    with pytest.raises(KeyInvalid):
        await gate.enter("rc_1", ["read"])


async def test_a_secret_that_is_no_text_is_only_wrong(registry: Registry, clock: FakeClock) -> None:
    with pytest.raises(KeyInvalid):
        await Gate(registry, clock.now, loopback=False).enter("\udcff", ["read"])


def test_a_body_up_to_the_cap_is_fine() -> None:
    check_size(Tenant("t", max_body_bytes=10), 10)
    check_size(Tenant("t"), 10**9)
    with pytest.raises(TooLarge, match="11"):
        check_size(Tenant("t", max_body_bytes=10), 11)

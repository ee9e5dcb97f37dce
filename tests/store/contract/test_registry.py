"""What `protocol.Registry` promises."""

import asyncio

import pytest

from raincheck.core.clock import MINUTE, SECOND
from raincheck.core.errors import NotFound
from raincheck.core.model import ApiKey, Limits, Queue, Tenant, Throttle
from raincheck.store.protocol import Store
from tests.store.builders import START, FakeClock, Home, capped, claimed, completed, running, submitted, throttle


def a_key(number: int, *, tenant: str = "t") -> ApiKey:
    return ApiKey(
        id=f"key_{number}",
        tenant=tenant,
        name=f"key number {number}",
        hint="rc_abc",
        scopes=frozenset({"read", "write"}),
        created_at=START + number,
    )


async def test_a_secret_is_made_once_and_the_same_for_everyone_ever_after(home: Home) -> None:
    async with home.open() as store:
        asked = [store.registry.secret(name) for name in ("links", "links", "links", "other")]
        links, again, once_more, other = await asyncio.gather(*asked)
    assert links == again == once_more != other
    assert (len(links), len(other)) == (32, 32)
    async with home.open() as store:
        assert await store.registry.secret("links") == links


async def test_a_tenant_that_was_never_put_has_the_defaults(store: Store) -> None:
    assert await store.registry.tenant("nobody") == Tenant("nobody")


async def test_tenants_are_listed_when_they_were_put_or_have_a_key(store: Store) -> None:
    assert await store.registry.tenants() == []
    await store.registry.put_tenant(Tenant("lab", weight=3.0, max_running=8))
    await store.registry.add_key(a_key(1, tenant="keyed"), b"digest")
    assert await store.registry.tenants() == [Tenant("keyed"), Tenant("lab", weight=3.0, max_running=8)]


async def test_a_tenant_is_created_and_then_replaced(store: Store) -> None:
    for tenant in (Tenant("t", 2.5, 10, 3, 1_000), Tenant("t", 0.5)):
        await store.registry.put_tenant(tenant)
        assert await store.registry.tenant("t") == tenant
    assert await store.registry.tenant("else") == Tenant("else")


async def test_a_key_is_found_by_the_digest_of_its_secret(home: Home) -> None:
    async with home.open() as store:
        await store.registry.add_key(a_key(1), b"one")
        await store.registry.add_key(a_key(2, tenant="else"), b"two")
    async with home.open() as store:
        assert await store.registry.find_key(b"one") == a_key(1)
        assert await store.registry.find_key(b"two") == a_key(2, tenant="else")
        assert await store.registry.find_key(b"three") is None
        assert await store.registry.find_key(b"") is None


async def test_a_revoked_key_is_not_found_but_listed(store: Store, clock: FakeClock) -> None:
    await store.registry.add_key(a_key(1), b"one")
    clock.advance(seconds=5)
    revoked = await store.registry.revoke_key("key_1")
    assert revoked.revoked_at == START + 5 * SECOND
    assert await store.registry.find_key(b"one") is None
    assert await store.registry.keys() == [revoked]


async def test_revoking_twice_changes_nothing(store: Store, clock: FakeClock) -> None:
    await store.registry.add_key(a_key(1), b"one")
    first = await store.registry.revoke_key("key_1")
    clock.advance(seconds=5)
    assert await store.registry.revoke_key("key_1") == first


async def test_revoking_an_unknown_key_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound, match="key_9"):
        await store.registry.revoke_key("key_9")


async def test_all_keys_are_listed_oldest_first(store: Store) -> None:
    for number in (2, 3, 1):
        await store.registry.add_key(a_key(number), b"%d" % number)
    assert await store.registry.keys() == [a_key(1), a_key(2), a_key(3)]


async def test_queues_says_how_many_wait_and_run_in_every_queue_that_was_ever_used(store: Store) -> None:
    assert await store.registry.queues() == []
    await submitted(store, 3, queue="b", tenant="one")
    await submitted(store, 2, queue="b", tenant="two", not_before=START + MINUTE)
    await claimed(store, 2, queue="b")
    await completed(store, queue="a")
    assert await store.registry.queues() == [
        Queue(name="a", pending=0, processing=0),
        Queue(name="b", pending=3, processing=2, waiting_since=START),
    ]


async def test_a_cap_holds_before_the_queues_first_request_and_is_lifted_with_none(store: Store) -> None:
    """G7."""
    await capped(store, 1)
    await submitted(store, 3)
    assert len(await claimed(store, 9)) == 1
    await capped(store, 2)
    assert len(await claimed(store, 9)) == 1
    await capped(store, None)
    assert len(await claimed(store, 9)) == 1


async def test_a_lowered_cap_lets_what_runs_run(store: Store) -> None:
    """G7."""
    await submitted(store, 5)
    assert len(await claimed(store, 3)) == 3
    await capped(store, 1)
    assert await claimed(store, 9) == []


async def test_pausing_keeps_the_cap_and_capping_keeps_the_pause(store: Store) -> None:
    await store.registry.pause("queue", "q", until=START + MINUTE, reason="repairs")
    await capped(store, 3, name="q")
    await store.registry.pause("queue", "q", until=START + 2 * MINUTE, reason="more repairs")
    assert await store.registry.throttles("queue") == [
        Throttle(
            scope="queue",
            name="q",
            limits=Limits(max_concurrency=3),
            paused_until=START + 2 * MINUTE,
            pause_reason="more repairs",
        )
    ]
    assert await store.registry.throttles("upstream") == []


@pytest.mark.parametrize("way", ["opened", "limits set"])
async def test_what_held_a_queue_is_not_shown_any_more_when_it_was_lifted_and_nobody_claims(
    store: Store, way: str
) -> None:
    """G8: nobody is told of a pause that is over."""
    await store.registry.pause("upstream", "up", until=START + MINUTE)
    await store.registry.set_limits("upstream", "up", Limits(rpm=1))
    [request] = await submitted(store)
    await claimed(store)
    [queue] = await store.registry.queues()
    assert queue.held_reason is not None
    await store.requests.cancel("t", request.id)
    if way == "opened":
        await store.registry.pause("upstream", "up", until=None)
    else:
        await store.registry.set_limits("upstream", "up", Limits())
    [queue] = await store.registry.queues()
    assert (queue.held_until, queue.held_reason) == (None, None)
    assert await store.leases.next_due() == (None if way == "opened" else START + MINUTE)


async def test_lifting_one_queues_limits_leaves_what_holds_another(store: Store) -> None:
    await store.registry.pause("upstream", "up", until=START + MINUTE)
    await submitted(store)
    await claimed(store)
    await store.registry.set_limits("queue", "other", Limits(rpm=1))
    [queue] = await store.registry.queues()
    assert queue.held_until == START + MINUTE


async def test_none_opens_a_paused_queue_at_once(store: Store) -> None:
    await running(store)
    await submitted(store)
    await store.registry.pause("queue", "small", until=START + MINUTE, reason="repairs")
    assert await claimed(store) == []
    await store.registry.pause("queue", "small", until=None)
    assert await throttle(store) == Throttle(scope="queue", name="small")
    assert len(await claimed(store)) == 1

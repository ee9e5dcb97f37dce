"""What `outbox.Endpoints` promises."""

import pytest
from msgspec.structs import replace

from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.errors import NotFound, TooManyEndpoints
from raincheck.core.webhooks import MOST_ENDPOINTS, EndpointChange, SigningKey
from raincheck.store.protocol import Store
from tests.store.builders import (
    START,
    FakeClock,
    Home,
    an_endpoint,
    arrived,
    bounced,
    ended,
    given_up,
    listening,
    posted,
    sent,
    told,
)

# --- create, get, list


async def test_what_was_created_is_read_as_it_was(store: Store) -> None:
    endpoint = an_endpoint("video.completed", "*", include_result=True, signature="v1a")
    await store.endpoints.create(endpoint, "sealed:s")
    assert await store.endpoints.get("t", endpoint.id) == endpoint
    assert await store.endpoints.signing_key("t", endpoint.id) == SigningKey("sealed:s", START)


async def test_it_is_there_when_the_store_is_opened_again(home: Home) -> None:
    async with home.open() as store:
        endpoint = await listening(store)
    async with home.open() as store:
        assert await store.endpoints.get("t", endpoint.id) == endpoint


async def test_a_tenant_has_no_more_than_so_many(store: Store) -> None:
    for _ in range(MOST_ENDPOINTS):
        await listening(store)
    with pytest.raises(TooManyEndpoints):
        await listening(store)
    await listening(store, tenant="other")


async def test_endpoints_are_listed_by_when_they_were_made(store: Store) -> None:
    made = [await listening(store) for _ in range(5)]
    await listening(store, tenant="other")
    first = await store.endpoints.list("t", limit=2)
    assert (first.endpoints, first.has_more) == (made[:2:-1], True)
    rest = await store.endpoints.list("t", after=made[3].id, limit=3)
    assert (rest.endpoints, rest.has_more) == (made[2::-1], False)
    oldest = await store.endpoints.list("t", after=made[0].id, limit=2, newest=False)
    assert (oldest.endpoints, oldest.has_more) == (made[1:3], True)


async def test_another_tenants_endpoint_is_unknown(store: Store) -> None:
    """G8."""
    endpoint = await listening(store)
    for tenant, endpoint_id in (("other", endpoint.id), ("t", "we_nobody")):
        for question in (
            store.endpoints.get(tenant, endpoint_id),
            store.endpoints.list(tenant, after=endpoint_id),
            store.endpoints.update(tenant, endpoint_id, EndpointChange(name="x")),
            store.endpoints.delete(tenant, endpoint_id),
            store.endpoints.signing_key(tenant, endpoint_id, offered="mine"),
            store.endpoints.rotate(tenant, endpoint_id, "mine", overlap=0),
        ):
            with pytest.raises(NotFound, match=endpoint_id):
                await question
    assert await store.endpoints.get("t", endpoint.id) == endpoint
    assert await store.endpoints.signing_key("t", endpoint.id) == SigningKey(f"whsec_of_{endpoint.id}", START)


# --- update


async def test_what_is_not_named_stays_as_it_is(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    clock.advance(seconds=5)
    change = EndpointChange(name="new", url="https://new.example.com/", event_types=("a.b",), include_result=True)
    after = await store.endpoints.update("t", endpoint.id, change)
    assert after == replace(
        endpoint,
        name="new",
        url="https://new.example.com/",
        event_types=("a.b",),
        include_result=True,
        updated_at=START + 5 * SECOND,
    )
    clock.advance(seconds=5)
    assert await store.endpoints.update("t", endpoint.id, EndpointChange(name="newer")) == replace(
        after, name="newer", updated_at=START + 10 * SECOND
    )


async def test_updated_at_stays_when_nothing_changed(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    clock.advance(seconds=5)
    for change in (EndpointChange(), EndpointChange(name=endpoint.name, enabled=True)):
        assert await store.endpoints.update("t", endpoint.id, change) == endpoint


async def test_new_event_types_hold_from_the_next_event_on(store: Store) -> None:
    endpoint = await listening(store, "video.completed")
    await ended(store, None)
    await store.endpoints.update("t", endpoint.id, EndpointChange(event_types=("chat.completion.completed",)))
    request_id = await ended(store, None)
    assert [delivery.object_id for delivery in await told(store)] == [request_id]


async def test_a_disabled_endpoint_is_sent_nothing_until_it_is_enabled(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    before = await ended(store, None)
    disabled = await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=False))
    assert (disabled.disabled_at, disabled.disabled_reason) == (START, None)
    meanwhile = await ended(store, None)
    assert await posted(store) == []
    clock.advance(seconds=9)
    assert (await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=False))).disabled_at == START
    enabled = await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=True))
    assert enabled.disabled_at is None
    assert {lease.delivery.object_id for lease in await posted(store)} == {before, meanwhile}


async def test_disabling_leaves_what_is_being_sent(store: Store) -> None:
    endpoint = await listening(store)
    await ended(store, None)
    [lease] = await posted(store)
    await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=False))
    assert (await sent(store, arrived(lease))).lost == []


async def test_a_long_row_that_waited_for_an_endpoint_goes_on_bit_by_bit(store: Store) -> None:
    endpoint = await listening(store)
    await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=False))
    waiting = {await ended(store, None) for _ in range(9)}
    assert await posted(store) == []
    await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=True))
    seen = set[str]()
    while leases := await posted(store):
        seen |= {lease.delivery.object_id for lease in leases}
        await sent(store, *map(arrived, leases))
    assert seen == waiting


@pytest.mark.parametrize("change", [EndpointChange(enabled=True), EndpointChange(url="https://new.example.com/")])
async def test_its_failures_are_forgotten_when_it_is_enabled_or_moves(
    store: Store, clock: FakeClock, change: EndpointChange
) -> None:
    endpoint = await listening(store)
    for _ in range(6):
        await ended(store, None)
    for _ in range(5):
        [lease, *_] = await posted(store, 1)
        await sent(store, bounced(lease, clock.now() + HOUR))
    failing = await store.endpoints.get("t", endpoint.id)
    assert (failing.failures, failing.failing_since) == (5, START)
    assert failing.open_until is not None
    assert await posted(store) == []

    after = await store.endpoints.update("t", endpoint.id, change)

    assert (after.failures, after.failing_since, after.open_until) == (0, None, None)
    await ended(store, None)
    assert len(await posted(store)) >= 1


async def test_what_was_on_its_way_to_the_old_url_says_nothing_of_the_new_one(store: Store) -> None:
    """G2, G6: it is sent again, to where the endpoint is now."""
    endpoint = await listening(store)
    await ended(store, None)
    [lease] = await posted(store)
    moved = await store.endpoints.update("t", endpoint.id, EndpointChange(url="https://new.example.com/"))
    done = await sent(store, given_up(lease, gone=True))
    assert (done.lost, done.disabled) == ([lease.fence], [])
    assert await store.endpoints.get("t", endpoint.id) == moved
    [again] = await posted(store)
    assert (again.delivery.url, again.delivery.event_id) == (moved.url, lease.delivery.event_id)
    assert again.fence.number > lease.fence.number


# --- delete


async def test_a_deleted_endpoint_is_forgotten_at_once_and_its_deliveries_are_neither_sent_nor_listed(
    store: Store,
) -> None:
    endpoint, other = await listening(store), await listening(store, url="https://other.example.com/")
    await ended(store, None)
    [mine] = [delivery for delivery in await told(store) if delivery.endpoint_id == endpoint.id]
    await store.endpoints.delete("t", endpoint.id)
    for question in (store.endpoints.get("t", endpoint.id), store.endpoints.signing_key("t", endpoint.id)):
        with pytest.raises(NotFound):
            await question
    assert [delivery.endpoint_id for delivery in await told(store)] == [other.id]
    assert await told(store, endpoint_id=endpoint.id) == []
    for question in (
        store.deliveries.get("t", mine.id),
        store.deliveries.attempts("t", mine.id),
        store.deliveries.redeliver("t", mine.id),
    ):
        with pytest.raises(NotFound, match=mine.id):
            await question
    assert [lease.delivery.endpoint_id for lease in await posted(store)] == [other.id]
    await ended(store, None)
    assert {delivery.endpoint_id for delivery in await told(store)} == {other.id}


async def test_what_was_being_sent_when_its_endpoint_was_deleted_is_lost(store: Store) -> None:
    """G2."""
    endpoint = await listening(store)
    await ended(store, None)
    [lease] = await posted(store)
    await store.endpoints.delete("t", endpoint.id)
    assert (await sent(store, bounced(lease, START))).lost == [lease.fence]
    assert await posted(store) == []


async def test_the_deliveries_of_a_deleted_endpoint_are_purged_bite_by_bite(store: Store) -> None:
    endpoint = await listening(store)
    await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=False))
    for _ in range(7):
        await ended(store, None)
    await store.endpoints.delete("t", endpoint.id)
    bites = list[int]()
    while bite := await store.upkeep.purge(limit=3):
        bites.append(bite)
        assert bite <= 3
    assert len(bites) >= 3


# --- keys


async def test_a_tenants_key_is_made_by_who_offers_first(store: Store) -> None:
    assert await store.endpoints.signing_key("t") is None
    first = await store.endpoints.signing_key("t", offered="one")
    assert first == SigningKey("one", START)
    assert await store.endpoints.signing_key("t", offered="two") == first
    assert await store.endpoints.signing_key("t") == first
    assert await store.endpoints.signing_key("other") is None


async def test_a_replaced_secret_signs_on_for_as_long_as_was_said(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    clock.advance(seconds=3)
    key = await store.endpoints.rotate("t", endpoint.id, "two", overlap=HOUR)
    now = START + 3 * SECOND
    assert key == SigningKey("two", now, ((f"whsec_of_{endpoint.id}", now + HOUR),))
    assert await store.endpoints.signing_key("t", endpoint.id) == key
    assert (await store.endpoints.get("t", endpoint.id)).updated_at == now
    assert await store.endpoints.rotate("t", endpoint.id, "three", overlap=0) == SigningKey("three", now)


async def test_each_replaced_secret_has_its_time_however_many_are_replaced_after_it(
    store: Store, clock: FakeClock
) -> None:
    await store.endpoints.rotate("t", None, "0", overlap=HOUR)
    key = await store.endpoints.signing_key("t")
    for number in range(1, 4):
        clock.advance(seconds=25 * 60)
        key = await store.endpoints.rotate("t", None, str(number), overlap=HOUR)
    kept = tuple((secret, START + HOUR + minutes * MINUTE) for secret, minutes in (("2", 75), ("1", 50), ("0", 25)))
    assert key == await store.endpoints.signing_key("t") == SigningKey("3", START + 75 * MINUTE, kept)
    clock.advance_to(START + 85 * MINUTE)
    key = await store.endpoints.rotate("t", None, "4", overlap=HOUR)
    assert [secret for secret, _ in key.previous] == ["3", "2", "1"]
    for number in range(5, 9):
        key = await store.endpoints.rotate("t", None, str(number), overlap=HOUR)
    assert [secret for secret, _ in key.previous] == ["7", "6", "5", "4", "3"]
    assert (await store.endpoints.rotate("t", None, "9", overlap=0)).previous == ()


async def test_a_tenants_key_can_be_rotated_before_it_was_ever_asked_for(store: Store) -> None:
    assert await store.endpoints.rotate("t", None, "one", overlap=HOUR) == SigningKey("one", START)
    assert await store.endpoints.rotate("t", None, "two", overlap=HOUR) == SigningKey(
        "two", START, (("one", START + HOUR),)
    )


async def test_a_lease_brings_the_key_of_its_endpoint_or_of_its_tenant(store: Store) -> None:
    endpoint = await listening(store, signature="v1a")
    await store.endpoints.rotate("t", endpoint.id, "new", overlap=HOUR)
    await ended(store)
    keys = {lease.delivery.endpoint_id: (lease.signature, lease.key) for lease in await posted(store)}
    assert keys == {
        endpoint.id: ("v1a", SigningKey("new", START, ((f"whsec_of_{endpoint.id}", START + HOUR),))),
        None: ("v1", None),
    }
    await store.endpoints.signing_key("t", offered="of the tenant")
    await ended(store)
    [key] = [lease.key for lease in await posted(store) if lease.delivery.endpoint_id is None]
    assert key == SigningKey("of the tenant", START)

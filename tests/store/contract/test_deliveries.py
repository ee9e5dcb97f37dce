"""What `outbox.Deliveries` promises."""

import pytest
from msgspec import json
from msgspec.structs import replace

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.errors import NotFound
from raincheck.core.events import ENDPOINT_DISABLED
from raincheck.core.ids import new_id
from raincheck.core.webhooks import (
    SLOW,
    WHOLE_SCHEDULE,
    Delivery,
    DeliveryAttempt,
    DeliveryLease,
    DeliveryQuery,
    DeliveryStatus,
    EndpointChange,
    Receiver,
    Redelivery,
    Strangers,
)
from raincheck.store.protocol import Store
from tests.store.builders import (
    HOOK,
    LEASE,
    PLACES,
    PLENTY,
    START,
    FakeClock,
    Home,
    an_attempt,
    arrived,
    bounced,
    ended,
    given_up,
    heard,
    listening,
    posted,
    sent,
    told,
)

DEAD = "https://dead.example.com/"


async def broken(store: Store, clock: FakeClock, url: str = DEAD) -> int:
    """Let deliveries to a URL fail until its breaker opens; returns until when."""
    for _ in range(Receiver.BREAK_AFTER):
        await ended(store, url)
        [lease] = await posted(store, 1)
        await sent(store, bounced(lease, clock.now() + DAY))
    return clock.now() + Receiver.FIRST_PAUSE


# --- the log


async def test_deliveries_are_listed_by_what_is_asked_newest_first(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store, "chat.completion.completed")
    first = await ended(store, None)
    clock.advance(seconds=1)
    second = await ended(store)
    [old, *_] = await posted(store, 1)
    await sent(store, arrived(old))

    async def listed(**query: object) -> list[tuple[str, bool]]:
        page = await store.deliveries.list("t", DeliveryQuery(**query))  # pyright: ignore[reportArgumentType]
        return [(each.object_id, each.endpoint_id is not None) for each in page.deliveries]

    assert sorted(await listed()) == sorted([(second, False), (second, True), (first, True)])
    assert (await listed())[-1] == (first, True)
    assert await listed(endpoint_id=endpoint.id) == [(second, True), (first, True)]
    assert await listed(object_id=first) == [(first, True)]
    assert await listed(object_id=second, endpoint_id=endpoint.id) == [(second, True)]
    assert await listed(status=DeliveryStatus.DELIVERED) == [(first, True)]
    assert sorted(await listed(since=START + SECOND)) == [(second, False), (second, True)]
    assert await listed(since=START + SECOND, endpoint_id=endpoint.id) == [(second, True)]


async def test_pages_of_the_log_hang_together(store: Store) -> None:
    made = [await ended(store) for _ in range(5)]
    page = await store.deliveries.list("t", DeliveryQuery(limit=2))
    assert ([each.object_id for each in page.deliveries], page.has_more) == (made[:2:-1], True)
    rest = await store.deliveries.list("t", DeliveryQuery(limit=3, after=page.deliveries[-1].id))
    assert ([each.object_id for each in rest.deliveries], rest.has_more) == (made[2::-1], False)


async def test_another_tenants_delivery_is_unknown(store: Store) -> None:
    """G8."""
    request_id = await ended(store)
    [mine] = await told(store)
    for tenant, delivery_id in (("other", mine.id), ("t", "whd_nobody")):
        for question in (
            store.deliveries.get(tenant, delivery_id),
            store.deliveries.attempts(tenant, delivery_id),
            store.deliveries.list(tenant, DeliveryQuery(after=delivery_id)),
            store.deliveries.redeliver(tenant, delivery_id),
        ):
            with pytest.raises(NotFound, match=delivery_id):
                await question
    assert await told(store, "other", object_id=request_id) == []
    everything = Redelivery(since=0, delivered_too=True)
    assert await store.deliveries.redeliver_all("other", everything, after=None, limit=9) == (0, None)
    assert await store.deliveries.get("t", mine.id) == mine


async def test_each_try_is_in_the_log(store: Store, clock: FakeClock) -> None:
    await ended(store)
    [lease] = await posted(store)
    assert (lease.delivery.attempt, lease.delivery.sending) == (1, True)
    assert await store.deliveries.attempts("t", lease.delivery.id) == []
    await sent(store, bounced(lease, START + MINUTE))
    waiting = await store.deliveries.get("t", lease.delivery.id)
    assert (waiting.status, waiting.attempt, waiting.due_at) == (DeliveryStatus.PENDING, 1, START + MINUTE)
    assert (waiting.sending, waiting.status_code, waiting.error) == (False, 500, "It answered 500.")
    assert await posted(store) == []
    clock.advance(seconds=60)
    [again] = await posted(store)
    assert again.delivery.attempt == 2
    assert again.delivery.event_id == lease.delivery.event_id
    await sent(store, arrived(again))
    done = await store.deliveries.get("t", lease.delivery.id)
    assert (done.status, done.ended_at, done.due_at) == (DeliveryStatus.DELIVERED, START + MINUTE, None)
    assert (done.status_code, done.error) == (200, None)
    assert await store.deliveries.attempts("t", done.id) == [
        an_attempt(lease, status_code=500, error_code="status", error="It answered 500."),
        an_attempt(again, status_code=200, response="ok"),
    ]


async def test_what_was_sent_as_a_test_stands_in_the_log(store: Store) -> None:
    endpoint = await listening(store)
    delivery = Delivery(
        id=new_id("whd"),
        tenant="t",
        event_id=new_id("evt"),
        type="video.completed",
        object_id="video_1",
        endpoint_id=endpoint.id,
        url=endpoint.url,
        created_at=START,
        detail=b'{"test":true}',
        test=True,
        status=DeliveryStatus.DELIVERED,
        attempt=1,
        ended_at=START + SECOND,
        status_code=204,
    )
    attempt = DeliveryAttempt(number=1, started_at=START, ended_at=START + SECOND, status_code=204)
    await store.deliveries.note(delivery, attempt)
    assert await store.deliveries.get("t", delivery.id) == delivery
    assert await store.deliveries.attempts("t", delivery.id) == [attempt]
    assert await told(store, endpoint_id=endpoint.id) == [delivery]
    assert await posted(store) == []
    to_a_url = replace(delivery, id=new_id("whd"), endpoint_id=None, url=HOOK)
    await store.deliveries.note(to_a_url, attempt)
    assert await store.deliveries.get("t", to_a_url.id) == to_a_url
    everything = Redelivery(since=0, delivered_too=True)
    assert await store.deliveries.redeliver_all("t", everything, after=None, limit=9) == (0, None)
    real = replace(to_a_url, id=new_id("whd"), test=False)
    await store.deliveries.note(real, attempt)
    assert await store.deliveries.redeliver_all("t", everything, after=None, limit=9) == (1, None)


# --- sending again


async def test_one_is_sent_again_with_the_same_event_id_and_its_whole_schedule(store: Store, clock: FakeClock) -> None:
    await ended(store)
    [lease] = await posted(store)
    await sent(store, given_up(lease))
    clock.advance(seconds=9)
    with heard(store) as changes:
        again = await store.deliveries.redeliver("t", lease.delivery.id)
        await store.upkeep.check()
    assert (again.status, again.attempt, again.due_at, again.ended_at) == ("pending", 0, clock.now(), None)
    assert any(change.deliveries for change in changes)
    [second] = await posted(store)
    assert (second.delivery.event_id, second.delivery.attempt) == (lease.delivery.event_id, 1)
    assert second.fence != lease.fence
    await sent(store, arrived(second))
    assert len(await store.deliveries.attempts("t", again.id)) == 2


async def test_one_that_waits_for_its_next_try_can_be_sent_at_once(store: Store) -> None:
    await ended(store)
    [lease] = await posted(store)
    await sent(store, bounced(lease, START + HOUR))
    await store.deliveries.redeliver("t", lease.delivery.id)
    assert len(await posted(store)) == 1


async def test_one_that_is_being_sent_is_left_alone(store: Store) -> None:
    await ended(store)
    [lease] = await posted(store)
    assert await store.deliveries.redeliver("t", lease.delivery.id) == lease.delivery
    assert await posted(store) == []
    assert (await sent(store, arrived(lease))).lost == []


async def test_all_that_were_given_up_since_a_time_are_sent_again_bite_by_bite(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    ids = dict[str, str]()
    for hour in range(5):
        ids[await ended(store)] = f"{hour}"
        for lease in await posted(store):
            await sent(store, arrived(lease) if hour % 2 else given_up(lease, blame=False))
        clock.advance(seconds=3600)
    await ended(store)  # Still under way: not one of them.

    async def again(**wanted: object) -> tuple[int, list[str]]:
        asked = Redelivery(**{"since": 0, **wanted})  # pyright: ignore[reportArgumentType]
        count, after, bites = 0, None, 0
        while bites == 0 or after is not None:
            more, after = await store.deliveries.redeliver_all("t", asked, after=after, limit=4)
            count, bites = count + more, bites + 1
        leases = [lease for lease in await posted(store) if lease.delivery.object_id in ids]
        await sent(store, *[given_up(lease, blame=False) for lease in leases])
        return count, sorted(ids[lease.delivery.object_id] for lease in leases)

    assert await again(since=START + HOUR, until=START + 4 * HOUR) == (2, ["2", "2"])
    assert await again(since=START, endpoint_id=endpoint.id) == (3, ["0", "2", "4"])
    assert await again(since=START + 3 * HOUR, delivered_too=True) == (4, ["3", "3", "4", "4"])
    assert await again(since=START + DAY) == (0, [])


async def test_what_waits_to_be_tried_again_is_sent_at_once_with_the_others(store: Store) -> None:
    """After an outage nobody waits for the schedule."""
    first, _ = await ended(store), await ended(store)
    [lease, other] = await posted(store)
    await sent(store, arrived(other), bounced(lease, START + HOUR, pause_until=START + MINUTE))
    assert await posted(store) == []
    assert await store.deliveries.redeliver_all("t", Redelivery(since=0), after=None, limit=9) == (1, None)
    [again] = await posted(store)
    assert (again.delivery.object_id, again.delivery.attempt) == (first, 1)


@pytest.mark.parametrize("how", ["deleted", "purged"])
async def test_sending_all_again_goes_on_when_what_it_stands_at_is_forgotten(
    store: Store, clock: FakeClock, how: str
) -> None:
    """And nothing of an endpoint that was deleted is sent again."""
    endpoint = await listening(store)
    for _ in range(2):
        await ended(store)
        await sent(store, *[given_up(lease, blame=False) for lease in await posted(store)])
        clock.advance(seconds=DAY / SECOND)
    count, after = await store.deliveries.redeliver_all("t", Redelivery(since=0), after=None, limit=1)
    assert (count, after is not None) == (1, True)
    if how == "deleted":
        await store.endpoints.delete("t", endpoint.id)
    clock.advance(seconds=5 * DAY / SECOND)
    while how == "purged" and await store.upkeep.purge(limit=9):
        pass
    while after is not None:
        _, after = await store.deliveries.redeliver_all("t", Redelivery(since=0), after=after, limit=1)
    again = await posted(store)
    assert len(again) == 2
    assert {each.id for each in await told(store)} == {lease.delivery.id for lease in again}


async def test_many_that_are_sent_again_stand_in_line_and_delay_nobody(store: Store, clock: FakeClock) -> None:
    """G11: no receiver has more due at once than it has room for."""
    endpoint = await listening(store)
    for _ in range(40):
        await ended(store, None)
    while leases := await posted(store):
        await sent(store, *[given_up(lease, blame=False) for lease in leases])
    assert (await store.deliveries.redeliver_all("t", Redelivery(since=0), after=None, limit=99))[0] == 40
    due = [each for each in await told(store) if each.due_at is not None]
    assert len(due) == Receiver().places
    clock.advance(seconds=1)
    healthy = await ended(store, tenant="other")
    claimed = await store.deliveries.claim(worker="w", lease_for=LEASE, limit=9, places=PLACES, strangers=PLENTY)
    assert healthy in {lease.delivery.object_id for lease in claimed.leases}
    leases = claimed.leases
    while leases:
        await sent(store, *map(arrived, leases))
        leases = await posted(store)
    assert {each.status for each in await told(store, endpoint_id=endpoint.id)} == {DeliveryStatus.DELIVERED}


async def test_of_those_sent_again_to_a_receiver_that_is_left_alone_one_tries_it_at_once(store: Store) -> None:
    for _ in range(9):
        await ended(store)
    while leases := await posted(store):
        await sent(store, *[given_up(lease, blame=False) for lease in leases])
    await ended(store)
    [lease] = await posted(store)
    await sent(store, given_up(lease, pause_until=START + MINUTE))
    assert (await store.deliveries.redeliver_all("t", Redelivery(since=0), after=None, limit=99))[0] == 10
    [lease] = await posted(store)
    await sent(store, arrived(lease))
    assert len(await posted(store)) == 2


@pytest.mark.parametrize("broke", [False, True])
async def test_one_is_sent_again_now_even_when_its_receiver_is_left_alone(
    store: Store, clock: FakeClock, broke: bool
) -> None:
    if broke:
        await broken(store, clock, HOOK)
    else:
        await ended(store)
        [lease] = await posted(store)
        await sent(store, given_up(lease, pause_until=START + MINUTE))
    await ended(store)
    assert await posted(store) == []
    [*_, last] = await told(store)
    await store.deliveries.redeliver("t", last.id)
    assert [lease.delivery.id for lease in await posted(store)] == [last.id]


# --- claim


async def test_a_lease_says_everything_that_is_to_be_sent(store: Store) -> None:
    request_id = await ended(store, webhook_result=True)
    [before] = await told(store)
    [lease] = await posted(store)
    assert lease.delivery == replace(before, attempt=1, due_at=START + LEASE, sending=True)
    assert lease.delivery == await store.deliveries.get("t", before.id)
    assert (lease.fence.request_id, lease.delivery.object_id, lease.delivery.url) == (before.id, request_id, HOOK)


async def test_those_come_first_that_have_been_due_longest(store: Store, clock: FakeClock) -> None:
    made = list[str]()
    for number in range(4):
        made.append(await ended(store, f"https://host{number}.example.com/"))
        clock.advance(seconds=1)
    claimed = await store.deliveries.claim(worker="w", lease_for=LEASE, limit=3, places=PLACES, strangers=PLENTY)
    assert [lease.delivery.object_id for lease in claimed.leases] == made[:3]
    assert claimed.more
    claimed = await store.deliveries.claim(worker="w", lease_for=LEASE, limit=3, places=PLACES, strangers=PLENTY)
    assert [lease.delivery.object_id for lease in claimed.leases] == made[3:]
    assert not claimed.more


async def test_a_lease_that_lapsed_is_due_again_and_its_holder_writes_nothing_more(
    store: Store, clock: FakeClock
) -> None:
    """G2, G6."""
    await ended(store)
    [lease] = await posted(store)
    assert await store.deliveries.next_due() == START + LEASE
    assert await posted(store) == []
    clock.advance_to(START + LEASE)
    [again] = await posted(store, worker="other")
    assert again.delivery.event_id == lease.delivery.event_id
    assert again.fence.number > lease.fence.number
    assert (await sent(store, given_up(lease))).lost == [lease.fence]
    assert (await store.deliveries.get("t", lease.delivery.id)).status == DeliveryStatus.PENDING
    assert await store.deliveries.attempts("t", lease.delivery.id) == []
    assert (await sent(store, arrived(again))).lost == []
    assert (await sent(store, given_up(again))).lost == [again.fence]
    assert (await store.deliveries.get("t", lease.delivery.id)).status == DeliveryStatus.DELIVERED


async def test_what_was_being_sent_when_the_owner_died_goes_on(home: Home, clock: FakeClock) -> None:
    async with home.open() as store:
        await ended(store)
        [lease] = await posted(store)
    clock.advance_to(lease.delivery.due_at or 0)
    async with home.open() as store:
        [again] = await posted(store)
        assert again.delivery.event_id == lease.delivery.event_id


async def test_an_unknown_receiver_gets_few_at_once_and_a_good_one_more_and_more(store: Store) -> None:
    for _ in range(22):
        await ended(store)
    sizes = list[int]()
    while leases := await posted(store):
        sizes.append(len(leases))
        await sent(store, *map(arrived, leases))
    assert sizes[0] == Receiver().places
    assert max(sizes) == PLACES
    assert sum(sizes) == 22


async def test_no_receiver_has_more_than_its_places_over_all_workers(store: Store) -> None:
    for _ in range(3):
        await ended(store)
        await ended(store, "https://other.example.com/")
    first = await posted(store, worker="one", places=1)
    second = await posted(store, worker="two", places=1)
    assert sorted(lease.delivery.url for lease in first) == [HOOK, "https://other.example.com/"]
    assert second == []


async def test_the_receivers_of_webhook_urls_are_the_origins_that_a_tenant_names(store: Store) -> None:
    for url in ("https://H.example.com/a", "https://h.example.com:443/b", "https://h.example.com:8443/", HOOK):
        await ended(store, url)
        await ended(store, url, tenant="other")
    leases = await posted(store, places=1)
    assert sorted((lease.delivery.tenant, lease.delivery.url) for lease in leases) == sorted(
        (tenant, url)
        for tenant in ("t", "other")
        for url in ("https://H.example.com/a", "https://h.example.com:8443/", HOOK)
    )


async def test_a_place_that_comes_free_lets_the_next_one_go_the_oldest_first(store: Store) -> None:
    made = [await ended(store) for _ in range(6)]
    seen = list[str]()
    with heard(store) as changes:
        while leases := await posted(store, places=1):
            [lease] = leases
            seen.append(lease.delivery.object_id)
            changes.clear()
            await sent(store, arrived(lease), places=1)
            await store.upkeep.check()
            assert any(change.deliveries for change in changes) or len(seen) == len(made)
    assert seen == made


async def test_a_dead_receivers_backlog_does_not_stand_before_others(store: Store, clock: FakeClock) -> None:
    """G11: after its backlog was set aside, one claim gets what is due of the others at once."""
    until = await broken(store, clock)
    for _ in range(9):
        await ended(store, DEAD)
    assert await posted(store) == []
    healthy = await ended(store)
    claimed = await store.deliveries.claim(worker="w", lease_for=LEASE, limit=1, places=PLACES, strangers=PLENTY)
    assert [lease.delivery.object_id for lease in claimed.leases] == [healthy]
    assert await store.deliveries.next_due() == until


# --- the breaker


async def test_after_five_failures_in_a_row_a_receiver_is_left_alone_and_then_tried_with_one(
    store: Store, clock: FakeClock
) -> None:
    until = await broken(store, clock)
    for _ in range(9):
        await ended(store, DEAD)
    assert await posted(store) == []
    clock.advance_to(until - 1)
    assert await posted(store) == []
    clock.advance_to(until)
    [probe] = await posted(store)
    await sent(store, bounced(probe, clock.now() + DAY))
    assert await posted(store) == []
    clock.advance_to(until + 2 * Receiver.FIRST_PAUSE)
    [probe] = await posted(store)
    await sent(store, arrived(probe))
    assert len(await posted(store)) >= 1


async def in_flight(store: Store, count: int = PLACES) -> list[DeliveryLease]:
    """So many at once on their way to a receiver that has all its places."""
    while True:
        for _ in range(count):
            await ended(store)
        leases = await posted(store)
        if len(leases) == count:
            return leases
        await sent(store, *map(arrived, leases))


@pytest.mark.parametrize("together", [True, False])
async def test_one_moment_of_failure_with_many_on_their_way_is_a_short_pause(
    store: Store, clock: FakeClock, together: bool
) -> None:
    leases = await in_flight(store)
    failed = [bounced(lease, clock.now() + DAY) for lease in leases]
    for some in [failed] if together else [[each] for each in failed]:
        await sent(store, *some)
    assert await posted(store) == []
    assert await store.deliveries.next_due() == START + Receiver.FIRST_PAUSE
    clock.advance_to(START + Receiver.FIRST_PAUSE)
    assert len(await posted(store)) == 1


async def test_only_one_delivery_waits_for_the_end_of_a_pause_and_the_others_for_that_one(
    store: Store, clock: FakeClock
) -> None:
    """G11: when it is over they are not all due at once."""
    until = await broken(store, clock)
    for _ in range(9):
        await ended(store, DEAD)
        assert await posted(store) == []
    assert [each.due_at for each in await told(store) if each.due_at == until] == [until]


async def test_a_pause_that_was_asked_for_outlasts_what_arrives_meanwhile(store: Store, clock: FakeClock) -> None:
    for _ in range(4):
        await ended(store)
    first, second = await posted(store)
    await sent(store, bounced(first, START + HOUR, pause_until=START + MINUTE))
    await sent(store, arrived(second))
    assert await posted(store) == []
    clock.advance_to(START + MINUTE)
    assert len(await posted(store)) >= 1


async def test_what_arrives_ends_the_pause_that_failures_brought_about(store: Store, clock: FakeClock) -> None:
    *bad, good = await in_flight(store)
    await sent(store, *[bounced(lease, clock.now() + DAY) for lease in bad])
    await ended(store)
    assert await posted(store) == []
    await sent(store, arrived(good))
    await ended(store)
    assert len(await posted(store)) >= 1


async def test_a_receiver_is_left_alone_for_half_an_hour_at_most_whatever_it_asks_for(
    store: Store, clock: FakeClock
) -> None:
    """Only what it was asked for waits longer."""
    await ended(store)
    [lease] = await posted(store)
    await sent(store, bounced(lease, START + DAY, pause_until=START + DAY))
    fresh = await ended(store)
    assert await posted(store) == []
    clock.advance_to(START + Receiver.LONGEST_PAUSE)
    assert [lease.delivery.object_id for lease in await posted(store)] == [fresh]


async def test_a_failure_that_was_ours_is_not_held_against_the_receiver(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    for _ in range(9):
        await ended(store, None)
        [lease] = await posted(store, 1)
        await sent(store, bounced(lease, clock.now() + DAY, blame=False))
    assert (await store.endpoints.get("t", endpoint.id)).failures == 0


async def test_a_receiver_that_asks_to_be_left_alone_is_left_alone(store: Store, clock: FakeClock) -> None:
    await ended(store)
    [lease] = await posted(store)
    await sent(store, bounced(lease, START + MINUTE, pause_until=START + 9 * MINUTE))
    await ended(store)
    assert await posted(store) == []
    clock.advance_to(START + MINUTE)
    assert await posted(store) == []
    clock.advance_to(START + 9 * MINUTE)
    assert len(await posted(store)) >= 1


async def test_how_an_endpoint_is_doing_shows_in_its_record(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    await ended(store, None)
    [lease] = await posted(store)
    clock.advance(seconds=1)
    await sent(store, bounced(lease, START + MINUTE))
    doing = await store.endpoints.get("t", endpoint.id)
    assert (doing.failures, doing.failing_since, doing.open_until) == (1, START + SECOND, None)
    clock.advance_to(START + MINUTE)
    [lease] = await posted(store)
    await sent(store, arrived(lease))
    assert await store.endpoints.get("t", endpoint.id) == endpoint


# --- disabling


async def test_an_endpoint_that_is_gone_is_disabled_and_the_others_are_told(store: Store) -> None:
    gone, asked, all_ends = (
        await listening(store, "chat.completion.completed", url=DEAD),
        await listening(store, ENDPOINT_DISABLED),
        await listening(store, "*"),
    )
    await listening(store, "video.completed")
    await listening(store, tenant="other")
    off = await listening(store)
    await store.endpoints.update("t", off.id, EndpointChange(enabled=False))
    await ended(store, None)
    leases = {lease.delivery.endpoint_id: lease for lease in await posted(store)}
    with heard(store) as changes:
        finished = await sent(store, arrived(leases[all_ends.id]), given_up(leases[gone.id], gone=True))
        await store.upkeep.check()
    assert finished.lost == []
    [disabled] = finished.disabled
    assert disabled == await store.endpoints.get("t", gone.id)
    assert (disabled.disabled_at, disabled.disabled_reason) == (START, "gone")
    found = [each for each in await told(store) if each.type == ENDPOINT_DISABLED]
    assert {each.endpoint_id for each in found} == {asked.id, all_ends.id}
    assert len({each.event_id for each in found}) == 1
    assert {each.object_id for each in found} == {gone.id}
    assert [json.decode(each.detail or b"") for each in found] == [{"url": DEAD, "reason": "gone"}] * 2
    assert any(change.deliveries for change in changes)
    assert {lease.delivery.endpoint_id for lease in await posted(store)} == {asked.id, all_ends.id}


async def test_an_endpoint_that_was_dead_for_too_long_is_disabled_once(store: Store, clock: FakeClock) -> None:
    endpoint = await listening(store)
    disabled = list[str]()
    for _ in range(4):
        await ended(store, None)
    while clock.now() < START + DAY and (due := await store.deliveries.next_due()) is not None:
        clock.advance_to(due)
        for lease in await posted(store):
            assert disabled == []
            failed = bounced(lease, clock.now() + MINUTE)
            finished = await store.deliveries.finish([failed], places=PLACES, disable_after=2 * HOUR)
            disabled += [each.id for each in finished.disabled]
    assert disabled == [endpoint.id]
    record = await store.endpoints.get("t", endpoint.id)
    assert record.disabled_reason == "failing"
    assert (record.disabled_at or 0) >= START + 2 * HOUR
    assert {each.status for each in await told(store)} == {DeliveryStatus.PENDING}


async def test_a_url_that_is_gone_fails_that_delivery_alone(store: Store) -> None:
    await ended(store)
    await ended(store)
    first, second = await posted(store)
    finished = await sent(store, given_up(first, gone=True), arrived(second))
    assert finished.disabled == []
    assert [each.status for each in await told(store)] == [DeliveryStatus.FAILED, DeliveryStatus.DELIVERED]


# --- the rest


async def test_nothing_is_due_where_nothing_waits(store: Store, clock: FakeClock) -> None:
    assert await store.deliveries.next_due() is None
    await ended(store)
    assert await store.deliveries.next_due() == START
    [lease] = await posted(store)
    await sent(store, bounced(lease, START + HOUR))
    assert await store.deliveries.next_due() == START + HOUR
    clock.advance_to(START + HOUR)
    [lease] = await posted(store)
    await sent(store, arrived(lease))
    assert await store.deliveries.next_due() is None


async def test_what_is_being_sent_is_not_purged_and_what_waits_behind_the_purged_goes_on(
    store: Store, clock: FakeClock
) -> None:
    old = await ended(store)
    [lease] = await posted(store)
    await sent(store, bounced(lease, START + 30 * DAY))
    busy = await ended(store, DEAD)
    clock.advance_to(START + 7 * DAY)
    [sending] = await posted(store)
    assert sending.delivery.object_id == busy
    while await store.upkeep.purge(limit=1):
        pass
    assert [each.object_id for each in await told(store)] == [busy]
    with pytest.raises(NotFound):
        await store.deliveries.attempts("t", lease.delivery.id)
    assert await told(store, object_id=old) == []
    assert (await sent(store, arrived(sending))).lost == []


async def test_what_is_to_be_sent_outlasts_a_log_that_is_kept_shorter_than_the_schedule(
    home: Home, clock: FakeClock
) -> None:
    """G6: it is forgotten when the whole schedule is over, if nothing came of it: in line for a dead one, too."""
    async with home.open(log_retention=HOUR) as store:
        endpoint = await listening(store)
        await store.endpoints.update("t", endpoint.id, EndpointChange(enabled=False))
        await ended(store)
        await ended(store, DEAD)
        leases = await posted(store)
        assert len(leases) == 2
        await sent(store, *[bounced(lease, START + 2 * HOUR) for lease in leases if lease.delivery.url == HOOK])
        await sent(store, *[given_up(lease) for lease in leases if lease.delivery.url == DEAD])
        clock.advance_to(START + WHOLE_SCHEDULE - 1)
        while await store.upkeep.purge(limit=1):
            pass
        assert {each.status for each in await told(store)} == {DeliveryStatus.PENDING}
        assert len(await told(store)) == 3
        clock.advance(seconds=1)
        while await store.upkeep.purge(limit=1):
            pass
        assert await told(store) == []


async def test_those_parked_behind_a_purged_one_are_not_forgotten(store: Store, clock: FakeClock) -> None:
    """The invariant of parking: something of a receiver with parked ones is always due."""
    until = await broken(store, clock)
    for _ in range(4):
        await ended(store, DEAD)
    assert await posted(store) == []
    clock.advance_to(START + 6 * DAY)
    [probe] = await posted(store)
    await sent(store, bounced(probe, START + 60 * DAY, pause_until=clock.now() + HOUR))
    fresh = {await ended(store, DEAD) for _ in range(3)}
    assert await posted(store) == []
    clock.advance_to(START + 7 * DAY + (until - START))
    while await store.upkeep.purge(limit=100):
        pass
    seen = set[str]()
    while (due := await store.deliveries.next_due()) is not None:
        clock.advance_to(due)
        leases = await posted(store)
        seen |= {lease.delivery.object_id for lease in leases}
        await sent(store, *map(arrived, leases))
    assert seen == fresh


async def test_a_receiver_that_was_not_used_for_as_long_as_the_log_is_kept_starts_afresh(
    store: Store, clock: FakeClock
) -> None:
    endpoint = await listening(store)
    await ended(store, None)
    [lease] = await posted(store)
    await sent(store, given_up(lease))
    clock.advance(seconds=8 * DAY / SECOND)
    while await store.upkeep.purge(limit=9):
        pass
    await store.upkeep.tidy(limit=9)
    assert await store.endpoints.get("t", endpoint.id) == endpoint


# --- strangers


async def test_a_tenant_has_no_more_than_its_share_of_what_strangers_may_have(store: Store) -> None:
    for tenant in ("crowd", "t"):
        for number in range(3):
            await ended(store, f"https://host{number}.example.com/", tenant=tenant)
    claimed = await store.deliveries.claim(
        worker="w", lease_for=LEASE, limit=9, places=PLACES, strangers=Strangers(9, each=2)
    )
    assert sorted(lease.delivery.tenant for lease in claimed.leases) == ["crowd", "crowd", "t", "t"]


async def test_only_so_many_leases_are_for_receivers_that_have_not_proven_themselves(
    store: Store, clock: FakeClock
) -> None:
    """G6: however many dead receivers there are, those that answer are served."""
    good = "https://good.example.com/"
    await ended(store, good)
    [lease] = await posted(store)
    await sent(store, arrived(lease))
    for number in range(9):
        await ended(store, f"https://dead{number}.example.com/")
    await ended(store, good)
    leases = await posted(store, strangers=2)
    assert [lease.stranger for lease in leases] == [True, True, False]
    assert leases[-1].delivery.url == good
    assert await posted(store, strangers=2) == []
    clock.advance(seconds=31)
    assert len(await posted(store, strangers=5)) == 5


async def test_a_receiver_that_fails_is_a_stranger_again(store: Store) -> None:
    await ended(store)
    [first] = await posted(store)
    await sent(store, arrived(first))
    await ended(store)
    [second] = await posted(store)
    await sent(store, given_up(second))
    await ended(store)
    [third] = await posted(store)
    assert (first.stranger, second.stranger, third.stranger) == (True, False, True)


async def test_a_receiver_that_takes_its_time_is_a_stranger(store: Store) -> None:
    strange = list[bool]()
    for took in (SLOW, SLOW - 1, SLOW):
        await ended(store)
        [lease] = await posted(store)
        strange.append(lease.stranger)
        attempt = an_attempt(lease, started_at=START, ended_at=START + took, status_code=200)
        await sent(store, arrived(lease, attempt=attempt))
    await ended(store)
    [lease] = await posted(store)
    assert [*strange, lease.stranger] == [True, True, False, True]


async def test_of_a_stranger_that_is_put_off_one_delivery_waits_and_the_others_for_that_one(
    store: Store, clock: FakeClock
) -> None:
    made = set[str]()
    for _ in range(5):
        made.add(await ended(store))
        assert await posted(store, strangers=0) == []
    assert len([each for each in await told(store) if each.due_at is not None]) == 1
    clock.advance(seconds=31)
    seen = set[str]()
    while leases := await posted(store):
        seen |= {lease.delivery.object_id for lease in leases}
        await sent(store, *map(arrived, leases))
    assert seen == made

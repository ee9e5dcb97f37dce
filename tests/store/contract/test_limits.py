"""G7: what `protocol.Leases` and `protocol.Registry` promise about limits on queues and upstreams."""

from collections.abc import Sequence
from random import Random

import pytest
from msgspec.structs import replace

from raincheck.core.adaptive import FIRST_LEVEL
from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.model import Lease, Limits, Offer, Place, Scope
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    START,
    WAYS,
    FakeClock,
    Way,
    a_request,
    capped,
    claimed,
    failure,
    heard,
    ids,
    release,
    running,
    stop,
    submitted,
    success,
    throttle,
)

SCOPES: list[tuple[Scope, str]] = [("queue", "small"), ("upstream", "up")]
either_scope = pytest.mark.parametrize(("scope", "name"), SCOPES, ids=[scope for scope, _ in SCOPES])


async def held_back(store: Store, *offers: Offer) -> frozenset[tuple[str, str]]:
    return (await store.leases.claim(offers, worker="w", lease_for=LEASE)).held_back


async def place(store: Store, request_id: str) -> Place:
    found = await store.requests.place("t", request_id)
    assert found is not None
    return found


async def claim_until(store: Store, clock: FakeClock, how_many: int, *, places: int = 99) -> list[tuple[int, Lease]]:
    """Claim and complete so many, resting only until the store says that more is due; with when each started."""
    starts = list[tuple[int, Lease]]()
    for _ in range(50 * how_many):
        leases = await claimed(store, places)
        starts += [(clock.now(), lease) for lease in leases]
        await store.leases.finish([success(lease) for lease in leases])
        if len(starts) >= how_many:
            return starts
        if not leases:
            due = await store.leases.next_due()
            assert due is not None, "something sticks: it waits, and nothing is ever due"
            assert due > clock.now()
            clock.advance_to(due)
    raise AssertionError(f"only {len(starts)} of {how_many} were started")


def busiest_minute(starts: Sequence[tuple[int, int]]) -> int:
    """The most that any sixty seconds saw of what was started: pairs of a time and an amount."""
    return max(sum(amount for at, amount in starts if first <= at < first + MINUTE) for first, _ in starts)


# --- max_concurrency


async def test_an_upstreams_cap_counts_what_runs_in_all_queues_and_workers(store: Store) -> None:
    for queue in ("a", "b"):
        await submitted(store, 5, queue=queue)
    await capped(store, 3, scope="upstream", name="up")
    assert len(await claimed(store, 2, queue="a", worker="one")) == 2
    assert len(await claimed(store, 2, queue="b", worker="two")) == 1
    for queue in ("a", "b"):
        assert await claimed(store, 2, queue=queue, worker="three") == []
    assert len(await claimed(store, 9, queue="b", upstream="elsewhere")) == 4
    assert (await throttle(store, "up", scope="upstream")).running == 3


async def test_offers_of_one_claim_share_the_room_of_their_upstream(store: Store) -> None:
    for queue in ("a", "b", "c"):
        await submitted(store, 5, queue=queue)
    await capped(store, 7, scope="upstream", name="up")
    offers = [Offer(queue, "up", 3) for queue in ("a", "b", "c")]
    leases, held = await store.leases.claim(offers, worker="w", lease_for=LEASE)
    assert [len([lease for lease in leases if lease.queue == queue]) for queue in "abc"] == [3, 3, 1]
    assert held == {("c", "up")}


async def test_the_smaller_of_both_caps_holds(store: Store) -> None:
    await submitted(store, 9)
    await capped(store, 4)
    await capped(store, 3, scope="upstream", name="up")
    assert len(await claimed(store, 9)) == 3
    await capped(store, None, scope="upstream", name="up")
    assert len(await claimed(store, 9)) == 1
    await capped(store, None)
    assert len(await claimed(store, 9)) == 5


@either_scope
@pytest.mark.parametrize("way", WAYS)
async def test_whatever_stops_running_frees_its_place_and_says_so(
    store: Store, clock: FakeClock, scope: Scope, name: str, way: Way
) -> None:
    """G3: who was held back tries again."""
    await capped(store, 1, scope=scope, name=name)
    lease = await running(store)
    await submitted(store, 2)
    assert await claimed(store) == []
    with heard(store) as changes:
        await stop(store, clock, lease, way)
    assert any(change.freed and "small" in change.ready for change in changes)
    assert len(await claimed(store, 9)) == 1


async def test_what_runs_without_a_limit_frees_no_place(store: Store) -> None:
    await capped(store, 1, name="other")
    lease = await running(store)
    with heard(store) as changes:
        await store.leases.finish([success(lease)])
    assert not any(change.freed for change in changes)


@either_scope
async def test_changing_a_limit_or_a_pause_frees_places(store: Store, scope: Scope, name: str) -> None:
    with heard(store) as changes:
        await capped(store, 1, scope=scope, name=name)
        await store.registry.pause(scope, name, until=START + HOUR)
        await store.registry.pause(scope, name, until=None)
        await capped(store, None, scope=scope, name=name)
    assert [change.freed for change in changes] == [True] * 4
    assert all(("small" in change.ready) == (scope == "queue") for change in changes)


# --- held back


async def test_held_back_names_the_offers_that_a_limit_kept_from_being_filled(store: Store) -> None:
    for queue in ("free", "capped", "exact", "paused"):
        await submitted(store, 3, queue=queue)
    await capped(store, 2, name="capped")
    await capped(store, 3, name="exact")
    await capped(store, 1, name="empty")
    await store.registry.pause("queue", "paused", until=START + HOUR)
    offers = [Offer(queue, "up", 9) for queue in ("free", "capped", "exact", "paused", "empty", "unknown")]
    assert await held_back(store, *offers) == {("capped", "up"), ("paused", "up")}
    assert await held_back(store, Offer("capped", "up", 9), Offer("exact", "up", 9)) == {("capped", "up")}


@pytest.mark.parametrize("free_first", [True, False])
@pytest.mark.parametrize("tight", ["paused", "at its rpm", "at its cap"])
async def test_a_limit_of_one_upstream_holds_nothing_back_from_another(
    store: Store, tight: str, free_first: bool
) -> None:
    """G7: neither what it serves just now, nor what comes next."""
    match tight:
        case "paused":
            await store.registry.pause("upstream", "tight", until=START + HOUR)
        case "at its rpm":
            await store.registry.set_limits("upstream", "tight", Limits(rpm=1))
        case _:
            await capped(store, 1, scope="upstream", name="tight")
    await submitted(store)
    await claimed(store, upstream="tight")
    await submitted(store, 3)
    offers = [Offer("small", "tight", 2), Offer("small", "free", 2)]
    leases, held = await store.leases.claim(offers[::-1] if free_first else offers, worker="w", lease_for=LEASE)
    assert [lease.upstream for lease in leases] == ["free", "free"]
    assert held == {("small", "tight")}
    leases, held = await store.leases.claim(offers, worker="w", lease_for=LEASE)
    assert ("small", "free") not in held
    assert [lease.upstream for lease in leases][:1] == ["free"]


async def test_a_lack_of_places_holds_nothing_back(store: Store) -> None:
    await submitted(store, 5)
    await capped(store, 4)
    assert await held_back(store, Offer("small", "up", 2)) == set()
    assert await held_back(store, Offer("small", "up", 2)) == set()
    assert await held_back(store, Offer("small", "up", 2)) == {("small", "up")}


# --- requests a minute


@either_scope
async def test_no_more_than_rpm_start_in_a_minute(store: Store, clock: FakeClock, scope: Scope, name: str) -> None:
    await store.registry.set_limits(scope, name, Limits(rpm=5))
    await submitted(store, 12)
    assert len(await claimed(store, 3)) == 3
    clock.advance(seconds=30)
    assert len(await claimed(store, 9)) == 2
    clock.advance(seconds=29.999999)
    assert await claimed(store, 9) == []
    clock.advance(seconds=2)
    assert len(await claimed(store, 9)) == 3


async def test_workers_and_queues_share_the_rpm_of_an_upstream(store: Store) -> None:
    await store.registry.set_limits("upstream", "up", Limits(rpm=5))
    for queue in ("a", "b"):
        await submitted(store, 5, queue=queue)
    offers = [Offer("a", "up", 2), Offer("b", "up", 2)]
    leases, held = await store.leases.claim(offers, worker="one", lease_for=LEASE)
    assert (len(leases), held) == (4, set())
    leases, held = await store.leases.claim(offers, worker="two", lease_for=LEASE)
    assert (len(leases), held) == (1, {("a", "up"), ("b", "up")})


@pytest.mark.slow("several minutes of arrivals")
@pytest.mark.parametrize("seed", [1, 2])
async def test_no_sliding_minute_ever_sees_more_than_rpm_and_nothing_sticks(
    store: Store, clock: FakeClock, seed: int
) -> None:
    """G3, G7: against a plain check with windows of sixty seconds and no slack, at the claims' own times."""
    random, rpm, total = Random(seed), 20, 150
    await store.registry.set_limits("upstream", "up", Limits(rpm=rpm))
    starts, arrived = list[tuple[int, int]](), 0
    while len(starts) < total:
        if arrived < total:
            more = min(random.choice([0, 1, 1, 2, 30]), total - arrived)
            arrived += len(await submitted(store, more))
        leases = await claimed(store, random.choice([1, 2, 9, 40]))
        starts += [(clock.now(), 1)] * len(leases)
        await store.leases.finish([success(lease) for lease in leases])
        if arrived == total and not leases:
            clock.advance_to(await store.leases.next_due() or clock.now())
        clock.advance(seconds=random.uniform(0, 2))
    assert busiest_minute(starts) == rpm
    # All of the limit is used: at most a second per minute is lost to the grain of its books.
    assert starts[-1][0] - starts[0][0] <= (total / rpm) * 65 * SECOND
    assert await store.leases.ready() == set()


async def test_what_a_limit_per_minute_holds_back_is_known_with_its_time(store: Store, clock: FakeClock) -> None:
    await store.registry.set_limits("upstream", "up", Limits(rpm=2))
    await submitted(store, 4)
    [*_, last] = await submitted(store, 1)
    done = await claimed(store, 2)
    await store.leases.finish([success(lease) for lease in done])
    assert await store.leases.next_due() is None
    assert (await place(store, last.id)).held_until is None

    assert await held_back(store, Offer("small", "up", 9)) == {("small", "up")}
    waits = await place(store, last.id)
    assert waits.held_until is not None
    assert START + MINUTE <= waits.held_until <= START + 61 * SECOND
    assert waits.held_reason == "at most 2 requests a minute for upstream up"
    assert (waits.paused_until, waits.pause_reason) == (None, None)
    assert await store.leases.next_due() == waits.held_until

    clock.advance_to(waits.held_until)
    assert (await place(store, last.id)).held_until is None
    assert len(await claimed(store, 2)) == 2
    assert (await place(store, last.id)).held_reason is None


async def test_an_rpm_that_is_lifted_holds_nothing_any_more(store: Store) -> None:
    await store.registry.set_limits("queue", "small", Limits(rpm=1))
    [*_, last] = await submitted(store, 3)
    assert len(await claimed(store, 2)) == 1
    assert (await place(store, last.id)).held_reason == "at most 1 requests a minute for queue small"
    await store.registry.set_limits("queue", "small", Limits())
    assert len(await claimed(store, 1)) == 1
    assert (await place(store, last.id)).held_until is None


async def test_a_try_counts_again_for_rpm_when_it_is_repeated(store: Store, clock: FakeClock) -> None:
    await store.registry.set_limits("queue", "small", Limits(rpm=2))
    lease = await running(store)
    await store.leases.finish([release(lease)])
    [again] = await claimed(store)
    await store.leases.finish([release(again)])
    assert await claimed(store) == []
    clock.advance(seconds=61)
    assert len(await claimed(store)) == 1


# --- tokens a minute


@either_scope
async def test_no_more_than_tpm_are_expected_to_be_used_in_a_minute(
    store: Store, clock: FakeClock, scope: Scope, name: str
) -> None:
    await store.registry.set_limits(scope, name, Limits(tpm=100))
    first = await submitted(store, 3, tokens=40)
    [small] = await submitted(store, tokens=1)
    assert ids(await claimed(store, 9, lease_for=HOUR)) == [each.id for each in first[:2]]
    assert await held_back(store, Offer("small", "up", 9)) == {("small", "up")}
    waits = await place(store, small.id)
    assert waits.held_reason == f"at most 100 tokens a minute for {scope} {name}"
    assert await store.leases.next_due() == waits.held_until
    clock.advance(seconds=59)
    assert await claimed(store, 9) == []
    clock.advance(seconds=2)
    assert ids(await claimed(store, 9)) == [first[2].id, small.id]


async def test_what_was_used_in_truth_replaces_the_estimate(store: Store) -> None:
    await store.registry.set_limits("upstream", "up", Limits(tpm=100))
    await submitted(store, 9, tokens=50)
    one, two = await claimed(store, 9)
    await store.leases.finish([replace(success(one), tokens=10)])
    assert await claimed(store, 9) == []
    await store.leases.finish([replace(failure(two), tokens=30)])
    [three] = await claimed(store, 9)
    await store.leases.finish([replace(success(three), tokens=500)])
    assert await claimed(store, 9) == []


async def test_a_correction_counts_for_the_minute_of_its_claim_only(store: Store, clock: FakeClock) -> None:
    await store.registry.set_limits("queue", "small", Limits(tpm=100))
    await submitted(store, 9, tokens=50)
    [one, two] = await claimed(store, 9, lease_for=HOUR)
    clock.advance(seconds=30)
    await store.leases.finish([replace(success(one), tokens=90)])
    clock.advance(seconds=31)
    [*three] = await claimed(store, 9)
    assert len(three) == 2
    await store.leases.finish([replace(success(two), tokens=1_000)])
    clock.advance(seconds=61)
    assert len(await claimed(store, 9)) == 2


async def test_a_finish_that_says_nothing_of_tokens_leaves_the_estimate(store: Store) -> None:
    await store.registry.set_limits("queue", "small", Limits(tpm=100))
    await submitted(store, 3, tokens=50)
    leases = await claimed(store, 9)
    assert len(leases) == 2
    await store.leases.finish([success(lease) for lease in leases])
    assert await claimed(store, 9) == []


async def test_what_is_larger_than_the_whole_tpm_starts_when_nothing_else_was_spent(
    store: Store, clock: FakeClock
) -> None:
    """G3: it would wait for ever else."""
    await store.registry.set_limits("upstream", "up", Limits(tpm=100))
    [small] = await submitted(store, tokens=10)
    [huge] = await submitted(store, tokens=1_000)
    [after] = await submitted(store, tokens=10)
    assert ids(await claimed(store, 9, lease_for=HOUR)) == [small.id]
    clock.advance(seconds=30)
    assert await claimed(store, 9) == []
    clock.advance(seconds=31)
    assert ids(await claimed(store, 9, lease_for=HOUR)) == [huge.id]
    assert await claimed(store, 9) == []
    clock.advance(seconds=61)
    assert ids(await claimed(store, 9)) == [after.id]


@pytest.mark.slow("several minutes of arrivals")
async def test_no_sliding_minute_ever_sees_more_than_tpm_and_nothing_sticks(store: Store, clock: FakeClock) -> None:
    """G3, G7."""
    random, tpm = Random(7), 1_000
    await store.registry.set_limits("queue", "small", Limits(tpm=tpm))
    new = [a_request(tokens=random.randint(1, 400)) for _ in range(60)]
    await store.requests.submit(new)
    tokens = {each.id: each.tokens for each in new}
    starts = await claim_until(store, clock, len(new), places=7)
    assert [lease.fence.request_id for _, lease in starts] == [each.id for each in new]
    assert busiest_minute([(at, tokens[lease.fence.request_id]) for at, lease in starts]) <= tpm


async def test_all_limits_together_let_everything_through_in_the_end(store: Store, clock: FakeClock) -> None:
    """G3."""
    await store.registry.set_limits("queue", "small", Limits(max_concurrency=2, rpm=7))
    await store.registry.set_limits("upstream", "up", Limits(max_concurrency=3, tpm=300))
    await submitted(store, 20, tokens=90)
    starts = await claim_until(store, clock, 20)
    assert busiest_minute([(at, 90) for at, _ in starts]) == 270
    assert await store.leases.ready() == set()


# --- pauses


async def test_a_paused_upstream_gives_nothing_to_any_queue_until_its_time(store: Store, clock: FakeClock) -> None:
    [request] = await submitted(store, queue="a")
    await submitted(store, queue="b")
    await store.registry.pause("upstream", "up", until=START + MINUTE, reason="a new driver")
    assert await held_back(store, Offer("a", "up", 9), Offer("b", "up", 9)) == {("a", "up"), ("b", "up")}
    waits = await place(store, request.id)
    assert waits.held_until == START + MINUTE
    assert "up" in (waits.held_reason or "")
    assert "a new driver" in (waits.held_reason or "")
    assert (waits.paused_until, waits.pause_reason) == (None, None)
    assert await store.leases.next_due() == START + MINUTE
    assert len(await claimed(store, queue="b", upstream="elsewhere")) == 1
    clock.advance(seconds=60)
    assert len(await claimed(store, queue="a")) == 1


async def test_an_upstream_that_is_opened_again_holds_nothing(store: Store) -> None:
    [request] = await submitted(store)
    await store.registry.pause("upstream", "up", until=START + HOUR)
    assert await claimed(store) == []
    paused = await throttle(store, "up", scope="upstream")
    assert (paused.paused_until, paused.pause_reason) == (START + HOUR, "paused by an operator")
    await store.registry.pause("upstream", "up", until=None)
    assert await store.registry.throttles("upstream") == []
    assert ids(await claimed(store)) == [request.id]


async def test_a_queue_with_one_paused_and_one_open_upstream_is_not_held(store: Store) -> None:
    [*_, last] = await submitted(store, 3)
    await store.registry.pause("upstream", "shut", until=START + HOUR)
    offers = [Offer("small", "shut", 1), Offer("small", "open", 1)]
    leases, _ = await store.leases.claim(offers, worker="w", lease_for=LEASE)
    assert [lease.upstream for lease in leases] == ["open"]
    assert (await place(store, last.id)).held_until is None


async def test_limits_and_pauses_are_listed_by_name_for_each_scope(store: Store) -> None:
    limits = Limits(max_concurrency=3, rpm=60, tpm=1_000)
    await store.registry.set_limits("queue", "b", limits)
    await store.registry.set_limits("queue", "a", Limits(rpm=1))
    await store.registry.set_limits("upstream", "c", Limits(tpm=9))
    await store.registry.pause("upstream", "d", until=START + HOUR, reason="repairs")
    await running(store, queue="b", tenant="t")
    queues = await store.registry.throttles("queue")
    assert [(each.name, each.limits, each.running) for each in queues] == [("a", Limits(rpm=1), 0), ("b", limits, 1)]
    upstreams = await store.registry.throttles("upstream")
    assert [(each.name, each.limits, each.pause_reason) for each in upstreams] == [
        ("c", Limits(tpm=9), None),
        ("d", Limits(), "repairs"),
    ]
    await store.registry.set_limits("queue", "b", Limits())
    assert [each.name for each in await store.registry.throttles("queue")] == ["a"]


# --- adaptive


async def level(store: Store) -> float:
    found = await throttle(store, "up", scope="upstream")
    assert found.limits.max_concurrency == "auto"
    assert found.level is not None
    return found.level


async def adaptive(store: Store) -> None:
    await store.registry.set_limits("upstream", "up", Limits(max_concurrency="auto"))


@pytest.mark.slow("thirty rounds")
async def test_an_adaptive_cap_starts_small_and_grows_while_all_goes_well(store: Store, clock: FakeClock) -> None:
    await adaptive(store)
    assert await level(store) == FIRST_LEVEL
    await submitted(store, 100)
    at_work = list[Lease]()
    for _ in range(30):
        at_work += await claimed(store, 99)
        assert len(at_work) == int(await level(store))
        clock.advance(seconds=0.1)
        await store.leases.finish([success(at_work.pop(0))])
    assert await level(store) > FIRST_LEVEL + 2


async def test_an_adaptive_cap_that_is_not_reached_does_not_grow(store: Store, clock: FakeClock) -> None:
    await adaptive(store)
    for _ in range(20):
        lease = await running(store)
        clock.advance(seconds=1)
        await store.leases.finish([success(lease)])
    assert await level(store) == FIRST_LEVEL


async def test_congestion_lowers_an_adaptive_cap_once_per_round(store: Store, clock: FakeClock) -> None:
    await adaptive(store)
    await submitted(store, 20)
    leases = await claimed(store, 99)
    clock.advance(seconds=1)
    signs = [replace(release(lease), congested=True) for lease in leases]
    await store.leases.finish(signs[:1])
    lowered = await level(store)
    assert 1 <= lowered < FIRST_LEVEL
    await store.leases.finish(signs[1:])
    assert await level(store) == lowered
    assert len(await claimed(store, 99)) == int(lowered)


async def test_an_adaptive_level_survives_new_limits_a_pause_and_a_restart_of_the_search(
    store: Store, clock: FakeClock
) -> None:
    await adaptive(store)
    lease = await running(store)
    clock.advance(seconds=1)
    await store.leases.finish([replace(release(lease), congested=True)])
    lowered = await level(store)
    await store.registry.set_limits("upstream", "up", Limits(max_concurrency="auto", rpm=1_000))
    await store.registry.pause("upstream", "up", until=START + HOUR)
    await store.registry.pause("upstream", "up", until=None)
    assert await level(store) == lowered
    await store.registry.set_limits("upstream", "up", Limits(max_concurrency=9))
    fixed = await throttle(store, "up", scope="upstream")
    assert (fixed.limits, fixed.level) == (Limits(max_concurrency=9), None)
    await adaptive(store)
    assert await level(store) >= 1


async def test_workers_share_one_adaptive_level(store: Store) -> None:
    await adaptive(store)
    await submitted(store, 20)
    taken = [len(await claimed(store, 3, worker=worker)) for worker in ("one", "two", "three")]
    assert sum(taken) == int(FIRST_LEVEL)


async def test_slow_first_tokens_lower_an_adaptive_cap(store: Store, clock: FakeClock) -> None:
    await adaptive(store)
    await submitted(store, 200)

    async def rounds(how_many: int, *, seconds: int) -> float:
        for _ in range(how_many):
            leases = await claimed(store, 99)
            clock.advance(seconds=seconds)
            for lease in leases:
                await store.leases.finish([replace(success(lease), first_token=seconds * SECOND)])
        return await level(store)

    quick = await rounds(5, seconds=1)
    assert quick > FIRST_LEVEL
    assert await rounds(10, seconds=20) < quick

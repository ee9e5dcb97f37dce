"""What `protocol.Strays` promises, and which ends leave one."""

from collections.abc import Awaitable, Callable

import pytest

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.model import Beat, Finish, Lease, Remote, Stray
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    START,
    FakeClock,
    Home,
    claimed,
    failure,
    heard,
    release,
    retry,
    running,
    status,
    submitted,
    success,
    with_a_job,
)

End = Callable[[Store, FakeClock, Lease], Awaitable[object]]


async def strays(store: Store, *upstreams: str) -> list[Stray]:
    return await store.strays.due(upstreams or ("up",), limit=99)


# --- which ends leave one


async def cancelled_while_it_runs(store: Store, _: FakeClock, lease: Lease) -> None:
    await store.requests.cancel("t", lease.fence.request_id)


async def cancelled_between_attempts(store: Store, clock: FakeClock, lease: Lease) -> None:
    await store.leases.finish([retry(lease, clock.now() + HOUR)])
    await store.requests.cancel("t", lease.fence.request_id)


async def failed(store: Store, _: FakeClock, lease: Lease) -> None:
    await store.leases.finish([failure(lease)])


async def expired_by_its_attempt(store: Store, _: FakeClock, lease: Lease) -> None:
    await store.leases.finish([failure(lease, Status.EXPIRED)])


async def expired_by_upkeep(store: Store, clock: FakeClock, lease: Lease) -> None:
    await store.leases.finish([release(lease)])
    clock.advance_to(START + 3 * MINUTE)
    assert await store.upkeep.expire(limit=9) == 1


async def expired_by_a_claim(store: Store, clock: FakeClock, lease: Lease) -> None:
    await store.leases.finish([release(lease)])
    clock.advance_to(START + 3 * MINUTE)
    assert await claimed(store) == []


async def lapsed_past_its_deadline(store: Store, clock: FakeClock, _: Lease) -> None:
    clock.advance_to(START + 3 * MINUTE)
    assert await claimed(store) == []


async def lapsed_out_of_attempts(store: Store, clock: FakeClock, _: Lease) -> None:
    clock.advance(seconds=LEASE / SECOND)
    [again] = await claimed(store)
    assert again.remote == Remote("up", "job-7")
    clock.advance(seconds=LEASE / SECOND)
    assert await claimed(store) == []


@pytest.mark.parametrize(
    "end",
    [
        cancelled_while_it_runs,
        cancelled_between_attempts,
        failed,
        expired_by_its_attempt,
        expired_by_upkeep,
        expired_by_a_claim,
        lapsed_past_its_deadline,
        lapsed_out_of_attempts,
    ],
)
async def test_every_end_but_completion_leaves_the_remote_job_to_be_stopped(
    store: Store, clock: FakeClock, end: End
) -> None:
    """G5: once, due at once."""
    await with_a_job(store, "job-1", queue="other")
    lease = await with_a_job(store, max_attempts=2, deadline=START + 3 * MINUTE)
    await end(store, clock, lease)
    assert (await status(store, lease.fence.request_id)).final
    [stray] = await strays(store)
    assert (stray.remote, stray.since, stray.tries) == (Remote("up", "job-7"), clock.now(), 0)


async def test_completion_forgets_the_remote_job(store: Store) -> None:
    lease = await with_a_job(store)
    await store.leases.finish([success(lease)])
    assert await strays(store) == []


async def test_an_end_without_a_remote_job_leaves_nothing(store: Store, clock: FakeClock) -> None:
    lease = await running(store)
    await store.leases.finish([failure(lease)])
    lease = await with_a_job(store)
    await store.leases.extend([Beat(lease.fence, remote=None)], lease_for=LEASE)
    await store.requests.cancel("t", lease.fence.request_id)
    [waiting] = await submitted(store, deadline=START + MINUTE)
    clock.advance(seconds=60)
    await store.upkeep.expire(limit=9)
    assert (await status(store, waiting.id)).final
    assert await strays(store) == []


async def test_many_ends_at_once_leave_each_their_own(store: Store) -> None:
    leases = [await with_a_job(store, f"job-{number}") for number in range(4)]
    await store.leases.finish([success(leases[0]), failure(leases[1]), failure(leases[2]), retry(leases[3], 0)])
    assert [stray.remote.id for stray in await strays(store)] == ["job-1", "job-2"]


async def test_cancelling_twice_leaves_one(store: Store) -> None:
    lease = await with_a_job(store)
    for _ in range(2):
        await store.requests.cancel("t", lease.fence.request_id)
    assert len(await strays(store)) == 1


async def test_a_zombies_failure_leaves_nothing(store: Store, clock: FakeClock) -> None:
    """G2: the newer attempt still wants the job."""
    zombie = await with_a_job(store)
    clock.advance(seconds=LEASE / SECOND)
    [owner] = await claimed(store)
    assert await store.leases.finish([failure(zombie)]) == [zombie.fence]
    assert await strays(store) == []
    assert owner.remote == Remote("up", "job-7")


# --- those that no request knows of


async def test_a_job_that_no_request_knows_of_can_be_noted(home: Home) -> None:
    """G5: durably, and due at once."""
    async with home.open() as store:
        home.clock.advance(seconds=1)
        with heard(store) as changes:
            await store.strays.add([Remote("up", "job-1"), Remote("up", "job-2"), Remote("else", "job-1")])
        assert [change.strays for change in changes] == [True]
        await store.strays.add([])
    home.clock.advance(seconds=1)
    async with home.open() as store:
        found = await strays(store)
        assert [(stray.remote, stray.since, stray.tries) for stray in found] == [
            (Remote("up", "job-1"), START + SECOND, 0),
            (Remote("up", "job-2"), START + SECOND, 0),
        ]
        await store.strays.swept(found)
        assert [stray.remote for stray in await strays(store, "up", "else")] == [Remote("else", "job-1")]


async def test_a_job_whose_id_is_odd_can_be_noted(store: Store) -> None:
    await store.strays.add([Remote("up", "job 7/ü\N{DUCK}'\"")])
    assert [stray.remote.id for stray in await strays(store)] == ["job 7/ü\N{DUCK}'\""]


async def test_strays_that_nobody_could_stop_for_two_days_are_forgotten(store: Store, clock: FakeClock) -> None:
    """G12: as when their upstream was taken out of the configuration."""
    await store.strays.add([Remote("no more", "job-1"), Remote("no more", "job-2"), Remote("no more", "job-3")])
    clock.advance(seconds=DAY / SECOND)
    await store.strays.add([Remote("no more", "job-4")])
    await store.upkeep.tidy(limit=9)
    assert len(await strays(store, "no more")) == 4
    clock.advance(seconds=DAY / SECOND)
    assert await store.upkeep.tidy(limit=2) == 0
    assert len(await strays(store, "no more")) == 2
    await store.upkeep.tidy(limit=9)
    assert [stray.remote.id for stray in await strays(store, "no more")] == ["job-4"]


# --- what a claim finds of a remote job


@pytest.mark.parametrize("way", [retry, release])
async def test_a_remote_job_outlives_its_attempt(store: Store, clock: FakeClock, way: Callable[..., Finish]) -> None:
    """G4."""
    lease = await with_a_job(store)
    await store.leases.finish([way(lease, due_at=clock.now())])
    [again] = await claimed(store, upstream="another")
    assert again.remote == Remote("up", "job-7")


async def test_the_latest_remote_job_is_the_one_to_go_on_with(store: Store, clock: FakeClock) -> None:
    lease = await with_a_job(store)
    await store.leases.extend([Beat(lease.fence, 0.5)], lease_for=LEASE)
    await store.leases.extend([Beat(lease.fence, remote=Remote("other", "job-8"))], lease_for=LEASE)
    clock.advance(seconds=LEASE / SECOND)
    [again] = await claimed(store)
    assert again.remote == Remote("other", "job-8")


async def test_a_remote_job_that_is_no_more_is_forgotten_for_good(home: Home) -> None:
    async with home.open() as store:
        lease = await with_a_job(store)
        await store.leases.extend([Beat(lease.fence, remote=None)], lease_for=LEASE)
        await store.leases.extend([Beat(lease.fence, 0.5)], lease_for=LEASE)
    home.clock.advance(seconds=LEASE / SECOND)
    async with home.open() as store:
        [again] = await claimed(store)
        assert again.remote is None


# --- sweeping


async def test_due_strays_are_those_of_the_upstreams_asked_for_oldest_first(store: Store, clock: FakeClock) -> None:
    for number in range(4):
        lease = await running(store)
        remote = Remote("even" if number % 2 == 0 else "odd", f"job-{number}")
        await store.leases.extend([Beat(lease.fence, remote=remote)], lease_for=LEASE)
        clock.advance(seconds=1)
        await store.requests.cancel("t", lease.fence.request_id)

    async def jobs(*upstreams: str, limit: int = 99) -> list[str]:
        return [stray.remote.id for stray in await store.strays.due(upstreams, limit=limit)]

    assert await jobs("odd", "even") == ["job-0", "job-1", "job-2", "job-3"]
    assert await jobs("odd", "even", limit=3) == ["job-0", "job-1", "job-2"]
    assert await jobs("odd") == ["job-1", "job-3"]
    assert await jobs("nobody") == []
    assert await jobs() == []


async def test_a_stray_that_was_put_off_is_due_again_when_its_time_has_come(home: Home) -> None:
    """G5: across a crash, too."""
    async with home.open() as store:
        lease = await with_a_job(store)
        await store.requests.cancel("t", lease.fence.request_id)
        [stray] = await strays(store)
        await store.strays.put_off([stray], delay=MINUTE)
        assert await strays(store) == []
    home.clock.advance(seconds=60)
    async with home.open() as store:
        [again] = await strays(store)
        assert (again.id, again.remote, again.since, again.tries) == (stray.id, stray.remote, stray.since, 1)
        await store.strays.put_off([again], delay=MINUTE)
        home.clock.advance(seconds=60)
        assert [each.tries for each in await strays(store)] == [2]
        await store.strays.put_off([], delay=MINUTE)


async def test_of_two_that_tried_at_once_one_counts(store: Store, clock: FakeClock) -> None:
    lease = await with_a_job(store)
    await store.requests.cancel("t", lease.fence.request_id)
    [stray] = await strays(store)
    for delay in (MINUTE, HOUR):
        await store.strays.put_off([stray], delay=delay)
    clock.advance(seconds=60)
    assert [each.tries for each in await strays(store)] == [1]


async def test_swept_strays_are_forgotten_and_the_others_are_not(store: Store) -> None:
    for number in range(3):
        lease = await with_a_job(store, f"job-{number}")
        await store.requests.cancel("t", lease.fence.request_id)
    first, second, third = await strays(store)
    await store.strays.swept([first, third])
    assert await strays(store) == [second]
    await store.strays.swept([first])
    await store.strays.swept([])
    assert await strays(store) == [second]


async def test_a_stray_that_comes_after_one_was_swept_is_not_taken_for_it(store: Store) -> None:
    lease = await with_a_job(store, "job-1")
    await store.requests.cancel("t", lease.fence.request_id)
    [first] = await strays(store)
    await store.strays.swept([first])
    lease = await with_a_job(store, "job-2")
    await store.requests.cancel("t", lease.fence.request_id)
    await store.strays.swept([first])
    await store.strays.put_off([first], delay=MINUTE)
    assert [stray.remote.id for stray in await strays(store)] == ["job-2"]


async def test_a_stray_outlives_its_request(store: Store) -> None:
    lease = await with_a_job(store)
    await store.requests.cancel("t", lease.fence.request_id)
    await store.requests.delete("t", lease.fence.request_id)
    assert len(await strays(store)) == 1

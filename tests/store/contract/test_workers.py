"""What `protocol.Registry` promises about workers."""

from msgspec.structs import replace

from raincheck.core.clock import DAY, HOUR, SECOND
from raincheck.core.model import Worker
from raincheck.store.protocol import Store
from tests.store.builders import START, FakeClock, claimed, submitted, success


def a_worker(name: str = "w", **changes: object) -> Worker:
    plain = Worker(name=name, host="host", pid=123, version="0.1", started_at=START - HOUR, seen_at=START)
    return replace(plain, **changes)


async def test_a_worker_is_known_since_its_first_sign_of_life_with_the_stores_own_time(
    store: Store, clock: FakeClock
) -> None:
    assert await store.registry.workers() == []
    await store.registry.put_worker(a_worker(seen_at=1))
    assert await store.registry.workers() == [a_worker()]
    clock.advance(seconds=20)
    await store.registry.put_worker(a_worker(version="0.2", pid=124))
    assert await store.registry.workers() == [a_worker(version="0.2", pid=124, seen_at=START + 20 * SECOND)]


async def test_workers_are_listed_by_name_with_the_number_of_their_leases(store: Store) -> None:
    for name in ("b", "a", "c"):
        await store.registry.put_worker(a_worker(name, running=77))
    await submitted(store, 6)
    first, *_ = await claimed(store, 3, worker="a")
    await claimed(store, 2, worker="b")
    await store.leases.finish([success(first)])
    assert [(worker.name, worker.running) for worker in await store.registry.workers()] == [
        ("a", 2),
        ("b", 2),
        ("c", 0),
    ]


async def test_a_worker_that_never_said_who_it_is_is_listed_while_it_holds_leases(
    store: Store, clock: FakeClock
) -> None:
    await store.registry.put_worker(a_worker("known"))
    await submitted(store, 2)
    first = await claimed(store, worker="unknown")
    clock.advance(seconds=5)
    second = await claimed(store, worker="unknown")
    known, unknown = await store.registry.workers()
    assert (known.name, known.running) == ("known", 0)
    assert (unknown.name, unknown.host, unknown.pid, unknown.running) == ("unknown", "", 0, 2)
    assert (unknown.started_at, unknown.seen_at) == (START, START + 5 * SECOND)
    await store.leases.finish([success(lease) for lease in first + second])
    assert [worker.name for worker in await store.registry.workers()] == ["known"]


async def test_a_worker_that_stopped_is_forgotten(store: Store) -> None:
    await store.registry.put_worker(a_worker("stays"))
    await store.registry.put_worker(a_worker("goes"))
    for _ in range(2):
        await store.registry.drop_worker("goes")
    assert [worker.name for worker in await store.registry.workers()] == ["stays"]


async def test_a_worker_that_was_not_seen_for_a_day_is_forgotten_but_not_while_it_holds_leases(
    store: Store, clock: FakeClock
) -> None:
    """G12: names of workers that were killed do not stay for ever."""
    await store.registry.put_worker(a_worker("gone"))
    await store.registry.put_worker(a_worker("busy"))
    await submitted(store)
    await claimed(store, worker="busy", lease_for=3 * DAY)
    clock.advance(seconds=DAY / SECOND)
    await store.registry.put_worker(a_worker("new"))
    assert await store.upkeep.tidy(limit=9) == 0
    assert [worker.name for worker in await store.registry.workers()] == ["busy", "new"]

"""What `protocol.Blobs` promises, and what ends and purges do to the names it keeps."""

import pytest

from raincheck.core.clock import HOUR, MINUTE, SECOND
from raincheck.core.errors import ResultGone
from raincheck.core.model import Result
from raincheck.store.protocol import Store
from tests.store.builders import RETENTION, FakeClock, running, success


async def kept_apart(store: Store, blob: str = "results/a", **changes: object) -> str:
    """The id of a request whose result is a blob."""
    await store.blobs.expect(blob, keep_for=HOUR)
    lease = await running(store, **changes)
    assert await store.leases.finish([success(lease, b"", blob=blob, size=5_000_000)]) == []
    return lease.fence.request_id


async def test_a_result_in_the_object_store_is_known_by_its_name_and_size(store: Store) -> None:
    request_id = await kept_apart(store)
    result = await store.requests.result("t", request_id)
    assert result == Result(200, "application/json", b"", "results/a", 5_000_000)


async def test_a_name_that_nothing_refers_to_is_doomed_when_its_time_has_come(store: Store, clock: FakeClock) -> None:
    await store.blobs.expect("later", keep_for=HOUR)
    await store.blobs.expect("soon", keep_for=MINUTE)
    assert await store.blobs.doomed(limit=9) == []
    clock.advance(seconds=60)
    assert await store.blobs.doomed(limit=9) == ["soon"]
    clock.advance(seconds=HOUR / SECOND)
    assert sorted(await store.blobs.doomed(limit=9)) == ["later", "soon"]
    assert len(await store.blobs.doomed(limit=1)) == 1


async def test_a_finish_that_refers_to_a_name_lifts_its_doom(store: Store, clock: FakeClock) -> None:
    await kept_apart(store)
    clock.advance(seconds=2 * HOUR / SECOND)
    assert await store.blobs.doomed(limit=9) == []


async def test_a_lost_fence_leaves_the_doom_of_its_name(store: Store, clock: FakeClock) -> None:
    """G2."""
    await store.blobs.expect("late", keep_for=MINUTE)
    lease = await running(store)
    await store.requests.cancel("t", lease.fence.request_id)
    assert await store.leases.finish([success(lease, b"", blob="late", size=9)]) == [lease.fence]
    clock.advance(seconds=60)
    assert await store.blobs.doomed(limit=9) == ["late"]


async def test_deleting_a_request_dooms_its_blob_at_once(store: Store) -> None:
    request_id = await kept_apart(store)
    await kept_apart(store, "results/b")
    await store.requests.delete("t", request_id)
    assert await store.blobs.doomed(limit=9) == ["results/a"]


async def test_the_end_of_retention_dooms_the_blob_at_once(store: Store, clock: FakeClock) -> None:
    """G12."""
    request_id = await kept_apart(store)
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.blobs.doomed(limit=9) == []
    assert await store.upkeep.purge(limit=9) == 1
    assert await store.blobs.doomed(limit=9) == ["results/a"]
    with pytest.raises(ResultGone):
        await store.requests.result("t", request_id)
    await store.blobs.gone(["results/a"])
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=9) == 1
    assert await store.blobs.doomed(limit=9) == []


async def test_a_name_whose_body_was_deleted_is_forgotten(store: Store, clock: FakeClock) -> None:
    for name in ("a", "b", "c"):
        await store.blobs.expect(name, keep_for=MINUTE)
    clock.advance(seconds=60)
    await store.blobs.gone(["a", "c", "unknown"])
    assert await store.blobs.doomed(limit=9) == ["b"]
    await store.blobs.gone([])


async def test_noting_a_name_again_puts_its_doom_off(store: Store, clock: FakeClock) -> None:
    await store.blobs.expect("again", keep_for=MINUTE)
    clock.advance(seconds=30)
    await store.blobs.expect("again", keep_for=MINUTE)
    clock.advance(seconds=30)
    assert await store.blobs.doomed(limit=9) == []
    clock.advance(seconds=30)
    assert await store.blobs.doomed(limit=9) == ["again"]


async def test_a_name_that_a_finish_refers_to_is_not_doomed_by_noting_it_again(store: Store, clock: FakeClock) -> None:
    """G2: a finish whose answer was lost is sent again, and must not cost the body of the first."""
    await kept_apart(store)
    await store.blobs.expect("results/a", keep_for=MINUTE)
    await store.blobs.gone(["results/a"])
    clock.advance(seconds=60)
    assert await store.blobs.doomed(limit=9) == []

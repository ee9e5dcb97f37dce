"""Big answers go into the object store, and a body that no finish refers to is collected: real store, real folder."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import NotFound, ResultGone, StoreUnavailable
from raincheck.core.model import Lease
from raincheck.core.status import Status
from raincheck.dispatch.stow import BIG, KEEP_FOR, Stow, blob_name
from raincheck.store.blobs import MARK, BlobStore, open_blobs
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from raincheck.upkeep.collect import AFTER_OUTAGE, BITE, PAUSE, Collector
from tests.store.builders import LEASE, RETENTION, FakeClock, claimed, failure, running, status, success

BODY = b"x" * (BIG + 1)


@dataclass(frozen=True, slots=True)
class Stowed:
    """A store and an object store, and what stands between them."""

    store: Store
    clock: FakeClock
    objects: BlobStore
    folder: Path
    leases: Stow
    collector: Collector
    troubles: list[StoreUnavailable | None]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file() and path.name != MARK)

    async def body(self, lease: Lease) -> bytes:
        return b"".join([piece async for piece in self.objects.read(blob_name(lease.fence))])

    def break_(self) -> None:
        """Take the object store away."""
        self.folder.rename(self.folder.with_name("away"))
        self.folder.write_bytes(b"")

    def mend(self) -> None:
        self.folder.unlink()
        self.folder.with_name("away").rename(self.folder)


@asynccontextmanager
async def stowed(tmp_path: Path) -> AsyncGenerator[Stowed]:
    clock, folder = FakeClock(), tmp_path / "blobs"
    objects = open_blobs(folder.as_uri())
    async with open_store(tmp_path / "store.db", clock=clock.now, retention=RETENTION) as store:
        troubles: list[StoreUnavailable | None] = []
        leases = Stow(store.leases, store.blobs, objects, troubled=troubles.append)
        yield Stowed(store, clock, objects, folder, leases, Collector(store.blobs, objects), troubles)


async def test_a_big_answer_is_kept_in_the_object_store_and_the_record_names_it(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)

        assert await house.leases.finish([success(lease, BODY, status=201)]) == []

        result = await house.store.requests.result("t", lease.fence.request_id)
        assert result is not None
        assert (result.status, result.body, result.blob, result.size) == (201, b"", blob_name(lease.fence), len(BODY))
        assert await house.body(lease) == BODY


async def test_an_answer_that_is_not_big_stays_in_the_record(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)

        await house.leases.finish([success(lease, BODY[:BIG])])

        result = await house.store.requests.result("t", lease.fence.request_id)
        assert result is not None
        assert (len(result.body), result.blob) == (BIG, None)
        assert house.files() == []


async def test_big_and_small_and_failed_finish_together(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        big, small, failed = [await running(house.store) for _ in range(3)]

        await house.leases.finish([success(big, BODY), success(small), failure(failed)])

        ends = [await status(house.store, lease.fence.request_id) for lease in (big, small, failed)]
        assert ends == [Status.COMPLETED, Status.COMPLETED, Status.FAILED]
        assert len(house.files()) == 1


async def test_while_the_object_store_is_down_nothing_is_finished_and_afterwards_it_is(tmp_path: Path) -> None:
    """G2, G3"""
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        house.break_()
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                await house.leases.finish([success(lease, BODY)])
        assert await status(house.store, lease.fence.request_id) is Status.PROCESSING
        house.mend()

        assert await house.leases.finish([success(lease, BODY)]) == []

        assert await house.body(lease) == BODY
        assert [type(trouble) for trouble in house.troubles] == [StoreUnavailable, type(None)]


async def test_a_zombies_bytes_never_replace_the_owners_and_are_collected(tmp_path: Path) -> None:
    """G2"""
    async with stowed(tmp_path) as house:
        zombie = await running(house.store)
        house.clock.advance(seconds=LEASE / SECOND + 1)
        [owner] = await claimed(house.store)
        assert await house.leases.finish([success(owner, BODY)]) == []
        assert await house.leases.finish([success(zombie, b"z" * (BIG + 1))]) == [zombie.fence]
        assert len(house.files()) == 2
        assert await house.body(owner) == BODY

        house.clock.advance(seconds=KEEP_FOR / SECOND - 1)
        await house.collector.turn()
        assert len(house.files()) == 2
        house.clock.advance(seconds=2)
        await house.collector.turn()

        assert await house.body(owner) == BODY
        with pytest.raises(NotFound):
            await house.body(zombie)


async def test_a_finish_repeated_after_it_was_recorded_does_not_doom_its_body(tmp_path: Path) -> None:
    """G2: the answer to a commit may be lost, and then the worker records again what is recorded already."""
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.leases.finish([success(lease, BODY)])

        assert await house.leases.finish([success(lease, BODY)]) == [lease.fence]

        house.clock.advance(seconds=KEEP_FOR / SECOND + 1)
        await house.collector.turn()
        assert await house.body(lease) == BODY


async def test_a_purge_takes_the_body_too(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.leases.finish([success(lease, BODY)])
        house.clock.advance(seconds=RETENTION / SECOND + 1)
        await house.store.upkeep.purge(limit=10)

        assert await house.collector.turn() == PAUSE

        assert house.files() == []
        with pytest.raises(ResultGone):
            await house.store.requests.result("t", lease.fence.request_id)


async def test_a_deletion_takes_the_body_too(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.leases.finish([success(lease, BODY)])
        await house.store.requests.delete("t", lease.fence.request_id)

        await house.collector.turn()

        assert house.files() == []
        assert await house.store.blobs.doomed(limit=1) == []


async def test_names_outlive_an_outage_and_a_crash_between_the_two_steps(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.leases.finish([success(lease, BODY)])
        await house.store.requests.delete("t", lease.fence.request_id)

        house.break_()
        assert await house.collector.turn() == AFTER_OUTAGE
        house.mend()
        assert await house.store.blobs.doomed(limit=9) == [blob_name(lease.fence)]
        await house.objects.delete([blob_name(lease.fence)])  # And here the process dies.

        assert await house.collector.turn() == PAUSE
        assert await house.store.blobs.doomed(limit=9) == []


async def test_a_full_bite_is_followed_by_another_soon(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        for number in range(BITE):
            await house.store.blobs.expect(f"results/{number}", keep_for=0)

        assert await house.collector.turn() < PAUSE
        assert await house.collector.turn() == PAUSE

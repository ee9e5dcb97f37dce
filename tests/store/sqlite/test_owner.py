"""One process owns the file: who comes second is told so, and a dead owner leaves nothing behind."""

import os
from pathlib import Path

import pytest

from raincheck.core.clock import HOUR
from raincheck.core.errors import FenceLost, StoreTaken, StoreUnavailable
from raincheck.core.model import ApiKey
from raincheck.core.settings import sqlite_path
from raincheck.core.status import Status
from raincheck.store.sqlite import open_store
from tests.store.builders import (
    START,
    FakeClock,
    a_line,
    claimed,
    failure,
    feed,
    leased,
    running,
    status,
    submitted,
    success,
    under_way,
)
from tests.store.sqlite.processes import child

clock = FakeClock()
KEY = ApiKey(id="key_1", tenant="t", name="n", hint="rc_", scopes=frozenset(), created_at=START)


async def test_the_second_owner_is_told_who_has_the_store_and_what_to_do(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now):
        with pytest.raises(StoreTaken) as taken:
            async with open_store(path, clock=clock.now):
                pass
    assert f"process {os.getpid()}." in taken.value.message
    assert "Stop it" in taken.value.message
    assert "--store" in taken.value.message


async def test_g4_links_to_a_store_do_not_get_past_its_lock(folder: Path) -> None:
    """G4: live work would be sent twice."""
    path, soft, hard = folder / "store.db", folder / "soft.db", folder / "hard.db"
    async with open_store(path, clock=clock.now):
        soft.symlink_to(path)
        with pytest.raises(StoreTaken, match="in use by process"):
            async with open_store(sqlite_path(f"sqlite:///{soft}"), clock=clock.now):
                pass
        hard.hardlink_to(path)
        for own in (True, False):
            with pytest.raises(StoreTaken, match="several names"):
                async with open_store(hard, clock=clock.now, own=own):
                    pass
        hard.unlink()
    async with open_store(sqlite_path(f"sqlite:///{soft}"), clock=clock.now) as store:
        await submitted(store)


async def test_a_store_that_was_closed_can_be_opened_again(folder: Path) -> None:
    for _ in range(3):
        async with open_store(folder / "store.db", clock=clock.now) as store:
            await submitted(store)


@pytest.mark.slow("starts a process")
async def test_the_lock_names_another_process_and_dies_with_it(folder: Path) -> None:
    path = folder / "store.db"
    async with child("hold", path) as owner:
        with pytest.raises(StoreTaken, match=f"process {owner.pid}\\."):
            async with open_store(path, clock=clock.now):
                pass
        owner.kill()
        await owner.wait()
        async with open_store(path, clock=clock.now) as store:
            await submitted(store)


@pytest.mark.slow("starts a process")
async def test_short_work_is_possible_beside_an_owner_in_another_process(folder: Path) -> None:
    path = folder / "store.db"
    async with child("hold", path) as owner:
        async with open_store(path, clock=clock.now, own=False) as store:
            await store.registry.add_key(KEY, b"digest")
        async with open_store(path, clock=clock.now, own=False) as store:
            assert await store.registry.keys() == [KEY]
        assert owner.returncode is None


async def test_an_owner_sees_what_was_done_beside_it_and_goes_on(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as owner:
        lease = await running(owner)
        async with open_store(path, clock=clock.now, own=False) as guest:
            await guest.registry.add_key(KEY, b"digest")
            assert await guest.leases.ready() == set()
        assert await owner.registry.find_key(b"digest") == KEY
        assert await owner.leases.finish([success(lease)]) == []


async def test_what_a_dead_owner_left_running_is_up_for_claims_at_once(folder: Path) -> None:
    """G3: nobody waits for a lease whose holder died with the lock; its fence is void with the next claim (G2)."""
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        lease = await running(store)
    async with open_store(path, clock=clock.now) as store:
        assert await store.leases.next_due() == clock.now()
        [again] = await claimed(store)
        assert (again.fence.request_id, again.attempt) == (lease.fence.request_id, 2)
        assert await store.leases.finish([failure(lease)]) == [lease.fence]
        assert await status(store, lease.fence.request_id) is Status.PROCESSING


async def test_a_new_owner_goes_on_at_once_with_batches_that_were_leased(folder: Path) -> None:
    """G3."""
    async with open_store(folder / "store.db", clock=clock.now) as store:
        lost = await under_way(store)
    async with open_store(folder / "store.db", clock=clock.now) as store:
        lease = await leased(store)
        assert lease.batch.id == lost.batch.id
        with pytest.raises(FenceLost):
            await feed(store, lost, [a_line(1)])
        await feed(store, lease, [a_line(1)])


async def test_a_guest_takes_back_nothing(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as owner:
        lease = await running(owner, deadline=START + HOUR)
        async with open_store(path, clock=clock.now, own=False) as guest:
            assert await claimed(guest) == []
            assert await guest.leases.next_due() == lease.lapses_at


@pytest.mark.parametrize("own", [True, False])
async def test_a_path_that_cannot_be_a_store_is_refused_with_the_reason(folder: Path, *, own: bool) -> None:
    (folder / "file").write_text("no folder")
    (folder / "folder").mkdir()
    (folder / "words.db").write_text("These are words and not a database. " * 100)
    for path in (folder / "file" / "store.db", folder / "folder", folder / "words.db"):
        with pytest.raises(StoreUnavailable, match=str(path)):
            async with open_store(path, clock=clock.now, own=own):
                pass


async def test_a_store_makes_the_folders_above_it(folder: Path) -> None:
    async with open_store(folder / "a" / "b" / "store.db", clock=clock.now) as store:
        assert await submitted(store)

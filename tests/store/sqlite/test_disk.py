"""When the disk, the machine or another process stands in the way: a clear answer, and nothing acknowledged is lost."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
import resource
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Query
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from raincheck.store.sqlite import database, open_store
from tests.store.builders import FakeClock, capped, claimed, completed, running, status, submitted, success
from tests.store.sqlite.processes import child, line
from tests.store.sqlite.watched import Watched, watching

clock = FakeClock()


@contextmanager
def full_disk(limit: int) -> Generator[None]:
    """No file of this process can grow beyond so many bytes (Python ignores the signal that comes with it)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def fill(store: Store, payload: bytes) -> tuple[list[str], StoreUnavailable]:
    """The ids accepted until the store said no, and how it said so."""
    accepted: list[str] = []
    while True:
        try:
            accepted += [request.id for request in await submitted(store, payload=payload)]
        except StoreUnavailable as refused:
            return accepted, refused


async def all_ids(store: Store) -> set[str]:
    page = await store.requests.search("t", Query(limit=100_000))
    return {request.id for request in page.requests}


@pytest.mark.slow("starts a process")
async def test_every_id_that_was_printed_survives_a_kill(folder: Path) -> None:
    """G1."""
    path = folder / "store.db"
    async with child("submit", path) as process:
        printed = [await line(process) for _ in range(200)]
        process.kill()
        assert process.stdout is not None
        printed += (await process.stdout.read()).decode().split("\n")[:-1]
    async with open_store(path, clock=clock.now) as store:
        recorded = await all_ids(store)
        assert recorded >= set(printed)
        leases = await claimed(store, len(recorded))
    assert {lease.fence.request_id for lease in leases} == recorded
    assert {lease.payload for lease in leases} == {b"x" * 2_000}


async def test_a_full_disk_is_a_clear_answer_and_work_goes_on_when_there_is_room(folder: Path) -> None:
    """G1."""
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        lease = await running(store)
        with full_disk(300_000):
            accepted, refused = await fill(store, b"x" * 20_000)
            assert refused.code == "store_unavailable"
            assert refused.retry_after is not None
            assert "Nothing was accepted" in refused.message
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await submitted(store, payload=b"x" * 20_000)
            assert await all_ids(store) == {lease.fence.request_id, *accepted}
        assert await store.leases.finish([success(lease)]) == []
        accepted += [request.id for request in await submitted(store, 3)]
    async with open_store(path, clock=clock.now) as store:
        assert await all_ids(store) == {lease.fence.request_id, *accepted}
        assert len(await claimed(store, 100)) == len(accepted)
        [queue] = await store.registry.queues()
        assert (queue.pending, queue.processing) == (0, len(accepted))


async def test_a_store_that_may_not_grow_says_that_the_disk_is_full(folder: Path) -> None:
    watched = Watched()
    with watching(watched):
        async with open_store(folder / "store.db", clock=clock.now) as store:
            watched.connections[0].pragma("max_page_count", 100)
            accepted, refused = await fill(store, b"x" * 20_000)
            assert "the disk is full; free some space" in refused.message
            watched.connections[0].pragma("max_page_count", 1_000_000)
            accepted += [request.id for request in await submitted(store)]
            assert await all_ids(store) == set(accepted)


async def test_a_queue_first_used_on_a_full_disk_is_there_when_there_is_room(folder: Path) -> None:
    """G3: what the store remembers about queues is undone together with the write."""
    async with open_store(folder / "store.db", clock=clock.now) as store:
        with full_disk(300_000):
            await fill(store, b"x" * 20_000)
            with pytest.raises(StoreUnavailable):
                await submitted(store, queue="fresh", payload=b"x" * 200_000)
        await submitted(store, queue="fresh")
        assert len(await claimed(store, queue="fresh")) == 1


async def test_a_log_that_cannot_be_folded_back_loses_nothing(folder: Path) -> None:
    """G1: the commit stands although the checkpoint after it finds the disk full."""
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        with full_disk(4_400_000):
            accepted, _ = await fill(store, b"x" * 100_000)
        assert len(accepted) > 50
        await claimed(store)
        accepted += [request.id for request in await submitted(store)]
    async with open_store(path, clock=clock.now) as store:
        assert await all_ids(store) == set(accepted)


async def test_the_log_is_folded_back_before_it_grows_large(folder: Path) -> None:
    """G12."""
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        for _ in range(40):
            await submitted(store, payload=b"x" * 500_000)
        assert path.stat().st_size > 15_000_000
        assert Path(f"{path}-wal").stat().st_size < 6_000_000


async def test_a_store_that_became_read_only_says_so_and_reads_go_on(folder: Path) -> None:
    watched = Watched()
    with watching(watched):
        async with open_store(folder / "store.db", clock=clock.now) as store:
            request_id = await completed(store)
            writer = watched.connections[0]
            writer.pragma("query_only", True)
            for work in (submitted(store), claimed(store), capped(store, 1)):
                with pytest.raises(StoreUnavailable, match="read-only; make it writable again"):
                    await work
            assert await status(store, request_id) is Status.COMPLETED
            writer.pragma("query_only", False)
            assert await submitted(store)


async def test_a_write_waits_for_another_process_to_let_go_of_the_file(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        other = apsw.Connection(str(path))
        other.execute("begin immediate")
        waits = asyncio.create_task(submitted(store))
        await asyncio.sleep(0.02)
        assert not waits.done()
        other.execute("commit")
        [request] = await waits
        assert await status(store, request.id) is Status.PENDING
        other.close()


async def test_a_write_that_waited_too_long_for_the_file_says_what_holds_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        monkeypatch.setattr(database, "BUSY_WAIT", 0.01)
        other = apsw.Connection(str(path))
        other.execute("begin immediate")
        with pytest.raises(StoreUnavailable, match="another process holds a lock"):
            await submitted(store)
        other.execute("commit")
        other.close()
        assert await submitted(store)


async def test_a_damaged_file_is_a_clear_answer(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        await submitted(store, 50)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xa5" * (len(content) - 4096))
    with pytest.raises(StoreUnavailable, match="malformed"):
        async with open_store(path, clock=clock.now) as store:
            await submitted(store)


async def test_a_file_that_is_put_back_takes_requests_again(tmp_path: Path) -> None:
    path, away = tmp_path / "raincheck.db", tmp_path / "away.db"
    async with open_store(path, clock=FakeClock().now) as store:
        path.rename(away)
        with pytest.raises(StoreUnavailable, match="put it back, or restart"):
            await submitted(store)
        away.rename(path)
        assert await submitted(store)


@pytest.mark.parametrize("gone", ["", "-wal"])
async def test_a_file_that_was_removed_takes_nothing_more(tmp_path: Path, gone: str) -> None:
    """G1: what is written to a file that nobody can open any more would not be kept."""
    path = tmp_path / "raincheck.db"
    async with open_store(path, clock=FakeClock().now) as store:
        await submitted(store)
        Path(f"{path}{gone}").unlink()
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            await submitted(store)


async def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "raincheck.db"
    async with open_store(path, clock=FakeClock().now) as store:
        await submitted(store)
        for each in ("", "-wal", "-shm", "-lock"):
            assert Path(f"{path}{each}").stat().st_mode & 0o777 == 0o600

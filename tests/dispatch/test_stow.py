"""Files and big answers go into the object store, and a body that no finish refers to is collected: real store, real
folder."""

import asyncio
import hashlib
import resource
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from msgspec import structs

from raincheck.core.clock import SECOND
from raincheck.core.errors import NotFound, ResultGone, StoreUnavailable
from raincheck.core.model import Attachment, Fence, Finish, Lease
from raincheck.core.outcome import Made, Reply, Succeeded
from raincheck.core.status import Status
from raincheck.dispatch.stow import AT_ONCE, BIG, KEEP_FOR, SETTLED_AFTER, Stow, Unreadable, blob_name
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
    stow: Stow
    collector: Collector
    troubles: list[StoreUnavailable | None]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file() and path.name != MARK)

    async def body(self, lease: Lease) -> bytes:
        return b"".join([piece async for piece in self.objects.read(blob_name(lease.fence))])

    def left(self) -> list[str]:
        """All that lies below the folders for each kind, folders too."""
        return sorted(path.name for path in self.folder.glob("*/**/*"))

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        """Put away and record, as an attempt does."""
        lost = list[Fence]()
        for finish in finishes:
            stowed = await self.stow.put(finish)
            if await self.store.leases.finish([stowed]):
                await self.stow.drop(stowed)
                lost.append(finish.fence)
        return lost

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
        stow = Stow(store.blobs, objects, troubled=troubles.append)
        yield Stowed(store, clock, objects, folder, stow, Collector(store.blobs, objects), troubles)


async def test_a_big_answer_is_kept_in_the_object_store_and_the_record_names_it(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)

        assert await house.finish([success(lease, BODY, status=201)]) == []

        result = await house.store.requests.result("t", lease.fence.request_id)
        assert result is not None
        assert (result.status, result.body, result.blob, result.size) == (201, b"", blob_name(lease.fence), len(BODY))
        assert await house.body(lease) == BODY


async def test_an_answer_that_is_not_big_stays_in_the_record(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)

        await house.finish([success(lease, BODY[:BIG])])

        result = await house.store.requests.result("t", lease.fence.request_id)
        assert result is not None
        assert (len(result.body), result.blob) == (BIG, None)
        assert house.files() == []


async def test_big_and_small_and_failed_finish_together(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        big, small, failed = [await running(house.store) for _ in range(3)]

        await house.finish([success(big, BODY), success(small), failure(failed)])

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
                await house.finish([success(lease, BODY)])
        assert await status(house.store, lease.fence.request_id) is Status.PROCESSING
        house.mend()

        assert await house.finish([success(lease, BODY)]) == []

        assert await house.body(lease) == BODY
        assert [type(trouble) for trouble in house.troubles] == [StoreUnavailable, type(None)]


async def test_a_zombies_bytes_never_replace_the_owners_and_are_collected(tmp_path: Path) -> None:
    """G2"""
    async with stowed(tmp_path) as house:
        zombie = await running(house.store)
        house.clock.advance(seconds=LEASE / SECOND + 1)
        [owner] = await claimed(house.store)
        assert await house.finish([success(owner, BODY)]) == []
        assert await house.finish([success(zombie, b"z" * (BIG + 1))]) == [zombie.fence]
        assert len(house.files()) == 2
        assert await house.body(owner) == BODY

        await house.collector.turn()

        assert await house.body(owner) == BODY
        with pytest.raises(NotFound):
            await house.body(zombie)


async def test_a_finish_repeated_after_it_was_recorded_does_not_doom_its_body(tmp_path: Path) -> None:
    """G2: the answer to a commit may be lost, and then the worker records again what is recorded already."""
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.finish([success(lease, BODY)])

        assert await house.finish([success(lease, BODY)]) == [lease.fence]

        house.clock.advance(seconds=KEEP_FOR / SECOND + 1)
        await house.collector.turn()
        assert await house.body(lease) == BODY


async def test_a_purge_takes_the_body_too(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.finish([success(lease, BODY)])
        house.clock.advance(seconds=RETENTION / SECOND + 1)
        await house.store.upkeep.purge(limit=10)

        assert await house.collector.turn() == PAUSE

        assert house.files() == []
        with pytest.raises(ResultGone):
            await house.store.requests.result("t", lease.fence.request_id)


async def test_a_deletion_takes_the_body_too(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.finish([success(lease, BODY)])
        await house.store.requests.delete("t", lease.fence.request_id)

        await house.collector.turn()

        assert house.files() == []
        assert await house.store.blobs.doomed(limit=1) == []


async def test_names_outlive_an_outage_and_a_crash_between_the_two_steps(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.finish([success(lease, BODY)])
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


# --- files


def made(lease: Lease, folder: Path, bodies: dict[str, bytes], answer: bytes = b"{}") -> Finish:
    files = list[Made]()
    for number, (name, body) in enumerate(bodies.items()):
        path = folder / f"made-{number}"
        path.write_bytes(body)
        files.append(Made(name, path, "video/mp4"))
    return Finish(lease.fence, Succeeded(Reply(answer, made=tuple(files))), "up")


async def outputs(house: Stowed, lease: Lease) -> Sequence[Attachment]:
    return await house.store.requests.attachments("t", lease.fence.request_id)


async def test_files_are_kept_in_the_object_store_and_the_record_knows_them_by_name(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease, video = await running(house.store), b"v" * (3 << 20)

        assert await house.finish([made(lease, tmp_path, {"video.mp4": video, "empty.txt": b""}, BODY)]) == []

        video_kept, empty = await outputs(house, lease)
        assert (video_kept.role, video_kept.name, video_kept.content_type) == ("output", "video.mp4", "video/mp4")
        assert (video_kept.size, video_kept.digest) == (len(video), hashlib.sha256(video).hexdigest())
        assert b"".join([piece async for piece in house.objects.read(video_kept.blob)]) == video
        assert (empty.name, empty.size) == ("empty.txt", 0)
        result = await house.store.requests.result("t", lease.fence.request_id)
        assert result is not None
        assert (result.blob, result.attachments) == (blob_name(lease.fence), (video_kept, empty))


async def test_names_are_made_safe_and_kept_apart(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        names = ["../../etc/passwd", "ü.txt", "ö.txt", "A.png", "a.png", ".hidden", "", "n" * 300 + ".mp4"]

        await house.finish([made(lease, tmp_path, {name: name.encode() for name in names})])

        kept = await outputs(house, lease)
        tidy = ["passwd", "ü.txt", "ö-2.txt", "A.png", "a-2.png", "hidden", "file", "n" * 196 + ".mp4"]
        assert [each.name for each in kept] == tidy
        for name, each in zip(names, kept, strict=True):
            assert b"".join([piece async for piece in house.objects.read(each.blob)]) == name.encode()


async def test_a_zombies_files_never_replace_the_owners_and_are_collected(tmp_path: Path) -> None:
    """G2"""
    async with stowed(tmp_path) as house:
        zombie = await running(house.store)
        house.clock.advance(seconds=LEASE / SECOND + 1)
        [owner] = await claimed(house.store)
        await house.finish([made(owner, tmp_path, {"video.mp4": b"owner"})])
        assert await house.finish([made(zombie, tmp_path, {"video.mp4": b"zombie"})]) == [zombie.fence]

        await house.collector.turn()

        [kept] = await outputs(house, owner)
        assert [piece async for piece in house.objects.read(kept.blob)] == [b"owner"]
        assert len(house.files()) == 1


async def test_deletion_takes_the_files_too(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.finish([made(lease, tmp_path, {"a.mp4": b"a", "b.webp": b"b"})])
        await house.store.requests.delete("t", lease.fence.request_id)

        await house.collector.turn()

        assert house.left() == []


async def test_what_a_crash_left_between_putting_away_and_recording_is_collected_in_the_end(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        await house.stow.put(made(lease, tmp_path, {"video.mp4": b"v"}, BODY))

        house.clock.advance(seconds=KEEP_FOR / SECOND - 1)
        await house.collector.turn()
        assert len(house.files()) == 2
        house.clock.advance(seconds=2)
        await house.collector.turn()
        assert house.left() == []


async def test_a_file_that_cannot_be_read_is_no_outage_and_nothing_of_it_is_kept(tmp_path: Path) -> None:
    """G3: it would be tried again for ever."""
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        finish = made(lease, tmp_path, {"whole.mp4": b"v", "gone.mp4": b"v"})
        (tmp_path / "made-1").unlink()

        with pytest.raises(Unreadable, match=r"gone\.mp4"):
            await house.stow.put(finish)

        assert house.troubles == []
        house.clock.advance(seconds=SETTLED_AFTER / SECOND)
        await house.collector.turn()
        assert house.left() == []


async def test_a_file_whose_putting_away_is_called_off_is_not_kept(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        put, begun = house.objects.put, asyncio.Event()

        async def stuck(name: str, *_: object, **__: object) -> None:
            await put(name, b"the first bytes")
            begun.set()
            await asyncio.Event().wait()

        house.objects.put = stuck
        putting = asyncio.create_task(house.stow.put(made(lease, tmp_path, {"video.mp4": b"v"})))
        await begun.wait()
        putting.cancel()
        await asyncio.wait([putting])

        assert putting.cancelled()
        house.clock.advance(seconds=SETTLED_AFTER / SECOND)
        await house.collector.turn()
        assert house.left() == []


async def test_few_bodies_are_put_away_at_the_same_time(tmp_path: Path) -> None:
    """G12"""
    async with stowed(tmp_path) as house:
        leases = [await running(house.store) for _ in range(3 * AT_ONCE)]
        put, now, most = house.objects.put, 0, 0

        async def counted(name: str, data: bytes, **options: str) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0)
            await put(name, data, **options)
            now -= 1

        house.objects.put = counted  # pyright: ignore[reportAttributeAccessIssue]
        await asyncio.gather(*(house.stow.put(success(lease, BODY)) for lease in leases))
        assert (most, len(house.files())) == (AT_ONCE, len(leases))


async def test_the_longest_name_fits_a_folder(tmp_path: Path) -> None:
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        fence = Fence("video_edit_" + "f" * 32, 10**9)

        put = await house.stow.put(structs.replace(made(lease, tmp_path, {"n" * 300 + ".mp4": b"v"}), fence=fence))

        assert isinstance(put.outcome, Succeeded)
        assert put.outcome.reply.attachments[0].blob.endswith("n.mp4")
        assert max(map(len, house.files())) < 200


@pytest.mark.slow("puts a large file away")
async def test_a_large_file_is_put_away_in_little_memory(tmp_path: Path) -> None:
    """G12"""
    large = tmp_path / "large.mp4"
    with large.open("wb") as file:
        file.truncate(400 << 20)
    async with stowed(tmp_path) as house:
        lease = await running(house.store)
        before = peak()
        reply = Reply(b"{}", made=(Made("large.mp4", large, "video/mp4"),))

        assert await house.finish([Finish(lease.fence, Succeeded(reply), "up")]) == []

        assert peak() - before < 100 << 20
        [kept] = await outputs(house, lease)
        assert kept.size == 400 << 20


def peak() -> int:
    """The most memory this process has had, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

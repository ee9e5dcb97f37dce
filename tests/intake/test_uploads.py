"""Inputs on their way in: what is taken, what is refused and when, and what is left behind."""

import base64
import hashlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import pytest

from raincheck.core.clock import HOUR, SECOND, now
from raincheck.core.errors import (
    AttachmentGone,
    BadInput,
    BodyTooSlow,
    MediaRefused,
    NoObjectStore,
    NotFound,
    RaincheckError,
    TooLarge,
)
from raincheck.core.ids import new_file_id
from raincheck.core.model import Attachment, File
from raincheck.intake.links import Links
from raincheck.intake.uploads import Inbox
from raincheck.store.blobs import MARK, BlobStore, open_blobs
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from raincheck.upkeep.collect import Collector
from tests.media import make_clip, make_png
from tests.store.builders import a_request, accepted, running, submitted, success

MIB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100
LINKS = Links(b"s" * 32, HOUR)


@dataclass(frozen=True, slots=True)
class Desk:
    """An inbox and what is behind it."""

    inbox: Inbox
    store: Store
    objects: BlobStore
    folder: Path

    def bodies(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file() and path.name != MARK]

    async def collect(self) -> list[Path]:
        """What is left once everything that belongs to nobody has been collected."""
        await Collector(self.store.blobs, self.objects).turn()
        return self.bodies()

    async def read(self, blob: str) -> bytes:
        return b"".join([piece async for piece in self.objects.read(blob)])


@asynccontextmanager
async def a_desk(tmp_path: Path, *, max_bytes: int = 64 * MIB) -> AsyncGenerator[Desk]:
    folder = tmp_path / "blobs"
    objects = open_blobs(folder.as_uri())
    async with open_store(tmp_path / "store.db", clock=now) as store:
        inbox = Inbox(store.blobs, objects, store.files, store.requests, LINKS, now, max_bytes)
        yield Desk(inbox, store, objects, folder)


async def pieces(*given: bytes, then: Exception | None = None) -> AsyncGenerator[bytes]:
    for piece in given:
        yield piece
    if then is not None:
        raise then


async def a_file(desk: Desk, body: bytes, *, tenant: str = "t") -> str:
    """The id of a file that was uploaded."""
    kept = await desk.inbox.keep(pieces(body))
    file = File(
        id=new_file_id(),
        tenant=tenant,
        filename="a",
        purpose="user_data",
        content_type="text/html",
        size=kept.size,
        digest=kept.digest,
        blob=kept.blob,
        created_at=now(),
    )
    await desk.store.files.add(file)
    return file.id


async def a_video(desk: Desk, *, tenant: str = "t") -> tuple[str, Attachment]:
    """The id of a request that has made a thumbnail and a video, and the video."""
    lease = await running(desk.store, tenant=tenant)
    kept = await desk.inbox.keep(pieces(b"made"))
    still = Attachment("output", "thumbnail.webp", kept.blob, "image/webp", kept.size, kept.digest)
    video = msgspec.structs.replace(still, name="clip.webm", content_type="video/webm")
    assert await desk.store.leases.finish([success(lease, attachments=(still, video))]) == []
    return lease.fence.request_id, video


async def test_what_arrives_in_pieces_is_kept_measured_and_recognised(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4").read_bytes()
    async with a_desk(tmp_path) as desk:
        cut = [clip[at : at + 700] for at in range(0, len(clip), 700)]

        video = await desk.inbox.receive("video", pieces(*cut), filename="holiday.avi")

        assert (video.role, video.name, video.content_type) == ("input", "video", "video/mp4")
        assert (video.size, video.digest) == (len(clip), hashlib.sha256(clip).hexdigest())
        assert await desk.read(video.blob) == clip


async def test_an_input_that_no_request_refers_to_is_collected_and_one_that_is_referred_to_is_not(
    tmp_path: Path,
) -> None:
    async with a_desk(tmp_path) as desk:
        lost, kept = [await desk.inbox.receive("image", pieces(PNG)) for _ in range(2)]
        [answer] = await desk.store.requests.submit([a_request(attachments=(kept,))])
        accepted(answer)

        assert len(await desk.collect()) == 2
        await desk.inbox.drop(lost.blob, kept.blob)
        [left] = await desk.collect()

        assert left == desk.folder / kept.blob


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "empty"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:10\nhttp://169.254.169.254/\n", "playlists"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "playlists"),
        (b"<!doctype html><script>", "no picture, video or sound"),
        (b"PK\x03\x04" + b"x" * 100, "no picture, video or sound"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture, video or sound"),
        (b"hello", "Send PNG"),
    ],
)
async def test_what_is_no_media_is_refused_and_nothing_of_it_is_left(tmp_path: Path, body: bytes, says: str) -> None:
    async with a_desk(tmp_path) as desk:
        with pytest.raises(MediaRefused, match=says) as caught:
            await desk.inbox.receive("video", pieces(body), filename="movie.mp4")

        assert "video (movie.mp4)" in caught.value.message
        assert await desk.collect() == []


async def test_what_is_no_media_is_refused_by_its_first_bytes(tmp_path: Path) -> None:
    """Not after all of it has come."""
    taken = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield b"x" * 1_000

    async with a_desk(tmp_path) as desk:
        with pytest.raises(MediaRefused):
            await desk.inbox.receive("video", endless())

        assert taken < 5


async def test_what_is_too_large_is_refused_at_once(tmp_path: Path) -> None:
    taken = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield PNG.ljust(1_000, b"x")

    async with a_desk(tmp_path, max_bytes=10_000) as desk:
        with pytest.raises(TooLarge, match="10000"):
            await desk.inbox.receive("image", endless())

        assert taken == 11
        assert await desk.collect() == []


async def test_what_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        for break_off in (BodyTooSlow(), ZeroDivisionError("a bug")):
            with pytest.raises(type(break_off)):
                await desk.inbox.keep(pieces(b"x" * MIB, b"x" * 20 * MIB, then=break_off))

        assert await desk.collect() == []
        assert await desk.store.blobs.doomed(limit=9) == []


async def test_without_an_object_store_nothing_is_read(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        bare = replace(desk.inbox, objects=None)

        with pytest.raises(NoObjectStore, match=r"store\.blobs"):
            await bare.receive("image", pieces(then=AssertionError("read")))


async def test_g12_an_upload_of_64_mib_is_never_whole_in_memory(tmp_path: Path) -> None:
    held = peak = 0

    class Piece(bytes):
        def __new__(cls, size: int) -> "Piece":
            nonlocal held, peak
            held += size
            peak = max(peak, held)
            return super().__new__(cls, size)

        def __del__(self) -> None:
            nonlocal held
            held -= len(self)

    async def coming() -> AsyncGenerator[bytes]:
        for _ in range(64):
            yield Piece(MIB)

    async with a_desk(tmp_path) as desk:
        kept = await desk.inbox.keep(coming())

        assert kept.size == 64 * MIB
        assert peak <= 32 * MIB  # Two parts go up while a third is gathered.


@pytest.mark.parametrize(
    "written", [base64.b64encode(PNG).decode(), base64.b64encode(PNG).decode().replace("+", "%2B")]
)
async def test_a_data_uri_is_what_it_holds_whatever_it_says(tmp_path: Path, written: str) -> None:
    async with a_desk(tmp_path) as desk:
        image = await desk.inbox.from_data_uri("image", f"data:video/mp4;base64,{written}")

        assert (image.content_type, image.size) == ("image/png", len(PNG))
        assert await desk.read(image.blob) == PNG


async def test_a_data_uri_need_not_be_base64(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        image = await desk.inbox.from_data_uri("image", "data:image/gif,GIF89a%01%00%01%00")

        assert await desk.read(image.blob) == b"GIF89a\x01\0\x01\0"


@pytest.mark.parametrize(
    ("uri", "error", "says"),
    [
        ("http://x", BadInput, "no data URI"),
        ("data:image/png;base64", BadInput, "no data URI"),
        ("data:image/png;base64,!!!", BadInput, "broken"),
        ("data:image/png;base64,aGk", BadInput, "broken"),
        ("data:image/png;base64,é", BadInput, "broken"),
        ("data:image/png;base64,", MediaRefused, "empty"),
        ("data:text/html,<script>", MediaRefused, "no picture"),
    ],
)
async def test_a_wrong_data_uri_is_told_to_be(tmp_path: Path, uri: str, error: type[RaincheckError], says: str) -> None:
    async with a_desk(tmp_path) as desk:
        with pytest.raises(error, match=says):
            await desk.inbox.from_data_uri("image", uri)

        assert desk.bodies() == []


async def test_a_file_is_shared_and_outlives_its_deletion(tmp_path: Path) -> None:
    png = make_png(tmp_path / "a.png").read_bytes()
    async with a_desk(tmp_path) as desk:
        file_id = await a_file(desk, png)

        image = await desk.inbox.from_file("t", "image", file_id)
        await submitted(desk.store, attachments=(image,))
        await desk.store.files.delete("t", file_id)

        assert (image.content_type, image.size) == ("image/png", len(png))
        assert await desk.collect() == [desk.folder / image.blob]


async def test_a_file_that_is_no_media_can_be_uploaded_but_is_no_input(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        file_id = await a_file(desk, b"just text")

        with pytest.raises(MediaRefused, match=file_id):
            await desk.inbox.from_file("t", "image", file_id)


async def test_a_file_whose_body_is_gone_says_so(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        file_id = await a_file(desk, PNG)
        desk.bodies()[0].unlink()

        with pytest.raises(AttachmentGone, match="upload it again"):
            await desk.inbox.from_file("t", "image", file_id)


async def test_g8_what_another_tenant_has_is_unknown(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        file_id = await a_file(desk, PNG, tenant="other")
        request_id, _ = await a_video(desk, tenant="other")

        for asked in (desk.inbox.from_file("t", "x", file_id), desk.inbox.from_request("t", "x", request_id)):
            with pytest.raises(NotFound):
                await asked


async def test_the_video_of_a_request_is_shared(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        request_id, video = await a_video(desk)

        shared = await desk.inbox.from_request("t", "video", request_id)
        still = await desk.inbox.from_request("t", "image", request_id, "thumbnail.webp")

        assert (shared.role, shared.name, shared.blob) == ("input", "video", video.blob)
        assert (shared.content_type, still.content_type) == ("video/webm", "image/webp")


async def test_our_own_link_names_a_request_and_its_output(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        request_id, _ = await a_video(desk)

        named = desk.inbox.own_link("http://10.0.0.1" + LINKS.sign("t", request_id, "clip.webm", now()))

        assert named is not None
        assert (await desk.inbox.from_request("t", "video", named.request_id, named.name)).content_type == "video/webm"
        assert desk.inbox.own_link("http://10.0.0.1/media/x/clip.webm") is None
        with pytest.raises(AttachmentGone):
            desk.inbox.own_link(LINKS.sign("t", request_id, "clip.webm", now() - HOUR - SECOND))


async def test_a_request_that_has_no_video_says_why(tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        request_id, _ = await a_video(desk)
        [pending, cancelled] = await submitted(desk.store, 2)
        await desk.store.requests.cancel("t", cancelled.id)
        for asked, output, says in (
            (pending.id, None, "is still pending"),
            (cancelled.id, None, "ended as cancelled"),
            (request_id, "nope.mp4", "made no nope.mp4"),
        ):
            with pytest.raises(BadInput, match=says):
                await desk.inbox.from_request("t", "video", asked, output)

"""Bodies in a folder and in a bucket: the same promises, kept by real files and a real S3 server."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from raincheck.core.clock import HOUR
from raincheck.core.errors import NotFound, SettingsInvalid, StoreUnavailable
from raincheck.store import blobs
from raincheck.store.blobs import MARK, PIECE, BlobStore, in_short, open_blobs
from tests.s3 import S3, s3_bucket, s3_server

BODY = bytes(range(256)) * 20_000
"""Some 5 MB: several pieces."""


@pytest.fixture
def s3() -> Iterator[S3]:
    with s3_bucket() as s3:
        yield s3


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "folder":
        return open_blobs((tmp_path / "blobs").as_uri())
    return open_blobs(f"{request.getfixturevalue('s3').url}/some/prefix")


async def whole(objects: BlobStore, name: str, start: int = 0, end: int | None = None) -> bytes:
    return b"".join([piece async for piece in objects.read(name, start, end)])


async def test_a_body_comes_back_as_it_was_put(objects: BlobStore) -> None:
    await objects.put("results/a", BODY)

    assert await whole(objects, "results/a") == BODY
    assert await objects.size("results/a") == len(BODY)


async def test_an_empty_body_is_a_body(objects: BlobStore) -> None:
    await objects.put("results/a", b"")

    assert await whole(objects, "results/a") == b""


async def test_a_body_may_come_in_pieces(objects: BlobStore) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(BODY), 100_000):
            yield BODY[at : at + 100_000]

    await objects.put("results/a", pieces())

    assert await whole(objects, "results/a") == BODY


async def test_a_body_whose_source_breaks_is_not_kept(objects: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield BODY
        raise ConnectionResetError("the source broke")

    with pytest.raises(ConnectionResetError):
        await objects.put("results/a", broken())

    with pytest.raises(NotFound):
        await objects.size("results/a")


async def test_a_part_of_a_body_can_be_read(objects: BlobStore) -> None:
    await objects.put("results/a", BODY)

    assert await whole(objects, "results/a", 10, 20) == BODY[10:20]
    assert await whole(objects, "results/a", PIECE - 3, PIECE + 3) == BODY[PIECE - 3 : PIECE + 3]
    assert await whole(objects, "results/a", len(BODY) - 5) == BODY[-5:]
    assert await whole(objects, "results/a", 7, 7) == b""


async def test_pieces_are_of_bounded_size(objects: BlobStore) -> None:
    """G12"""
    await objects.put("results/a", BODY)

    sizes = [len(piece) async for piece in objects.read("results/a")]

    assert max(sizes) == PIECE
    assert len(sizes) == 3


async def test_what_is_not_there_is_not_found(objects: BlobStore) -> None:
    with pytest.raises(NotFound):
        await objects.size("results/none")
    with pytest.raises(NotFound):
        await whole(objects, "results/none", 0, 10)


async def test_a_body_shorter_than_it_was_said_to_be_is_not_found(objects: BlobStore) -> None:
    await objects.put("results/a", b"short")

    with pytest.raises(NotFound):
        await whole(objects, "results/a", 0, 10)


async def test_deleting_forgets_bodies_and_does_not_mind_those_that_are_gone(objects: BlobStore) -> None:
    await objects.put("results/a", BODY)
    await objects.put("results/b", BODY)
    await objects.put("results/c", BODY)

    await objects.delete(["results/none", "results/a", "results/b"])
    await objects.delete(["results/a"])

    with pytest.raises(NotFound):
        await objects.size("results/a")
    with pytest.raises(NotFound):
        await objects.size("results/b")
    assert await objects.size("results/c") == len(BODY)


async def test_the_check_passes_and_leaves_nothing(objects: BlobStore, tmp_path: Path) -> None:
    await objects.check()

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] in ([], [MARK])


async def test_the_loop_goes_on_while_bodies_are_written_and_read(objects: BlobStore) -> None:
    gaps: list[float] = []

    async def watch() -> None:
        clock = asyncio.get_running_loop().time
        while True:
            before = clock()
            await asyncio.sleep(0.001)
            gaps.append(clock() - before)

    watching = asyncio.create_task(watch())
    await objects.put("results/a", BODY * 2)
    await whole(objects, "results/a")
    watching.cancel()

    assert gaps
    assert sorted(gaps)[len(gaps) // 2] < 0.1


# --- folders


async def test_a_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    open_blobs((tmp_path / "deep" / "blobs").as_uri())

    assert stat.S_IMODE((tmp_path / "deep" / "blobs").stat().st_mode) == 0o700


async def test_a_body_and_its_folders_are_flushed_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G2: what a finish refers to survives a power cut."""
    objects = open_blobs((tmp_path / "blobs").as_uri())
    flushed: list[Path] = []
    fsync = os.fsync

    def noted(file: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{file}").readlink())
        fsync(file)

    monkeypatch.setattr(blobs.os, "fsync", noted)
    await objects.put("results/a", BODY)

    assert flushed == [tmp_path / "blobs" / "results" / "a", tmp_path / "blobs" / "results", tmp_path / "blobs"]


async def test_a_body_that_cannot_be_flushed_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: what the disk has not confirmed is not said to be kept."""
    objects = open_blobs((tmp_path / "blobs").as_uri())

    def broken(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(blobs.os, "fsync", broken)
    with pytest.raises(StoreUnavailable):
        await objects.put("results/a", BODY)


async def test_what_a_crash_left_of_a_write_goes_with_the_name(tmp_path: Path) -> None:
    objects = open_blobs((tmp_path / "blobs").as_uri())
    await objects.put("results/a", BODY)
    for number in (1, 2):
        (tmp_path / "blobs" / "results" / f"a#{number}").write_bytes(b"cut short")

    await objects.delete(["results/a"])

    assert list((tmp_path / "blobs" / "results").iterdir()) == []


async def test_a_folder_has_no_links(tmp_path: Path) -> None:
    objects = open_blobs((tmp_path / "blobs").as_uri())
    await objects.put("results/a", BODY)

    assert await objects.sign("results/a", expires_in=HOUR) is None


async def test_a_folder_that_cannot_be_written_is_an_outage(tmp_path: Path) -> None:
    objects = open_blobs((tmp_path / "blobs").as_uri())
    (tmp_path / "blobs" / "results").write_bytes(b"a file where the folder should be")

    with pytest.raises(StoreUnavailable):
        await objects.put("results/a", BODY)


async def test_a_folder_whose_disk_has_gone_is_an_outage_until_it_is_back(tmp_path: Path) -> None:
    """G2: what is out of reach is not called gone, nothing is written where the disk should be, and no deletion is
    taken for done."""
    folder, away = tmp_path / "blobs", tmp_path / "away"
    objects = open_blobs(folder.as_uri())
    await objects.put("results/a", BODY)

    folder.rename(away)
    for mount_point_is_left in (False, True):
        if mount_point_is_left:
            folder.mkdir()
        with pytest.raises(StoreUnavailable):
            await objects.size("results/a")
        with pytest.raises(StoreUnavailable):
            await whole(objects, "results/a", 0, 1)
        with pytest.raises(StoreUnavailable):
            await objects.put("results/b", BODY)
        with pytest.raises(StoreUnavailable):
            await objects.delete(["results/a"])
        assert list(folder.glob("*")) == []

    folder.rmdir()
    away.rename(folder)
    assert await whole(objects, "results/a") == BODY


async def test_a_folder_with_bodies_is_taken_as_it_is(tmp_path: Path) -> None:
    await open_blobs((tmp_path / "blobs").as_uri()).put("results/a", BODY)
    (tmp_path / "blobs" / MARK).unlink()

    assert await whole(open_blobs((tmp_path / "blobs").as_uri()), "results/a") == BODY


async def test_the_check_of_a_folder_says_what_to_do(tmp_path: Path) -> None:
    objects = open_blobs((tmp_path / "blobs").as_uri())
    (tmp_path / "blobs" / "check").write_bytes(b"a file where the folder should be")

    with pytest.raises(StoreUnavailable, match=r"The folder for big results .* Make room on its disk"):
        await objects.check()


@pytest.mark.parametrize("url", ["file:///", "s3://", "gs://bucket", "https://host/x", "file://host/x"])
def test_a_url_that_names_no_object_store_is_refused(url: str) -> None:
    with pytest.raises(SettingsInvalid, match="file:///folder or s3://bucket/prefix"):
        open_blobs(url)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SettingsInvalid, match="cannot be made"):
        open_blobs((tmp_path / "file" / "blobs").as_uri())


# --- buckets


async def test_objects_are_kept_below_the_prefix(s3: S3) -> None:
    await open_blobs(f"{s3.url}/some/prefix").put("results/a", BODY)
    await open_blobs(s3.url).put("results/b", BODY)

    assert s3.names() == ["results/b", "some/prefix/results/a"]


async def test_a_link_is_followed_without_a_key_and_says_what_it_leads_to(s3: S3) -> None:
    objects = open_blobs(f"{s3.url}/prefix")
    await objects.put("results/a", BODY, content_type="application/json")

    link = await objects.sign("results/a", expires_in=HOUR)

    assert link is not None
    assert "X-Amz-Expires=3600" in link
    async with aiohttp.ClientSession() as session, session.get(link) as response:
        assert response.content_type == "application/json"
        assert await response.read() == BODY


async def test_a_content_type_that_no_header_can_carry_does_no_harm(s3: S3) -> None:
    objects = open_blobs(s3.url)

    await objects.put("results/a", BODY, content_type="text/\r\nplain; Zürich")

    assert await whole(objects, "results/a") == BODY


@pytest.mark.usefixtures("s3")
async def test_a_bucket_that_is_not_there_is_an_outage_and_not_a_missing_body() -> None:
    objects = open_blobs("s3://no-such-bucket")

    with pytest.raises(StoreUnavailable):
        await objects.put("results/a", b"x")
    with pytest.raises(StoreUnavailable):
        await whole(objects, "results/a", 0, 1)
    with pytest.raises(StoreUnavailable):
        await objects.delete(["results/a"])


@pytest.mark.usefixtures("s3")
async def test_the_check_of_a_bucket_says_what_is_wrong_and_what_to_do() -> None:
    with pytest.raises(StoreUnavailable, match=r"404 Not Found: NoSuchBucket\. Check its name, AWS_ACCESS_KEY_ID"):
        await open_blobs("s3://no-such-bucket").check()


async def test_without_a_key_nothing_can_be_signed(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{s3.port}/no-such-bucket")

    with pytest.raises(StoreUnavailable):
        await open_blobs(s3.url).sign("results/a", expires_in=HOUR)


@pytest.mark.slow("the client tries again before it gives up")
async def test_an_outage_is_told_within_seconds_and_is_over_when_the_server_is_back() -> None:
    with s3_server() as port, s3_bucket(port) as s3:
        objects = open_blobs(s3.url)
        await objects.put("results/a", BODY)
    async with asyncio.timeout(20):
        with pytest.raises(StoreUnavailable, match=r"^The object store cannot be used just now; try again\.$"):
            await objects.put("results/b", BODY)
        with pytest.raises(StoreUnavailable):
            await whole(objects, "results/a")
        with pytest.raises(StoreUnavailable):
            await objects.delete(["results/a"])

    with s3_server(port):
        await objects.put("results/b", BODY)
        assert await whole(objects, "results/a") == BODY


def test_a_variable_that_makes_no_sense_is_told_at_the_start(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "perhaps")

    with pytest.raises(SettingsInvalid, match="Check the AWS_… variables"):
        open_blobs(s3.url)


def test_what_s3_says_of_a_refusal_is_told_in_one_line_without_the_key() -> None:
    refusal = OSError(
        "PUT http://minio:9000/b/a - 403 Forbidden: <Error><Code>SignatureDoesNotMatch</Code>"
        "<AWSAccessKeyId>AKIAEXAMPLE</AWSAccessKeyId>\n</Error>\n\nDebug source: AKIAEXAMPLE"
    )

    assert in_short(refusal) == "PUT http://minio:9000/b/a - 403 Forbidden: SignatureDoesNotMatch"

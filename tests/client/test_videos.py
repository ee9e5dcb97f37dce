"""`client.videos` against a real server: what goes in as people have it, what comes out, and waiting in between."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError

from raincheck import AsyncRaincheck, NoRequestId, Raincheck, RequestCancelled, RequestFailed, Video, WaitTimeout
from raincheck.upstream.media.sniff import kind_of
from tests.client.servers import Answer, Asked, ScriptedServer
from tests.http.videos import MODEL, gate, making_videos, seen
from tests.media import make_clip, make_png
from tests.server import Running

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


def blocking(server: Running) -> Raincheck:
    return Raincheck(base_url=server.base_url, max_retries=0)


def awaiting(server: Running) -> AsyncRaincheck:
    return AsyncRaincheck(base_url=server.base_url, max_retries=0)


async def test_a_video_is_asked_for_polled_and_fetched_as_the_guide_says(server: Running, tmp_path: Path) -> None:
    def story() -> tuple[Video, Video, Path]:
        with blocking(server) as client:
            begun = client.videos.generate(model=MODEL, prompt="A rocket launching into space")
            while (result := client.videos.retrieve(begun.id)).status not in ("completed", "failed"):
                pass
            return begun, result, client.videos.download(result, tmp_path)

    begun, result, path = await asyncio.to_thread(story)
    assert (begun.status, result.status, result.error) == ("pending", "completed", None)
    assert (result.url, result.progress) == (result.data[0].url, 100)
    assert path == tmp_path / f"{begun.id}.mp4"
    assert kind_of(path.read_bytes()) == "video/mp4"
    assert path.stat().st_size == result.data[0].bytes


async def test_waiting_for_completion_is_one_call(server: Running) -> None:
    with blocking(server) as client:
        response = await asyncio.to_thread(
            client.videos.generate, model=MODEL, prompt="A sunset over mountains", wait_for_completion=True
        )
    assert (await server.get(response.data[0].url.removeprefix(server.url))).status == 200


async def test_many_at_once_are_gathered(server: Running) -> None:
    async with awaiting(server) as client:
        videos = await asyncio.gather(
            *(
                client.videos.generate(model=MODEL, prompt=prompt, wait_for_completion=True)
                for prompt in ("Sunset", "Sunrise", "Storm")
            )
        )
    assert [video.status for video in videos] == ["completed"] * 3
    assert len({video.url for video in videos}) == 3


async def test_a_failure_a_cancel_and_a_timeout_are_errors_of_their_own(server: Running) -> None:
    async with awaiting(server) as client:
        with pytest.raises(RequestFailed, match="I do not like it"):
            await client.videos.generate(model=MODEL, prompt="refuse", wait_for_completion=True)

        slow = await client.videos.generate(model=MODEL, prompt="wait for it")
        with pytest.raises(WaitTimeout, match="was not ready after"):
            await client.videos.wait(slow, timeout=0.3)
        assert (await client.videos.cancel(slow)).status == "cancelled"
        with pytest.raises(RequestCancelled):
            await client.videos.wait(slow)
        failed = await client.videos.retrieve((await client.videos.cancel(slow.id)).id)
        assert (failed.status, failed.data) == ("cancelled", [])


async def test_progress_is_a_number_of_a_hundred_and_a_word(server: Running) -> None:
    async with awaiting(server) as client:
        video = await client.videos.generate(model=MODEL, prompt="wait")
        async with asyncio.timeout(5):
            while (video := await client.videos.retrieve(video.id)).progress == 0:
                await asyncio.sleep(0.01)
        assert (video.status, video.progress, video.progress_message) == ("processing", 40, "frame 2 of 5")
        gate.open.set()
        await client.videos.wait(video)


GIVEN = ["path", "name", "bytes", "file", "openai's tuple", "data URI", "video", "id", "file id", "link"]


@pytest.mark.parametrize("given", GIVEN)
async def test_a_video_to_edit_may_be_given_in_any_way(server: Running, tmp_path: Path, given: str) -> None:
    clip = make_clip(tmp_path / "clip.mp4")
    async with awaiting(server) as client:
        first = await client.videos.generate(model=MODEL, prompt="One", wait_for_completion=True)
        ways: dict[str, Any] = {
            "path": clip,
            "name": str(clip),
            "bytes": clip.read_bytes(),
            "file": BytesIO(clip.read_bytes()),
            "openai's tuple": ("mine.mp4", clip.read_bytes(), "video/mp4"),
            "data URI": f"data:video/mp4;base64,{b64encode(clip.read_bytes()).decode()}",
            "video": first,
            "id": first.id,
            "file id": (await client.files.create(file=clip, purpose="user_data")).id,
            "link": first.url,
        }
        edited = await client.videos.edit(model=MODEL, video=ways[given], prompt="slower", wait_for_completion=True)
        kept = [file.id async for file in client.files.list()]

    assert edited.status == "completed"
    assert seen[-1][0] == "video.edit"
    assert kept == [ways["file id"]]  # What was uploaded for the call alone is gone.


async def test_pictures_go_with_a_generation(server: Running, tmp_path: Path) -> None:
    png = make_png(tmp_path / "harbour.png")

    def story() -> Video:
        with blocking(server) as client:
            return client.videos.generate(
                model=MODEL, prompt="Go", image=png, reference_images=[png, png.read_bytes()], wait_for_completion=True
            )

    assert (await asyncio.to_thread(story)).status == "completed"
    assert len(seen[-1][1]["reference_images"]) == 2


async def test_what_is_no_input_is_told_before_anything_is_sent(server: Running) -> None:
    async with awaiting(server) as client:
        with pytest.raises(ValueError, match="neither a URL nor an id"):
            await client.videos.edit(model=MODEL, video="no-such-file.mp4", prompt="slower")
        with pytest.raises(ValueError, match="neither a URL nor an id"):
            await client.videos.edit(model=MODEL, video="x" * 5_000, prompt="slower")
        with pytest.raises(ValueError, match="cannot be a int"):
            await client.videos.extend(model=MODEL, video=3)  # pyright: ignore[reportArgumentType]
    assert seen == []


async def test_an_extension_carries_its_seconds_and_options(server: Running) -> None:
    async with awaiting(server) as client:
        first = await client.videos.generate(model=MODEL, prompt="One", wait_for_completion=True)
        longer = await client.videos.extend(
            model=MODEL,
            video=first,
            seconds=3,
            expires_in=600,
            request_metadata={"film": "one"},
            wait_for_completion=True,
        )
        record = await client.requests.retrieve(longer.id)
    operation, payload = seen[-1]
    assert (operation, payload["seconds"]) == ("video.extension", 3)
    assert (record.metadata, record.deadline is not None) == ({"film": "one"}, True)


async def test_videos_are_listed_and_forgotten(server: Running) -> None:
    async with awaiting(server) as client:
        ids = [
            (await client.videos.generate(model=MODEL, prompt=f"{n}", wait_for_completion=True)).id for n in range(3)
        ]
        assert [video.id async for video in client.videos.list(limit=2)] == ids[::-1]
        assert (await client.videos.delete(ids[0])).deleted
        with pytest.raises(NotFoundError):
            await client.videos.retrieve(ids[0])


async def test_openais_own_calls_go_on_working(server: Running) -> None:
    async with awaiting(server) as client:
        with pytest.warns(DeprecationWarning, match="Sora"):
            video = await client.videos.create_and_poll(prompt="A cat", model=MODEL)  # pyright: ignore[reportDeprecated]
        assert (video.status, video.id.startswith("video_")) == ("completed", True)


async def test_what_is_no_video_is_not_cancelled_as_one(server: Running) -> None:
    async with awaiting(server) as client:
        chat = await client.chat.completions.defer(model="m", messages=[{"role": "user", "content": "Hello?"}])
        with pytest.raises(NotFoundError):
            await client.videos.cancel(chat.id)
        await chat.wait()


async def test_openais_poll_helper_waits_for_native_videos_too(server: Running) -> None:
    async with awaiting(server) as client:
        video = await client.videos.generate(model=MODEL, prompt="wait")
        polling = asyncio.create_task(client.videos.poll(video.id))
        failing = asyncio.create_task(client.videos.poll((await client.videos.generate(prompt="refuse")).id))
        assert (await failing).status == "failed"
        gate.open.set()
        assert (await polling).status == "completed"


async def test_downloads_into_one_folder_do_not_meet(server: Running, tmp_path: Path) -> None:
    target = tmp_path / "files"
    target.mkdir()
    async with awaiting(server) as client:
        videos = await asyncio.gather(
            *(client.videos.generate(model=MODEL, prompt=f"{n}", wait_for_completion=True) for n in range(3))
        )
        (target / "elsewhere").write_text("mine")
        (target / f".{videos[0].id}.part").symlink_to(target / "elsewhere")
        names = [f"{n}.mp4" for n in range(3)]
        fetches = [
            client.requests.download(video.id, "video.mp4", target / name)
            for video, name in zip(videos, names, strict=True)
        ]
        again = client.videos.download(videos[0], target), client.videos.download(videos[0], target)
        await asyncio.gather(*fetches, *again)
    assert {path.name for path in target.glob("*.mp4")} == {*names, f"{videos[0].id}.mp4"}
    assert {path.stat().st_mode & 0o077 for path in target.glob("*.mp4")} != {0}
    assert (target / "elsewhere").read_text() == "mine"


async def test_the_files_of_any_request_can_be_fetched(server: Running, tmp_path: Path) -> None:
    async with awaiting(server) as client:
        video = await client.videos.generate(model=MODEL, prompt="A cat", wait_for_completion=True)
        record = await client.requests.retrieve(video.id)
        names = [attachment.name for attachment in record.attachments or ()]
        assert names == ["video.mp4", "thumbnail.webp", "spritesheet.webp"]
        still = await client.requests.download(video.id, "thumbnail.webp", tmp_path)
        sheet = await client.videos.download(video, tmp_path / "sheet.webp", variant="spritesheet")
    assert (still, kind_of(still.read_bytes())) == (tmp_path / "thumbnail.webp", "image/webp")
    assert kind_of(sheet.read_bytes()) == "image/webp"
    assert not list(tmp_path.glob(".*.part"))


def test_a_download_that_breaks_off_is_taken_up_where_it_broke(tmp_path: Path) -> None:
    whole = bytes(range(256)) * 4_000

    def answer(asked: Asked) -> Answer:
        told = {"ETag": '"one"', "Content-Type": "video/mp4"}
        if "range" not in asked.headers:
            return Answer(body=b"", headers={**told, "Content-Length": str(len(whole))}, stream=[whole[:300_000]])
        begin = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
        assert asked.headers["if-range"] == '"one"'
        return Answer(206, whole[begin:], {**told, "Content-Range": f"bytes {begin}-{len(whole) - 1}/{len(whole)}"})

    with ScriptedServer(answer) as server, Raincheck(base_url=server.url) as client:
        path = client.videos.download("video_gen_1", tmp_path)
    assert path.read_bytes() == whole
    assert len(server.asked) == 2


def test_an_answer_without_an_id_is_an_error_of_its_own() -> None:
    with (
        ScriptedServer(lambda _: Answer(body={"object": "video"})) as server,
        Raincheck(base_url=server.url) as client,
        pytest.raises(NoRequestId),
    ):
        client.videos.generate(model=MODEL, prompt="A cat")

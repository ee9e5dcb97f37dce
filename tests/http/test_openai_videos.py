"""The unmodified openai client makes, changes, pages through and downloads videos, over a real socket."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types import Video

from tests.http.videos import MODEL, gate, generate, made, making_videos, post_form, seen
from tests.media import make_clip, make_png
from tests.server import Running

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")

# Every member OpenAI's schema requires.
MEMBERS = {
    "id",
    "object",
    "model",
    "status",
    "progress",
    "created_at",
    "completed_at",
    "expires_at",
    "prompt",
    "size",
    "seconds",
    "remixed_from_video_id",
    "error",
}


@pytest.fixture(autouse=True)
def _deprecated() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    """The client warns that OpenAI's own service for videos ends; the calls are what other servers take as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


@pytest.fixture
async def client(server: Running) -> AsyncIterator[Any]:
    # As Any: its types name OpenAI's own models, sizes and lengths alone.
    async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as made_client:
        yield made_client


async def test_create_answers_with_every_member_there_is(server: Running, client: Any) -> None:
    video: Video = await client.videos.create(prompt="A cat", model=MODEL, size="1280x720")

    assert video.to_dict().keys() == MEMBERS
    assert video.id.startswith("video_")
    assert len(video.id) == len("video_") + 32
    assert (video.object, video.status, video.progress, video.model) == ("video", "queued", 0, MODEL)
    assert (video.size, video.seconds, video.prompt) == ("1280x720", "4", "A cat")
    assert (video.completed_at, video.expires_at, video.error, video.remixed_from_video_id) == (None,) * 4
    ended = await made(server, video.id)
    assert ended.keys() == MEMBERS
    assert (ended["status"], ended["progress"], ended["size"], ended["seconds"]) == ("completed", 100, "160x90", "1")
    assert ended["expires_at"] > ended["completed_at"] >= ended["created_at"]


async def test_create_and_poll_with_a_first_frame_then_download(client: Any, tmp_path: Path) -> None:
    frame = make_png(tmp_path / "frame.png")

    video: Video = await client.videos.create_and_poll(prompt="A cat", input_reference=frame, seconds="1")
    content = await client.videos.download_content(video.id)
    thumbnail = await client.videos.download_content(video.id, variant="thumbnail")
    sheet = await client.videos.download_content(video.id, variant="spritesheet")

    assert (video.status, video.model) == ("completed", MODEL)
    assert seen[0][1]["image"] == {"attachment": "image"}
    assert content.content[4:8] == b"ftyp"
    assert thumbnail.content[8:12] == sheet.content[8:12] == b"WEBP"
    assert content.response.headers["accept-ranges"] == "bytes"


async def test_the_sync_client_does_the_same(server: Running) -> None:
    def story() -> tuple[Video, bytes]:
        with OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as sync:
            untyped: Any = sync
            video = untyped.videos.create_and_poll(prompt="A cat", model=MODEL)
            again = untyped.videos.retrieve(video.id)
            assert again == video
            with untyped.videos.with_streaming_response.download_content(video.id) as streamed:
                return video, b"".join(streamed.iter_bytes())

    video, content = await asyncio.to_thread(story)

    assert video.status == "completed"
    assert content[4:8] == b"ftyp"


async def test_a_poll_is_held_until_the_end(server: Running, client: Any) -> None:
    video: Video = await client.videos.create(prompt="wait", model=MODEL)
    polling = asyncio.create_task(client.videos.poll(video.id))
    async with asyncio.timeout(10):
        while not server.edge.live.waiting(video.id):
            await asyncio.sleep(0.005)
    gate.open.set()

    assert (await polling).status == "completed"


async def test_a_read_says_when_to_ask_again(server: Running, client: Any) -> None:
    video: Video = await client.videos.create(prompt="wait", model=MODEL)

    reply = await server.get(f"/v1/videos/{video.id}")

    assert reply.headers["openai-poll-after-ms"] == "1000"


async def test_the_list_is_paged(client: Any) -> None:
    ids = [(await client.videos.create(prompt="wait", model=MODEL)).id for _ in range(5)]

    listed = [video async for video in client.videos.list(limit=2)]

    assert [video.id for video in listed] == ids[::-1]
    assert [video.id async for video in client.videos.list(limit=2, order="asc")] == ids
    assert [video.id async for video in client.videos.list(limit=2, order="asc", after=ids[2])] == ids[3:]
    assert all(isinstance(video, Video) and video.to_dict().keys() == MEMBERS for video in listed)


async def test_what_is_listed_is_what_is_retrieved(server: Running, client: Any) -> None:
    first: Video = await client.videos.create_and_poll(prompt="A cat", model=MODEL)
    edit_id = (await server.post("/v1/videos/edits", {"prompt": "A dog", "video": {"id": first.id}})).json["id"]
    edit: Video = await client.videos.poll(edit_id)
    refused: Video = await client.videos.create_and_poll(prompt="refuse", model=MODEL)

    listed = [video async for video in client.videos.list()]

    assert listed == [refused, edit, first]
    assert (listed[1].seconds, listed[1].size) == ("1", "160x90")


async def test_a_remix_is_a_new_video_of_the_same_shape_from_the_old_one(server: Running, client: Any) -> None:
    first: Video = await client.videos.create_and_poll(prompt="A cat", model=MODEL, size="1280x720", seconds="2")

    remix: Video = await client.videos.remix(first.id, prompt="A dog")
    ended = await client.videos.poll(remix.id)

    assert (remix.remixed_from_video_id, remix.size, remix.seconds) == (first.id, "1280x720", "2")
    assert ended.status == "completed"
    assert seen[-1] == (
        "video.generation",
        {
            "model": MODEL,
            "prompt": "A dog",
            "seconds": 2,
            "size": "1280x720",
            "video": {"attachment": "video"},
            "of": first.id,
        },
    )


async def test_a_video_is_edited_and_extended_by_file_and_by_id(server: Running, client: Any, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4")

    edited = await client.videos.edit(prompt="greyer", video=clip)
    extended = await client.videos.extend(prompt="on", video=BytesIO(clip.read_bytes()), seconds="4")
    assert (await client.videos.poll(edited.id)).status == "completed"
    assert (await client.videos.poll(extended.id)).status == "completed"
    by_id = await server.post("/v1/videos/edits", {"prompt": "darker", "video": {"id": edited.id}})
    form = await post_form(server, "/v1/videos/extensions", {"prompt": "on", "seconds": "4", "video[id]": edited.id})

    assert [operation for operation, _ in seen[:2]] == ["video.edit", "video.extension"]
    assert (extended.seconds, by_id.json["remixed_from_video_id"]) == ("4", edited.id)
    assert by_id.json.keys() == form.json.keys() == MEMBERS
    assert [(await made(server, reply.json["id"]))["status"] for reply in (by_id, form)] == ["completed"] * 2


async def test_one_is_deleted(client: Any) -> None:
    video: Video = await client.videos.create_and_poll(prompt="A cat", model=MODEL)

    gone = await client.videos.delete(video.id)

    assert gone.to_dict() == {"id": video.id, "object": "video.deleted", "deleted": True}
    with pytest.raises(openai.NotFoundError):
        await client.videos.retrieve(video.id)


async def test_what_did_not_become_a_video_has_failed_and_says_why(client: Any) -> None:
    """Its poll takes any other word for an end as well, but knows only this one."""
    refused: Video = await client.videos.create_and_poll(prompt="refuse", model=MODEL)
    held: Video = await client.videos.create(prompt="wait", model=MODEL)
    cancelled: Video = await client.post(f"/videos/{held.id}/cancel", cast_to=Video)

    assert (refused.status, refused.error and refused.error.code) == ("failed", "no_taste")
    assert (cancelled.status, cancelled.error and cancelled.error.code) == ("failed", "cancelled")


async def test_content_that_is_not_there_is_a_conflict_that_is_not_retried(server: Running) -> None:
    untyped: Any = AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=2)
    async with untyped:
        video: Video = await untyped.videos.create(prompt="wait", model=MODEL)
        with pytest.raises(openai.ConflictError) as raised:
            await untyped.videos.download_content(video.id)
        gate.open.set()
        await untyped.videos.poll(video.id)
        with pytest.raises(openai.BadRequestError):
            await untyped.videos.download_content(video.id, variant="poster")

    assert raised.value.code == "not_ended"
    assert raised.value.response.headers["x-should-retry"] == "false"


async def test_content_is_served_in_ranges_and_revalidated(server: Running, client: Any) -> None:
    video: Video = await client.videos.create_and_poll(prompt="A cat", model=MODEL)
    path = f"/v1/videos/{video.id}/content"

    whole = await server.get(path)
    part = await server.get(path, range="bytes=4-7")
    known = await server.get(path, if_none_match=whole.headers["etag"])
    native = await generate(server)
    await made(server, native)

    assert (whole.status, whole.headers["content-type"]) == (200, "video/mp4")
    assert (part.status, part.body) == (206, b"ftyp")
    assert (known.status, known.body) == (304, b"")
    assert (await server.get(f"/v1/videos/{native}/content")).body[4:8] == b"ftyp"


async def test_there_are_no_characters(client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="reference_images"):
        await client.videos.create_character(name="Ada", video=b"x")
    with pytest.raises(openai.NotFoundError, match="reference_images"):
        await client.videos.get_character("char_1")

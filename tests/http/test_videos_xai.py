"""Videos as xAI has them: read as strictly as the strictest of its clients do."""

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest

from tests.http.videos import MODEL, gate, making_videos, path_of, seen
from tests.media import make_clip, make_png
from tests.server import Json, Reply, Running

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")


class Started(msgspec.Struct, forbid_unknown_fields=True):
    request_id: str


class VideoPart(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    duration: int
    respect_moderation: bool


class Why(msgspec.Struct, forbid_unknown_fields=True):
    code: str
    message: str


class Status(msgspec.Struct, forbid_unknown_fields=True):
    status: Literal["pending", "done", "expired", "failed"]
    progress: int
    model: str
    video: VideoPart | msgspec.UnsetType = msgspec.UNSET
    error: Why | msgspec.UnsetType = msgspec.UNSET
    usage: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


async def start(server: Running, path: str = "generations", **members: Any) -> str:
    reply = await server.post(f"/xai/v1/videos/{path}", {"model": MODEL, **members})
    assert reply.status == 200, reply.body
    return str(UUID(msgspec.json.decode(reply.body, type=Started).request_id))


async def status(server: Running, request_id: str, *, base: str = "/xai/v1") -> tuple[int, Status]:
    reply: Reply = await server.get(f"{base}/videos/{request_id}?wait=20")
    return reply.status, msgspec.json.decode(reply.body, type=Status)


async def test_a_video_is_pending_with_202_and_done_with_200(server: Running) -> None:
    request_id = await start(server, prompt="wait", duration=1)
    pending = await server.get(f"/xai/v1/videos/{request_id}")
    shown = msgspec.json.decode(pending.body, type=Status)
    gate.open.set()
    code, done = await status(server, request_id)

    assert (pending.status, shown.status, pending.headers["retry-after"]) == (202, "pending", "1")
    assert shown.video is shown.error is msgspec.UNSET
    assert (code, done.status, done.progress, done.model) == (200, "done", 100, MODEL)
    assert isinstance(done.video, VideoPart)
    assert (done.video.duration, done.video.respect_moderation) == (1, True)
    assert (await server.get(path_of(server, done.video.url))).body[4:8] == b"ftyp"


@pytest.mark.parametrize("prompt", ["wait", "A cat"])
async def test_whatever_is_preferred_the_answer_says_which_it_is(server: Running, prompt: str) -> None:
    body = {"model": MODEL, "prompt": prompt}
    prefers = "return=representation" if prompt == "wait" else "wait=20"

    first = await server.post("/xai/v1/videos/generations", body, prefer=prefers, idempotency_key="k")
    again = await server.post("/xai/v1/videos/generations", body, prefer=prefers, idempotency_key="k")
    gate.open.set()

    shown = first.json
    request_id = shown.pop("request_id")
    assert again.json["request_id"] == request_id == str(UUID(request_id))
    told = msgspec.convert(shown, Status)
    assert told.status == ("pending" if prompt == "wait" else "done")
    assert (await status(server, request_id))[1].status == "done"


async def test_the_shared_path_answers_its_ids_in_its_words(server: Running) -> None:
    request_id = await start(server, prompt="wait")
    pending = await server.get(f"/v1/videos/{request_id}")
    gate.open.set()

    assert (pending.status, msgspec.json.decode(pending.body, type=Status).status) == (202, "pending")
    assert (await status(server, request_id, base="/v1"))[1].status == "done"


async def test_a_refused_and_a_cancelled_one_have_failed(server: Running) -> None:
    code, refused = await status(server, await start(server, prompt="refuse"))
    held = await start(server, prompt="wait")
    cancelled = await server.post(f"/xai/v1/videos/{held}/cancel")

    assert (code, refused.status, refused.error) == (200, "failed", Why("invalid_argument", "I do not like it."))
    assert cancelled.status == 200
    told = msgspec.json.decode(cancelled.body, type=Status)
    assert isinstance(told.error, Why)
    assert (told.status, told.error.code) == ("failed", "cancelled")
    assert (await status(server, held))[1] == told


async def test_one_whose_deadline_passed_is_expired(server: Running) -> None:
    request_id = await start(server, prompt="wait", raincheck={"expires_in": 0.2})

    code, expired = await status(server, request_id)

    assert (code, expired.status, expired.video) == (200, "expired", msgspec.UNSET)


async def test_flat_urls_are_understood_and_a_video_url_means_an_edit(server: Running, tmp_path: Path) -> None:
    picture = "data:image/png;base64," + b64encode(make_png(tmp_path / "a.png").read_bytes()).decode()
    clip = "data:video/mp4;base64," + b64encode(make_clip(tmp_path / "a.mp4").read_bytes()).decode()
    calls: list[tuple[str, Json]] = [
        ("generations", {"prompt": "A cat", "image_url": picture}),
        ("generations", {"prompt": "A cat", "image": {"url": picture}, "duration": 8}),
        ("generations", {"prompt": "A cat", "reference_images": [{"url": picture}, {"url": picture}]}),
        ("generations", {"prompt": "greyer", "video_url": clip}),
        ("edits", {"prompt": "greyer", "video": {"url": clip}}),
        ("extensions", {"prompt": "on", "video": {"url": clip}, "duration": 6}),
    ]

    for path, members in calls:
        assert (await status(server, await start(server, path, **members)))[1].status == "done"

    assert [operation for operation, _ in seen] == [
        *["video.generation"] * 3,
        "video.edit",
        "video.edit",
        "video.extension",
    ]
    assert seen[2][1]["reference_images"] == [
        {"attachment": "reference_images[0]"},
        {"attachment": "reference_images[1]"},
    ]


async def test_a_finished_one_is_edited_by_its_link(server: Running) -> None:
    _, first = await status(server, await start(server, prompt="A cat"))
    assert isinstance(first.video, VideoPart)

    _, second = await status(server, await start(server, "edits", prompt="greyer", video={"url": first.video.url}))

    assert second.status == "done"


async def test_an_unknown_id_is_a_flat_404(server: Running) -> None:
    reply = await server.get("/xai/v1/videos/0199a3c2-f4b8-7d3e-9a51-c0de5f00ba47")

    assert reply.status == 404
    assert reply.json.keys() == {"code", "error"}

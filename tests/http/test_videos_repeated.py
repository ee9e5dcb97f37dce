"""G9: a call for a video with an Idempotency-Key is the same call again when its input is gone meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.model import LOCAL_TENANT
from tests.http.videos import MODEL, generate, made, making_videos, post_form
from tests.media import make_clip, make_png
from tests.server import Json, Reply, Running

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")

KEY = {"idempotency_key": "k"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running
        async with asyncio.timeout(20):  # What is still being made ends as it would.
            while any((await running.edge.store.upkeep.gauges()).values()):
                await asyncio.sleep(0.01)


async def edit(server: Running, video: Json | str, **members: Any) -> Reply:
    return await server.post("/v1/videos/edits", {"prompt": "Reverse", "video": video, **members}, **KEY)


async def a_video(server: Running) -> str:
    video_id = await generate(server, seconds=1, size="160x90")
    await made(server, video_id)
    return video_id


async def forgotten(server: Running, path: str) -> None:
    assert (await server.call("DELETE", path)).status == 200
    assert (await server.get(path)).status == 404


def assert_repeated(again: Reply, first: Reply) -> None:
    assert (again.status, again.json["id"]) == (200, first.json["id"]), again.body
    assert again.headers["idempotency-replayed"] == "true"


async def test_after_the_source_was_deleted(server: Running) -> None:
    source = await a_video(server)
    first = await edit(server, {"request_id": source})
    await forgotten(server, f"/v1/videos/{source}")

    assert_repeated(await edit(server, {"request_id": source}), first)
    waited = await server.post(
        "/v1/videos/edits", {"prompt": "Reverse", "video": source}, prefer="wait=20, return=representation", **KEY
    )
    assert (waited.json["id"], waited.json["status"]) == (first.json["id"], "completed")


async def test_after_the_link_to_it_has_expired(server: Running) -> None:
    source = await a_video(server)

    def link(now: int) -> str:
        return server.url + server.edge.links.sign(LOCAL_TENANT, source, "video.mp4", now)

    first = await edit(server, {"url": link(server.edge.clock())})

    assert_repeated(await edit(server, {"url": link(0)}), first)
    assert (await edit(server, {"url": link(0)}, prompt="Mirror")).error["code"] == "attachment_gone"


async def test_after_its_file_was_deleted(server: Running, tmp_path: Path) -> None:
    data = make_clip(tmp_path / "own.mp4", seconds=1, size=(64, 48)).read_bytes()
    form = {"purpose": "user_data"}
    file_id = (await post_form(server, "/v1/files", form, file=("own.mp4", data, "video/mp4"))).json["id"]
    first = await edit(server, {"file_id": file_id}, model=MODEL)
    await forgotten(server, f"/v1/files/{file_id}")

    assert_repeated(await edit(server, {"file_id": file_id}, model=MODEL), first)


async def test_a_remix_takes_what_it_left_open_from_what_is_gone(server: Running) -> None:
    source = await a_video(server)

    async def remix(prompt: str, **members: Any) -> Reply:
        return await server.post(f"/v1/videos/{source}/remix", {"prompt": prompt, **members}, **KEY)

    first = await remix("A dog")
    await forgotten(server, f"/v1/videos/{source}")

    assert_repeated(await remix("A dog"), first)
    assert (await remix("A dog", seconds=3)).status == 404
    assert (await remix("A hen")).status == 404


async def test_with_a_file_in_the_call_which_is_compared(server: Running, tmp_path: Path) -> None:
    source = await a_video(server)
    pictures = [make_png(tmp_path / f"{n}.png", colour=(n, 2, 3)).read_bytes() for n in (1, 2)]

    async def post(picture: bytes) -> Reply:
        fields = {"model": MODEL, "prompt": "Reverse", "video[request_id]": source}
        headers = {"idempotency-key": "k"}
        return await post_form(server, "/v1/videos/edits", fields, headers, image=("a.png", picture, "image/png"))

    first = await post(pictures[0])
    await forgotten(server, f"/v1/videos/{source}")

    assert_repeated(await post(pictures[0]), first)
    assert (await post(pictures[1])).status == 404


Change = Callable[[Running, str], Awaitable[Reply]]
OTHERS: dict[str, Change] = {
    "another key": lambda server, source: server.post(
        "/v1/videos/edits", {"prompt": "Reverse", "video": source}, idempotency_key="other"
    ),
    "no key": lambda server, source: server.post("/v1/videos/edits", {"prompt": "Reverse", "video": source}),
    "another operation": lambda server, source: server.post(
        "/v1/videos/extensions", {"prompt": "Reverse", "video": source}, **KEY
    ),
    "another video": lambda server, _: edit(server, "video_gen_unknown"),
    "a file": lambda server, _: edit(server, {"file_id": "file-unknown"}),
    "a picture more": lambda server, source: edit(server, source, image={"url": "https://example.com/a.png"}),
    "another reference": lambda server, source: edit(server, source, reference_images=["https://example.com/a.png"]),
    "other words": lambda server, source: edit(server, source, prompt="Mirror"),
    "another seed": lambda server, source: edit(server, source, seed=7),
    "a member more": lambda server, source: edit(server, source, cfg_scale=7),
    "other metadata": lambda server, source: edit(server, source, metadata={"team": "blue"}),
    "another tier": lambda server, source: edit(server, source, service_tier="flex"),
    "a webhook": lambda server, source: edit(server, source, webhook_url="https://example.com/hook"),
    "other moments": lambda server, source: edit(server, source, webhook_events=["completed"]),
    "with the result": lambda server, source: edit(server, source, include_result=True),
}


async def test_another_call_is_told_what_is_missing(server: Running) -> None:
    source = await a_video(server)
    first = await edit(server, source)
    await forgotten(server, f"/v1/videos/{source}")

    replies = {name: await change(server, source) for name, change in OTHERS.items()}

    assert {name: reply.status for name, reply in replies.items()} == dict.fromkeys(OTHERS, 404)
    assert_repeated(await edit(server, source), first)


async def test_g8_another_tenants_key_tells_nothing(server: Running) -> None:
    own, stranger = [{"authorization": f"Bearer {await server.key(tenant)}"} for tenant in ("t", "else")]
    source = (await server.post("/v1/videos/generations", {"prompt": "A cat"}, **own)).json["id"]
    await made(server, source, **own)
    body = {"prompt": "Reverse", "video": source}
    first = await server.post("/v1/videos/edits", body, **KEY, **own)
    assert (await server.call("DELETE", f"/v1/videos/{source}", headers=own)).status == 200

    reply = await server.post("/v1/videos/edits", body, **KEY, **stranger)

    assert_repeated(await server.post("/v1/videos/edits", body, **KEY, **own), first)
    assert (reply.status, reply.error["code"]) == (404, "not_found")

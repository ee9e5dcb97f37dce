"""Videos in the native dialect: submit, read, follow, cancel, list, forget; and every way to give an input."""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.clock import now, seconds
from tests.http.videos import MODEL, SIZE, generate, made, making_videos, path_of, post_form, seen
from tests.media import make_clip, make_png
from tests.server import Json, Running

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


def data_uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(path.read_bytes()).decode()}"


async def test_g1_a_generation_is_answered_at_once_with_its_id_and_can_be_collected(server: Running) -> None:
    reply = await server.post(
        "/v1/videos/generations",
        {"model": MODEL, "prompt": "A cat", "duration": 1, "aspect_ratio": "16:9", "resolution": "480p", "seed": 7},
    )

    ticket = reply.json
    assert reply.status == 200
    assert ticket == {
        "id": ticket["id"],
        "request_id": ticket["id"],
        "object": "video",
        "status": "pending",
        "created": ticket["created"],
        "created_at": ticket["created"],
        "model": MODEL,
        "progress": 0,
    }
    assert ticket["id"].startswith("video_gen_")
    assert abs(ticket["created"] - seconds(now())) < 5

    video = await made(server, ticket["id"])
    assert (video["status"], video["progress"], video["error"]) == ("completed", 100, None)
    [file] = video["data"]
    assert (file["content_type"], file["width"], file["height"]) == ("video/mp4", *SIZE)
    assert file["duration"] == pytest.approx(1.0, abs=0.1)
    fetched = await server.get(path_of(server, file["url"]))
    assert (fetched.status, len(fetched.body), fetched.body[4:8]) == (200, file["bytes"], b"ftyp")
    thumbnail = await server.get(path_of(server, file["thumbnail_url"]))
    assert thumbnail.headers["content-type"] == "image/webp"
    assert seen == [
        (
            "video.generation",
            {
                "model": MODEL,
                "prompt": "A cat",
                "seconds": 1,
                "aspect_ratio": "16:9",
                "resolution": "480p",
                "seed": 7,
            },
        )
    ]


async def test_the_request_object_lists_the_files_too(server: Running) -> None:
    video_id = await generate(server)

    request = await server.ended(video_id)

    assert request["operation"] == "video.generation"
    assert [each["name"] for each in request["attachments"]] == ["video.mp4", "thumbnail.webp", "spritesheet.webp"]
    assert request["attachments"][0]["url"].startswith("http://"), "it opens in a browser"
    first = await server.get(path_of(server, request["attachments"][0]["url"]))
    assert (first.status, first.headers["content-type"]) == (200, "video/mp4")


async def test_respond_async_is_202_with_a_place_and_wait_is_the_video(server: Running) -> None:
    body = {"model": MODEL, "prompt": "A cat"}

    later = await server.post("/v1/videos/generations", body, prefer="respond-async")
    waited = await server.post("/v1/videos/generations", body, prefer="wait=20")

    assert (later.status, later.headers["location"]) == (202, f"/v1/videos/{later.json['id']}")
    assert (waited.status, waited.json["status"], len(waited.json["data"])) == (200, "completed", 1)


async def test_a_pending_one_says_where_it_stands_and_a_running_one_how_far_it_is(server: Running) -> None:
    running = [await generate(server, "wait") for _ in range(4)]
    waiting = await generate(server, "A cat")
    async with asyncio.timeout(10):
        while (first := (await server.get(f"/v1/videos/{running[0]}")).json)["progress"] != 40:
            await asyncio.sleep(0.01)

    pending = (await server.get(f"/v1/videos/{waiting}")).json

    assert (first["status"], first["progress_message"]) == ("processing", "frame 2 of 5")
    assert (pending["status"], pending["position"], pending["progress"]) == ("pending", 1, 0)
    assert pending["waiting_for"]["reason"] == "position"
    assert "data" not in pending


async def test_g5_a_cancelled_one_is_stopped(server: Running) -> None:
    video_id = await generate(server, "wait")

    first = await server.post(f"/v1/videos/{video_id}/cancel")
    again = await server.post(f"/v1/videos/{video_id}/cancel")

    assert first.json["status"] == again.json["status"] == "cancelled"
    assert (await made(server, video_id))["status"] == "cancelled"


async def test_one_that_is_refused_says_why(server: Running) -> None:
    video = await made(server, await generate(server, "refuse"))

    assert (video["status"], video["error"]["code"]) == ("failed", "no_taste")
    assert "data" not in video


async def test_a_requeued_one_is_a_video_too(server: Running) -> None:
    video_id = await generate(server, "refuse")
    await made(server, video_id)

    copy = (await server.post(f"/v1/requests/{video_id}/requeue")).json["id"]

    video = await made(server, copy)
    assert (video["object"], video["prompt"], video["status"]) == ("video", "refuse", "failed")


async def test_one_is_forgotten_with_its_files(server: Running) -> None:
    video_id = await generate(server)
    link = path_of(server, (await made(server, video_id))["data"][0]["url"])

    gone = await server.call("DELETE", f"/v1/videos/{video_id}")

    assert gone.json == {"id": video_id, "object": "video.deleted", "deleted": True}
    assert (await server.get(f"/v1/videos/{video_id}")).status == 404
    assert (await server.get(link)).status in (404, 410)


async def test_a_running_one_cannot_be_forgotten(server: Running) -> None:
    video_id = await generate(server, "wait")

    reply = await server.call("DELETE", f"/v1/videos/{video_id}")

    assert (reply.status, reply.error["code"]) == (409, "not_ended")


async def test_the_list_has_videos_alone_each_in_its_own_dialect(server: Running) -> None:
    await server.defer()
    native = await generate(server, "wait")
    openai = (await server.post("/v1/videos", {"model": MODEL, "prompt": "wait"})).json["id"]
    xai = (await server.post("/xai/v1/videos/generations", {"model": MODEL, "prompt": "wait"})).json["request_id"]
    await server.defer()

    page = (await server.get("/v1/videos")).json
    half = (await server.get("/v1/videos?limit=2")).json
    rest = (await server.get(f"/v1/videos?limit=2&after={half['last_id']}")).json

    assert [each["id"] for each in page["data"]] == [xai, openai, native]
    assert [each["status"] for each in page["data"]] == ["pending", "in_progress", "processing"]
    assert [each.get("prompt") for each in page["data"]] == [None, "wait", "wait"]
    assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", xai, native, False)
    assert [each["id"] for each in half["data"] + rest["data"]] == [xai, openai, native]
    assert (half["has_more"], rest["has_more"]) == (True, False)


async def test_a_listed_video_has_all_that_was_made_of_it(server: Running) -> None:
    native = await generate(server)
    shown = {native: await made(server, native)}
    xai = (await server.post("/xai/v1/videos/generations", {"model": MODEL, "prompt": "A cat"})).json["request_id"]
    shown[xai] = {"id": xai, **(await made(server, xai))}

    page = (await server.get("/v1/videos")).json["data"]

    def unsigned(video: Json) -> Json:
        return json.loads(re.sub(r"/media/[^/]+/", "/media/…/", json.dumps(video)))

    assert [unsigned(each) for each in page] == [unsigned(shown[xai]), unsigned(shown[native])]
    assert (await server.get(path_of(server, page[1]["data"][0]["url"]))).status == 200


async def test_what_is_no_video_is_not_read_as_one(server: Running) -> None:
    request_id = await server.defer()

    assert (await server.get(f"/v1/videos/{request_id}")).status == 404
    assert (await server.post(f"/v1/videos/{request_id}/cancel")).status == 404
    assert (await server.call("DELETE", f"/v1/videos/{request_id}")).status == 404


async def test_g9_the_same_key_and_bytes_are_the_same_request_and_other_bytes_are_not(
    server: Running, tmp_path: Path
) -> None:
    """G9, though each call's bytes are kept under a name of their own."""
    one = data_uri(make_png(tmp_path / "a.png"), "image/png")
    other = data_uri(make_png(tmp_path / "b.png", colour=(1, 2, 3)), "image/png")

    async def post(image: str) -> Any:
        body = {"model": MODEL, "prompt": "A cat", "image": {"url": image}}
        return await server.post("/v1/videos/generations", body, idempotency_key="k")

    first, again, changed = await post(one), await post(one), await post(other)

    assert first.json["id"] == again.json["id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert (changed.status, changed.error["code"]) == (409, "idempotency_conflict")


async def test_a_webhook_and_metadata_may_stand_at_the_top(server: Running) -> None:
    video_id = await generate(
        server, webhook_url="https://hooks.invalid/hook", metadata={"team": "blue"}, service_tier="flex"
    )

    video = await made(server, video_id)

    assert video["webhook_url"] == "https://hooks.invalid/hook"
    assert (video["metadata"], video["service_tier"]) == ({"team": "blue"}, "flex")


async def test_without_a_model_it_is_the_first_that_makes_videos(server: Running) -> None:
    reply = await server.post("/v1/videos/generations", {"prompt": "A cat"})

    assert reply.json["model"] == MODEL


async def test_what_nobody_knows_is_left_to_the_upstream(server: Running) -> None:
    await made(server, await generate(server, cfg_scale=7.5, nothing=None))

    assert seen[0][1]["extra"] == {"cfg_scale": 7.5}


async def upload(server: Running, path: Path, **headers: str) -> str:
    file = (path.name, path.read_bytes(), "video/mp4")
    reply = await post_form(server, "/v1/files", {"purpose": "user_data"}, headers, file=file)
    assert reply.status == 200, reply.body
    return reply.json["id"]


async def edited(server: Running, video: object) -> Json:
    reply = await server.post("/v1/videos/edits", {"model": MODEL, "prompt": "greyer", "video": video})
    assert reply.status == 200, reply.body
    return await made(server, reply.json["id"])


async def test_a_video_is_edited_by_each_way_of_naming_it(server: Running, tmp_path: Path) -> None:
    source = await generate(server)
    link = (await made(server, source))["data"][0]["url"]
    clip = make_clip(tmp_path / "clip.mp4")
    file_id = await upload(server, clip)
    elsewhere = link.replace(server.url, "https://raincheck.example")
    ways: list[object] = [
        {"request_id": source},
        source,
        {"url": link},
        link,
        {"url": elsewhere},
        {"file_id": file_id},
        file_id,
        {"url": data_uri(clip, "video/mp4")},
    ]

    for way in ways:
        video = await edited(server, way)
        assert (video["status"], video["operation"]) == ("completed", "video.edit"), way
        assert seen[-1][1]["video"] == {"attachment": "video"}
    assert [payload.get("of") for _, payload in seen[1:]] == [source] * 5 + [None] * 3


async def test_a_native_form_can_bring_files_and_members_in_brackets(server: Running, tmp_path: Path) -> None:
    picture = make_png(tmp_path / "a.png").read_bytes()
    fields = {"model": MODEL, "prompt": "A cat", "metadata[team]": "blue", "seconds": "1", "seed": "7"}

    reply = await post_form(server, "/v1/videos/generations", fields, image=("a.png", picture, "image/png"))
    video = await made(server, reply.json["id"])

    assert (video["status"], video["metadata"]) == ("completed", {"team": "blue"})
    assert seen[0][1]["image"] == {"attachment": "image"}
    assert (seen[0][1]["seconds"], seen[0][1]["seed"]) == (1, 7)


async def test_an_extension_needs_a_video_and_no_words(server: Running) -> None:
    source = await generate(server)
    await made(server, source)

    reply = await server.post("/v1/videos/extensions", {"video": source, "seconds": 2})

    assert reply.json["id"].startswith("video_ext_")
    assert (await made(server, reply.json["id"]))["status"] == "completed"
    assert seen[-1] == (
        "video.extension",
        {"model": MODEL, "seconds": 2, "video": {"attachment": "video"}, "of": source},
    )


async def test_a_video_that_is_not_there_yet_cannot_be_edited(server: Running) -> None:
    source = await generate(server, "wait")

    reply = await server.post("/v1/videos/edits", {"prompt": "greyer", "video": source})

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "invalid_request", "video")


async def test_g8_another_tenants_video_file_and_link_are_unknown(server: Running, tmp_path: Path) -> None:
    """G8: in every way to name it, and in every dialect's reads."""
    mine = {"authorization": f"Bearer {await server.key('mine')}"}
    theirs = {"authorization": f"Bearer {await server.key('theirs')}"}
    source = (await server.post("/v1/videos/generations", {"prompt": "A cat"}, **theirs)).json["id"]
    link = (await made(server, source, **theirs))["data"][0]["url"]
    file_id = await upload(server, make_clip(tmp_path / "clip.mp4"), **theirs)

    for video in (source, {"id": source}, {"url": link}, {"file_id": file_id}):
        reply = await server.post("/v1/videos/edits", {"prompt": "greyer", "video": video}, **mine)
        assert (reply.status, reply.error["code"]) == (404, "not_found"), video
    for method, path in (
        ("GET", "/v1/videos/{}"),
        ("GET", "/v1/videos/{}/content"),
        ("POST", "/v1/videos/{}/cancel"),
        ("DELETE", "/v1/videos/{}"),
        ("GET", "/xai/v1/videos/{}"),
        ("POST", "/xai/v1/videos/{}/cancel"),
    ):
        foreign = await server.call(method, path.format(source), headers=mine)
        unknown = await server.call(method, path.format("video_gen_" + "0" * 32), headers=mine)
        assert foreign.status == unknown.status == 404, path
        assert foreign.body.replace(source.encode(), b"video_gen_" + b"0" * 32) == unknown.body
    assert (await server.get("/v1/videos", **mine)).json["data"] == []


async def test_a_key_that_may_only_write_sees_no_results(server: Running) -> None:
    """Of its own submit, repeated after the end, it sees where that stands and no more."""
    write = {"authorization": f"Bearer {await server.key('t', 'write')}", "idempotency_key": "k"}
    read = {"authorization": f"Bearer {await server.key('t', 'read')}"}
    body = {"model": MODEL, "prompt": "refuse"}
    for path in ("/v1/videos/generations", "/v1/videos"):
        write["idempotency_key"] = path
        video_id = (await server.post(path, body, **write)).json["id"]
        await made(server, video_id, **read)

        again = await server.post(path, body, prefer="wait=5, return=representation", **write)

        assert (again.json["id"], again.json["status"]) == (video_id, "failed")
        assert "I do not like it" not in again.body.decode()
        assert (await server.get(f"/v1/videos/{video_id}", **write)).status == 403


async def test_an_unknown_path_below_videos_is_not_passed_on(server: Running) -> None:
    body = {"model": "m", "prompt": "A cat"}
    paths = ("/v1/videos/sync", "/v1/videos/a/b/c", "/v1/videos/generations/now", "/v1/videos/characters")

    statuses = [(await server.post(path, body)).status for path in paths]

    assert all(status in (404, 405) for status in statuses), statuses
    assert server.upstream.requests == []

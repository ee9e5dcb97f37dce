"""Calls for videos that cannot be: each is a clear error that names what is wrong, and leaves nothing behind."""

from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.http.videos import MODEL, making_videos, post_form
from tests.media import make_clip, make_png
from tests.server import Json, Running

PICTURE = "data:text/html;base64," + b64encode(b"<html></html>").decode()


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path, media_max_bytes=1 << 20) as running:
        yield running


# The path below /v1, the members, and what the error names.
WRONG: list[tuple[str, Json, str | None]] = [
    ("/videos/generations", {}, "prompt"),
    ("/videos/generations", {"prompt": "  "}, "prompt"),
    ("/videos/generations", {"prompt": 5}, "prompt"),
    ("/videos/generations", {"prompt": "x" * 32_001}, "prompt"),
    ("/videos/generations", {"prompt": "x", "seconds": 0}, "seconds"),
    ("/videos/generations", {"prompt": "x", "duration": 601}, "seconds"),
    ("/videos/generations", {"prompt": "x", "seconds": "soon"}, "seconds"),
    ("/videos/generations", {"prompt": "x", "seconds": "nan"}, "seconds"),
    ("/videos/generations", {"prompt": "x", "seconds": "1_0"}, "seconds"),
    ("/videos/generations", {"prompt": "x", "seconds": " 1 "}, "seconds"),
    ("/videos/generations", {"prompt": "x", "duration": "\N{ARABIC-INDIC DIGIT FOUR}"}, "seconds"),
    ("/videos/generations", {"prompt": "x", "seconds": "-1"}, "seconds"),
    ("/videos/generations", {"prompt": "x", "size": "big"}, "size"),
    ("/videos/generations", {"prompt": "x", "size": "0064x0064"}, "size"),
    ("/videos/generations", {"prompt": "x", "size": "\N{ARABIC-INDIC DIGIT SIX}x64"}, "size"),
    ("/videos/generations", {"prompt": "x", "size": "0x0"}, "size"),
    ("/videos/generations", {"prompt": "x", "size": "99999x9999"}, "size"),
    ("/videos/generations", {"prompt": "x", "size": "640x480", "resolution": "480p"}, "size"),
    ("/videos/generations", {"prompt": "x", "aspect_ratio": "5:4"}, "aspect_ratio"),
    ("/videos/generations", {"prompt": "x", "resolution": "8k"}, "resolution"),
    ("/videos/generations", {"prompt": "x", "seed": "lucky"}, "seed"),
    ("/videos/generations", {"prompt": "x", "seed": 1 << 70}, "seed"),
    ("/videos/generations", {"prompt": "x", "model": ""}, "model"),
    ("/videos/generations", {"prompt": "x", "image": {}}, "image"),
    ("/videos/generations", {"prompt": "x", "image": {"url": "a", "file_id": "b"}}, "image"),
    ("/videos/generations", {"prompt": "x", "image": "ftp://example.com/a.png"}, "image"),
    ("/videos/generations", {"prompt": "x", "image": "file:///etc/passwd"}, "image"),
    ("/videos/generations", {"prompt": "x", "image": "http://" + "a" * 9000}, "image"),
    ("/videos/generations", {"prompt": "x", "image": "https://a.example/", "image_url": "https://b.example/"}, "image"),
    ("/videos/generations", {"prompt": "x", "metadata": {"a": 5}}, "metadata"),
    ("/videos/generations", {"prompt": "x", "webhook_url": "nowhere"}, "webhook_url"),
    ("/videos/generations", {"prompt": "x", "webhook_url": "http://10.0.0.1/"}, "webhook_url"),
    ("/videos/generations", {"prompt": "x", "webhook_events": ["done"]}, "webhook_events"),
    ("/videos/generations", {"prompt": "x", "webhook_events": "completed"}, "webhook_events"),
    ("/videos/generations", {"prompt": "x", "include_result": "perhaps"}, "include_result"),
    ("/videos", {"prompt": "x", "raincheck": {"include_result": "true"}}, "include_result"),
    ("/videos/generations", {"prompt": "x", "raincheck": {"dedline": 5}}, "raincheck"),
    ("/videos/edits", {"prompt": "x"}, "video"),
    ("/videos/edits", {"video": "https://example.com/a.mp4"}, "prompt"),
    ("/videos/extensions", {"prompt": "x"}, "video"),
    ("/videos", {}, "prompt"),
]


@pytest.mark.parametrize(("path", "members", "param"), WRONG, ids=[f"{path} {str(m)[:40]}" for path, m, _ in WRONG])
async def test_what_makes_no_sense_is_refused_with_the_members_name(
    server: Running, path: str, members: Json, param: str | None
) -> None:
    reply = await server.post(f"/v1{path}", {"model": MODEL, **members})

    code = "webhook_refused" if param == "webhook_url" else "invalid_request"
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)


async def test_a_model_that_makes_no_videos_is_unknown_here(server: Running) -> None:
    reply = await server.post("/v1/videos/generations", {"model": "m", "prompt": "x"})

    assert (reply.status, reply.error["code"], MODEL in reply.error["message"]) == (404, "model_not_found", True)


@pytest.mark.parametrize("video", ["video_gen_nope", {"id": "video_nope"}, {"file_id": "file-nope"}, "file_nope"])
async def test_an_unknown_input_is_not_found(server: Running, video: object) -> None:
    reply = await server.post("/v1/videos/edits", {"prompt": "x", "video": video})

    assert (reply.status, reply.error["code"]) == (404, "not_found")


async def test_a_page_that_says_it_is_a_picture_is_refused(server: Running) -> None:
    reply = await server.post("/v1/videos/generations", {"prompt": "x", "image": {"url": PICTURE}})

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "media_refused", "image")


async def test_a_picture_among_others_is_named_by_its_place(server: Running, tmp_path: Path) -> None:
    good = {"url": "data:image/png;base64," + b64encode(make_png(tmp_path / "a.png").read_bytes()).decode()}

    reply = await server.post("/v1/videos/generations", {"prompt": "x", "reference_images": [good, {"url": PICTURE}]})

    assert (reply.status, reply.error["param"]) == (400, "reference_images[1]")


async def test_a_video_is_no_first_frame_and_a_picture_is_no_video(server: Running, tmp_path: Path) -> None:
    clip = "data:video/mp4;base64," + b64encode(make_clip(tmp_path / "a.mp4").read_bytes()).decode()

    reply = await server.post("/v1/videos/generations", {"prompt": "x", "image": clip})

    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, "media_refused", "image")


async def test_a_file_that_is_no_input_and_one_that_is_too_large_are_refused(server: Running) -> None:
    named = await post_form(server, "/v1/videos", {"prompt": "x"}, song=("a.mp3", b"ID3", "audio/mpeg"))
    empty = await post_form(server, "/v1/videos", {"prompt": "x"}, input_reference=("a.png", b"", "image/png"))
    large = b"\x89PNG\r\n\x1a\n" + bytes(1 << 20)
    huge = await post_form(server, "/v1/videos", {"prompt": "x"}, input_reference=("a.png", large, "image/png"))

    assert (named.status, named.error["param"]) == (400, "song")
    assert (empty.status, empty.error["code"], empty.error["param"]) == (400, "media_refused", "input_reference")
    assert "a.png" in empty.error["message"]
    assert (huge.status, huge.error["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("path", ["/v1/videos", "/v1/videos/generations", "/xai/v1/videos/generations"])
async def test_where_no_file_could_be_kept_no_video_is_begun(tmp_path: Path, path: str) -> None:
    """Its maker might be paid for it."""
    async with making_videos(tmp_path, blobs_url=None) as server:
        reply = await server.post(path, {"model": MODEL, "prompt": "A cat"})
        listed = (await server.get("/v1/requests")).json["data"]

    assert (reply.status, listed) == (501, [])
    assert "store.blobs" in reply.body.decode()


async def test_what_came_with_a_refused_call_is_collected(server: Running, tmp_path: Path) -> None:
    """Its bytes were in the object store before anyone knew that nothing would come of them."""
    clip = make_clip(tmp_path / "a.mp4").read_bytes()

    reply = await post_form(server, "/v1/videos/edits", {"model": MODEL}, video=("a.mp4", clip, "video/mp4"))

    assert (reply.status, reply.error["param"]) == (400, "prompt")
    assert len(await server.edge.store.blobs.doomed(limit=10)) == 1 or not list((tmp_path / "blobs").rglob("blob_*"))


@pytest.mark.parametrize(
    "fields",
    [{"video[id]": "a", "video[id]": "b", "video": "c"}, {"a[b][c][d][e]": "x"}, {"[": "x"}],  # noqa: F601
)
async def test_a_form_whose_names_make_no_sense_is_refused(server: Running, fields: dict[str, str]) -> None:
    reply = await post_form(server, "/v1/videos/edits", {"prompt": "x", **fields})

    assert reply.status == 400


async def test_neither_json_nor_a_form_is_a_415(server: Running) -> None:
    reply = await server.post("/v1/videos", b"prompt=x", content_type="application/x-www-form-urlencoded")

    assert (reply.status, reply.error["code"]) == (415, "unsupported_media_type")


async def test_xai_tells_it_flatly(server: Running) -> None:
    reply = await server.post("/xai/v1/videos/generations", {"model": MODEL})

    assert reply.status == 400
    assert set(reply.json) == {"code", "error"}
    assert "prompt" in reply.json["error"]

"""Lines of batches that ask for videos, in both dialects."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raincheck.core.settings import UpstreamSettings
from tests.http.batches import a_line, an_item, batching, created, ended, lines_of
from tests.http.videos import MODEL, making_videos
from tests.http.webhooks import FAR
from tests.server import Json, Running

pytestmark = pytest.mark.slow("each makes videos with ffmpeg")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


async def test_a_file_of_videos_comes_to_openai_s_objects_that_are_read_at_their_own_routes(server: Running) -> None:
    lines = [a_line(f"{n}", url="/v1/videos", body={"model": MODEL, "prompt": "waves"}) for n in range(2)]
    batch = await ended(server, (await created(server, lines, endpoint="/v1/videos"))["id"])

    told = await lines_of(server, batch["output_file_id"])
    assert [line["custom_id"] for line in told] == ["0", "1"], batch
    for line in told:
        body = line["response"]["body"]
        assert (body["object"], body["status"], body["progress"]) == ("video", "completed", 100)
        assert (await server.get(f"/v1/videos/{body['id']}")).json == body
        assert (await server.get(f"/v1/videos/{body['id']}/content")).body[4:8] == b"ftyp"
    [one, _] = (await server.get(f"/v1/batches/{batch['id']}/results")).json["data"]
    assert one["response"]["body"]["object"] == "video"


async def test_of_a_line_nobody_is_told_but_by_its_batch(server: Running) -> None:
    asked = {"model": MODEL, "prompt": "waves", "webhook_url": FAR, "include_result": True}
    batch = await created(server, [a_line("a", url="/v1/videos", body=asked)], endpoint="/v1/videos")
    [line] = await lines_of(server, (await ended(server, batch["id"]))["output_file_id"])

    request = (await server.get(f"/v1/requests/{line['response']['body']['id']}")).json
    assert (request["webhook_url"], request["include_result"]) == (None, False)
    assert (await server.get("/v1/webhook_deliveries")).json["data"] == []


async def test_a_line_that_asks_for_no_possible_video_is_told(server: Running) -> None:
    lines = [a_line("a", url="/v1/videos", body={"model": MODEL, "prompt": "waves", "seconds": "-1"})]
    batch = await ended(server, (await created(server, lines, endpoint="/v1/videos"))["id"])

    assert batch["status"] == "failed"
    [told] = batch["errors"]["data"]
    assert (told["line"], told["param"]) == (1, "body.seconds")


async def test_the_renderer_makes_changes_and_continues_in_an_xai_batch(tmp_path: Path) -> None:
    preview = UpstreamSettings(name="preview", kind="preview", max_concurrency=1)
    scratch = str(tmp_path / "scratch")
    async with batching(tmp_path, beside=(preview,), scratch=scratch) as server:
        batch_id = (await server.post("/xai/v1/batches", {"name": "films"})).json["batch_id"]
        asked = {"model": "preview", "prompt": "Sunset over the sea", "seconds": 1, "size": "160x90"}
        made = await video_of(server, batch_id, an_item("made", kind="video_generation", body=asked))
        given = {"model": "preview", "prompt": "make it black and white", "video": {"url": made["video"]["url"]}}
        edited = await video_of(server, batch_id, an_item("edited", kind="video_edit", body=given))
        longer = await video_of(
            server, batch_id, an_item("longer", kind="video_extension", body=given | {"duration": 1})
        )

        assert [each["video"]["duration"] for each in (made, edited, longer)] == [1, 1, 2]
        for each in (made, edited, longer):
            path = each["video"]["url"].removeprefix(server.url)
            assert (await server.get(path)).body[4:8] == b"ftyp"


async def video_of(server: Running, batch_id: str, item: Json) -> Json:
    """What becomes of a request that is added to a batch."""
    added = await server.post(f"/xai/v1/batches/{batch_id}/requests", {"batch_requests": [item]})
    assert added.status == 200, added.body
    async with asyncio.timeout(60):
        while True:
            page = (await server.get(f"/xai/v1/batches/{batch_id}/results")).json
            for each in page["results"]:
                if each["batch_request_id"] == item["batch_request_id"]:
                    video = each["batch_result"]["response"]["video_response"]
                    assert video["status"] == "done", video
                    return video
            await asyncio.sleep(0.05)


async def test_videos_are_added_in_xai_s_words_and_found_by_their_links(server: Running) -> None:
    batch_id = (await server.post("/xai/v1/batches", {"name": "films"})).json["batch_id"]
    item = an_item("a", kind="video_generation", body={"model": MODEL, "prompt": "waves"})
    added = await server.post(f"/xai/v1/batches/{batch_id}/requests", {"batch_requests": [item]})
    assert added.status == 200, added.body

    results: list[dict[str, dict[str, dict[str, dict[str, dict[str, str]]]]]] = []
    while not results:
        results = (await server.get(f"/xai/v1/batches/{batch_id}/results")).json["results"]
    video = results[0]["batch_result"]["response"]["video_response"]
    assert video["status"] == "done"
    path = video["video"]["url"].removeprefix(server.url)
    assert (await server.get(path)).body[4:8] == b"ftyp"

"""The embedded renderer behind all three dialects: each makes, changes and continues a real clip."""

from pathlib import Path

import pytest

from raincheck.core.settings import UpstreamSettings
from tests.http.videos import made
from tests.server import running_server

pytestmark = pytest.mark.slow("renders clips in child processes")


async def test_a_clip_is_made_edited_extended_and_remixed_across_dialects(tmp_path: Path) -> None:
    preview = UpstreamSettings(name="preview", kind="preview", max_concurrency=1)
    scratch = str(tmp_path / "scratch")
    async with running_server(
        tmp_path, beside=(preview,), blobs_url=(tmp_path / "blobs").as_uri(), scratch=scratch
    ) as server:
        asked = {"model": "preview", "prompt": "Sunset over the sea", "seconds": 1, "size": "160x90", "seed": 3}
        native = (await server.post("/v1/videos/generations", asked)).json["id"]
        first = await made(server, native)
        assert first["status"] == "completed", first["error"]
        source = {"url": first["data"][0]["url"]}

        edit = {"model": "preview", "prompt": "make it black and white", "video": source}
        edited = await server.post("/xai/v1/videos/edits", edit)
        extended = await server.post("/v1/videos/extensions", {"prompt": "on", "seconds": "1", "video": {"id": native}})
        remixed = await server.post(f"/v1/videos/{native}/remix", {"prompt": "Sunrise over a town"})

        grey = await made(server, edited.json["request_id"])
        longer = await made(server, extended.json["id"])
        remix = await made(server, remixed.json["id"])

    assert (first["status"], first["size"], first["data"][0]["duration"]) == ("completed", "160x90", pytest.approx(1.0))
    assert first["seed"] == 3
    assert (grey["status"], grey["video"]["duration"]) == ("done", 1)
    assert (longer["status"], float(longer["seconds"])) == ("completed", pytest.approx(2.0, abs=0.1))
    assert (remix["status"], remix["size"], remix["remixed_from_video_id"]) == ("completed", "160x90", native)


async def test_the_renderer_answers_to_the_name_it_is_given(tmp_path: Path) -> None:
    preview = UpstreamSettings(name="preview", kind="preview", models=("preview", "sora-2"), max_concurrency=1)
    scratch = str(tmp_path / "scratch")
    async with running_server(
        tmp_path, beside=(preview,), blobs_url=(tmp_path / "blobs").as_uri(), scratch=scratch
    ) as server:
        asked = {"model": "sora-2", "prompt": "Sunset", "seconds": 1, "size": "160x90"}
        video = await made(server, (await server.post("/v1/videos/generations", asked)).json["id"])
    assert (video["status"], video["model"]) == ("completed", "sora-2")

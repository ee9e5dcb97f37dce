"""`raincheck videos` and `raincheck download`: from words on the command line to a file on the disk."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from raincheck.upstream.media.sniff import kind_of
from tests.cli.desk import run_at
from tests.http.videos import gate, making_videos, seen
from tests.media import make_clip, make_png
from tests.server import Running

pytestmark = pytest.mark.slow("each makes a video with ffmpeg")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


async def test_a_video_is_saved_where_output_says(server: Running, tmp_path: Path) -> None:
    target = tmp_path / "rocket.mp4"
    options = ["--seconds", "2", "--aspect-ratio", "9:16", "--resolution", "720p", "--seed", "7", "--tier", "flex"]
    ended = await run_at(server, "videos", "generate", "A rocket", "-o", str(target), *options)
    assert (ended.code, ended.lines) == (0, [str(target)])
    assert ended.stderr.startswith("video_gen_")
    assert kind_of(target.read_bytes()) == "video/mp4"
    asked = {"model": "clips", "prompt": "A rocket", "seconds": 2, "aspect_ratio": "9:16", "resolution": "720p"}
    assert seen[-1] == ("video.generation", asked | {"seed": 7})


async def test_without_output_the_id_is_printed_and_download_fetches_the_files(server: Running, tmp_path: Path) -> None:
    [video_id] = (await run_at(server, "videos", "generate", "A rocket")).lines
    await run_at(server, "wait", video_id)
    ended = await run_at(server, "download", video_id, "-o", str(tmp_path))
    names = ["video.mp4", "thumbnail.webp", "spritesheet.webp"]
    assert (ended.code, ended.lines) == (0, [str(tmp_path / name) for name in names])
    one = await run_at(server, "download", video_id, "video.mp4", "-o", str(tmp_path / "clip.mp4"))
    assert (one.code, (tmp_path / "clip.mp4").exists()) == (0, True)


async def test_a_file_is_edited_and_extended(server: Running, tmp_path: Path) -> None:
    clip, picture = make_clip(tmp_path / "clip.mp4"), make_png(tmp_path / "a.png")
    edited = await run_at(server, "videos", "edit", str(clip), "reverse", "--wait", "--json")
    assert (edited.code, edited.json["status"]) == (0, "completed")
    longer = await run_at(server, "videos", "extend", edited.json["id"], "Stars", "--seconds", "3", "--wait")
    assert longer.lines[0].startswith(f"{server.url}/media/")
    moved = await run_at(server, "videos", "generate", "Go", "--image", str(picture), "--wait")
    assert moved.code == 0
    assert [operation for operation, _ in seen] == ["video.edit", "video.extension", "video.generation"]


async def test_what_cannot_be_is_told_with_the_right_exit_code(server: Running, tmp_path: Path) -> None:
    no_folder = await run_at(server, "videos", "generate", "A", "-o", str(tmp_path / "no" / "a.mp4"))
    assert (no_folder.code, "there is no folder" in no_folder.stderr) == (2, True)
    no_input = await run_at(server, "videos", "edit", "nothing.mp4", "reverse")
    assert (no_input.code, "neither a URL nor an id" in no_input.stderr) == (2, True)
    refused = await run_at(server, "videos", "generate", "refuse", "--wait")
    assert (refused.code, "I do not like it" in refused.stderr) == (1, True)
    late = await run_at(server, "videos", "generate", "wait", "--wait", "--timeout", "300ms")
    assert (late.code, "raincheck wait" in late.stderr) == (4, True)
    gate.open.set()
    [chat] = (await run_at(server, "submit", "Hello?", "-m", "m")).lines
    await run_at(server, "wait", chat)
    none = await run_at(server, "download", chat)
    assert (none.code, "has no files" in none.stderr) == (1, True)

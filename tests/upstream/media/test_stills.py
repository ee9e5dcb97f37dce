"""Thumbnails and sheets."""

from pathlib import Path

import pytest

from raincheck.upstream.media.check import check
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.media.stills import stills
from tests.media import ffmpeg, make_clip


async def size_of(path: Path) -> tuple[int, int]:
    found = (await check(path, MediaLimits())).facts
    assert found is not None
    return found.width, found.height


async def test_a_video_has_a_thumbnail_and_a_sheet(tmp_path: Path) -> None:
    made = await stills(make_clip(tmp_path / "c.mp4", seconds=1, size=(854, 480)), tmp_path)
    assert [(still.name, still.content_type) for still in made] == [
        ("thumbnail.webp", "image/webp"),
        ("spritesheet.webp", "image/webp"),
    ]
    assert await size_of(made[0].path) == (512, 288)
    assert await size_of(made[1].path) == (800, 450)


async def test_a_small_clip_is_not_made_larger(tmp_path: Path) -> None:
    made = await stills(make_clip(tmp_path / "c.webm", seconds=1, size=(64, 48)), tmp_path)
    assert await size_of(made[0].path) == (64, 48)
    assert await size_of(made[1].path) == (320, 240)


async def test_a_single_frame_is_enough(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mp4", seconds=0.1, fps=10)
    assert len(await stills(clip, tmp_path)) == 2


async def test_a_sheet_spans_the_whole_video(tmp_path: Path) -> None:
    """Of 40 frames that are red and then blue, 25 are shown: so the last cells must be blue."""
    from PIL import Image

    halves = [word for colour in ("red", "blue") for word in ("-f", "lavfi", "-i", f"color={colour}:s=64x48:r=10:d=2")]
    ffmpeg(*halves, "-filter_complex", "[0:v][1:v]concat=n=2:v=1[v]", "-map", "[v]", tmp_path / "c.mp4")
    made = await stills(tmp_path / "c.mp4", tmp_path)
    with Image.open(made[1].path) as sheet:
        width, height = sheet.size
        cells = [
            sheet.convert("RGB").getpixel((width * (2 * column + 1) // 10, height * (2 * row + 1) // 10))
            for row in range(5)
            for column in range(5)
        ]
    blues = [isinstance(cell, tuple) and cell[2] > cell[0] for cell in cells]
    assert blues == sorted(blues)
    assert blues.count(True) in (12, 13)


@pytest.mark.slow("encodes one frame of 8192x4608")
async def test_frames_that_nobody_may_show_are_not_unpacked(tmp_path: Path) -> None:
    """G12."""
    clip = make_clip(tmp_path / "c.mp4", size=(8192, 4608), fps=1, colour="black")
    assert await stills(clip, tmp_path) == ()


@pytest.mark.parametrize("content", [b"", b"no video at all", b"\x00\x00\x00\x20ftypisom" + bytes(500)])
async def test_what_is_no_video_gives_none_and_no_error(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(content)
    assert await stills(tmp_path / "c.mp4", tmp_path) == ()


async def test_without_ffmpeg_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "c.mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    assert await stills(clip, tmp_path) == ()

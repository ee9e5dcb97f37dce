"""Checking what strangers gave."""

import tracemalloc
from pathlib import Path

import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import MediaRefused
from raincheck.upstream.media.check import check
from raincheck.upstream.media.limits import MediaLimits, show_size
from tests.media import ffmpeg, make_clip, make_picture, make_png, make_png_bomb, make_sound


async def refused(path: Path, limits: MediaLimits | None = None) -> str:
    with pytest.raises(MediaRefused) as caught:
        await check(path, limits or MediaLimits())
    return caught.value.message


async def test_a_clip_passes_with_its_measures(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.bin.mp4")
    checked = await check(clip, MediaLimits())
    assert checked.content_type == "video/mp4"
    assert checked.size == clip.stat().st_size
    assert checked.facts is not None
    assert checked.facts.frames == 12


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".gif"])
async def test_a_picture_passes_with_its_size(suffix: str, tmp_path: Path) -> None:
    checked = await check(make_picture(tmp_path / f"p{suffix}"), MediaLimits())
    assert checked.content_type.startswith("image/")
    assert checked.facts is not None
    assert (checked.facts.width, checked.facts.height, checked.facts.seconds) == (64, 48, 0)


async def test_a_sound_passes(tmp_path: Path) -> None:
    checked = await check(make_sound(tmp_path / "s.mp3"), MediaLimits())
    assert (checked.content_type, checked.facts) == ("audio/mpeg", None)


async def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").touch()
    assert await refused(tmp_path / "c.mp4") == "The file is empty."


async def test_a_file_above_the_limit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    with (tmp_path / "c.mp4").open("wb") as file:
        file.truncate(3 << 30)
    said = await refused(tmp_path / "c.mp4")
    assert said == "The file has 3 GiB; 512 MiB are allowed."


@pytest.mark.parametrize("content", [b"#EXTM3U\nhttp://127.0.0.1/\n", b"PK\x03\x04zip", b"<html>", b"hello"])
async def test_what_is_no_media_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(content)
    assert "no picture, video or sound" in await refused(tmp_path / "c.mp4")


async def test_a_bomb_of_a_picture_is_refused_without_unpacking_it(tmp_path: Path) -> None:
    """G12: a third of a megabyte that would unpack to gigabytes costs no memory."""
    bomb = make_png_bomb(tmp_path / "b.png")
    tracemalloc.start()
    said = await refused(bomb)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said == "The picture is 50000x50000, which is 2,500,000,000 pixels; 16,777,216 are allowed."
    assert most < 1 << 20


async def test_a_picture_of_just_the_limit_passes(tmp_path: Path) -> None:
    picture = make_png(tmp_path / "p.png", size=(40, 30))
    assert (await check(picture, MediaLimits(max_pixels=1200))).size
    assert "1,200 pixels; 1,199 are allowed" in await refused(picture, MediaLimits(max_pixels=1199))


async def test_a_video_of_absurd_frames_is_refused_with_the_limit(tmp_path: Path) -> None:
    ffmpeg("-i", make_png_bomb(tmp_path / "b.png", size=(16_000, 16_000)), "-c", "copy", tmp_path / "b.mov")
    said = await refused(tmp_path / "b.mov")
    assert said == "The video is 16000x16000, which is 256,000,000 pixels; 16,777,216 are allowed."


async def test_a_video_that_plays_too_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    said = await refused(make_clip(tmp_path / "c.mp4"), MediaLimits(max_duration=SECOND // 2))
    assert said == "The video plays longer than the 0.5s that are allowed."


@pytest.mark.parametrize("seconds", [0.1, 2])
async def test_a_video_of_absurdly_many_frames_is_refused_with_both_numbers(seconds: float, tmp_path: Path) -> None:
    """Each costs time and disk in whoever looks at it, while a file of ten kilobytes holds thousands."""
    clip = make_clip(tmp_path / "slow.mp4", seconds=75, size=(16, 16), colour="black")
    ffmpeg(
        "-itsscale", f"{seconds / 75}", "-i", clip, "-c", "copy", "-video_track_timescale", "90000", tmp_path / "f.mp4"
    )
    said = await refused(tmp_path / "f.mp4")
    assert said.startswith("The video has 900 frames in ")
    assert said.endswith(" seconds; 300 a second are allowed.")


async def test_few_frames_may_be_shown_for_next_to_no_time(tmp_path: Path) -> None:
    ffmpeg("-itsscale", "0.001", "-i", make_clip(tmp_path / "c.mp4"), "-c", "copy", tmp_path / "short.mkv")
    assert (await check(tmp_path / "short.mkv", MediaLimits())).size


async def test_a_slow_motion_clip_passes(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mp4", seconds=1.5, size=(16, 16), fps=240)
    assert (await check(clip, MediaLimits())).size


async def test_a_truncated_video_is_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mp4")
    clip.write_bytes(clip.read_bytes()[:-100])
    assert "not whole" in await refused(clip)


async def test_without_ffmpeg_a_video_passes_unmeasured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "c.mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    checked = await check(clip, MediaLimits())
    assert (checked.content_type, checked.facts) == ("video/mp4", None)


@pytest.mark.parametrize(
    ("size", "text"), [(1, "1 bytes"), (1536, "1.5 KiB"), (512 << 20, "512 MiB"), (10 << 30, "10 GiB")]
)
def test_sizes_are_shown_for_people(size: int, text: str) -> None:
    assert show_size(size) == text

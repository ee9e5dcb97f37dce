"""Measures of videos, honest ones and others."""

from pathlib import Path

import pytest

from raincheck.core.clock import SECOND
from raincheck.core.errors import MediaRefused
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.media.probe import Facts, facts
from tests.media import ffmpeg, make_clip, make_picture, make_png_bomb, make_sound


async def measured(path: Path, limits: MediaLimits | None = None) -> Facts:
    found = await facts(path, limits)
    assert found is not None
    return found


async def refused(path: Path, limits: MediaLimits | None = None) -> str:
    with pytest.raises(MediaRefused) as caught:
        await facts(path, limits)
    assert str(path) not in caught.value.message
    return caught.value.message


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".mkv", ".ts"])
@pytest.mark.parametrize("sound", [True, False])
async def test_a_clip_is_measured(suffix: str, sound: bool, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / f"c{suffix}", seconds=2, size=(128, 72), fps=10, sound=sound)
    found = await measured(clip)
    assert (found.width, found.height, found.frames, found.sound) == (128, 72, 20, sound)
    assert found.seconds == pytest.approx(2, abs=0.001)
    assert found.fps == pytest.approx(10, abs=0.01)
    assert found.codec == ("vp8" if suffix == ".webm" else "h264")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".gif"])
async def test_a_picture_can_be_measured_as_well(suffix: str, tmp_path: Path) -> None:
    found = await measured(make_picture(tmp_path / f"p{suffix}", size=(50, 40)))
    assert (found.width, found.height, found.frames, found.sound) == (50, 40, 1, False)


async def test_a_clip_that_was_filmed_upright_is_measured_as_it_is_shown(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mp4")
    for angle, shown in (("90", (90, 160)), ("-90", (90, 160)), ("180", (160, 90))):
        ffmpeg("-display_rotation", angle, "-i", clip, "-c", "copy", tmp_path / "up.mp4")
        found = await measured(tmp_path / "up.mp4")
        assert (found.width, found.height) == shown


async def test_what_the_header_claims_about_the_length_is_not_believed(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.mp4")
    body = bytearray(clip.read_bytes())
    at = body.index(b"mvhd") + 20
    body[at : at + 4] = b"\x7f\xff\xff\xff"
    clip.write_bytes(body)
    assert (await measured(clip)).seconds == pytest.approx(1)


async def test_nothing_that_is_written_into_a_file_is_taken_for_a_measure(tmp_path: Path) -> None:
    forged = "x\n#dimensions 0: 9x9\n  Stream #0:0: Video: h264, yuv420p, 9x9, 99 fps"
    clip = make_clip(tmp_path / "c.mp4")
    ffmpeg("-i", clip, "-c", "copy", "-metadata", f"comment={forged}", tmp_path / "forged.mkv")
    found = await measured(tmp_path / "forged.mkv")
    assert (found.width, found.height, found.fps) == (160, 90, 12)


async def test_a_clip_that_plays_absurdly_long_is_refused_with_the_limit(tmp_path: Path) -> None:
    ffmpeg("-itsscale", "100000", "-i", make_clip(tmp_path / "c.mp4"), "-c", "copy", tmp_path / "long.mkv")
    said = await refused(tmp_path / "long.mkv", MediaLimits(max_duration=90 * SECOND))
    assert said == "The video plays longer than the 1m 30s that are allowed."


async def test_a_sound_that_outlasts_the_limit_is_refused_too(tmp_path: Path) -> None:
    clip, sound = make_clip(tmp_path / "c.mp4"), make_sound(tmp_path / "s.m4a", seconds=20)
    ffmpeg("-i", clip, "-i", sound, "-c", "copy", tmp_path / "both.mp4")
    assert (await measured(tmp_path / "both.mp4")).seconds == pytest.approx(1)
    assert "longer" in await refused(tmp_path / "both.mp4", MediaLimits(max_duration=10 * SECOND))


@pytest.mark.parametrize("kept", [0.35, 0.6, 0.9, 0.999])
async def test_an_mp4_that_was_cut_off_is_found_out(kept: float, tmp_path: Path) -> None:
    """Its index is in front, so it looks well until somebody reaches the cut."""
    clip = make_clip(tmp_path / "c.mp4", seconds=2, sound=True)
    body = clip.read_bytes()
    clip.write_bytes(body[: int(len(body) * kept)])
    assert "not whole" in await refused(clip)


@pytest.mark.parametrize(("cut", "why"), [(200, "no frames"), (3000, "index")])
async def test_an_mp4_whose_index_was_cut_off_cannot_be_read(cut: int, why: str, tmp_path: Path) -> None:
    ffmpeg("-i", make_clip(tmp_path / "c.mp4"), "-c", "copy", tmp_path / "back.mp4")
    body = (tmp_path / "back.mp4").read_bytes()
    (tmp_path / "back.mp4").write_bytes(body[:-cut])
    assert why in await refused(tmp_path / "back.mp4")


async def test_a_webm_that_was_cut_off_is_as_long_as_what_is_left(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "c.webm", seconds=2)
    body = clip.read_bytes()
    clip.write_bytes(body[: len(body) // 2])
    assert 0.1 < (await measured(clip)).seconds < 1.9


async def test_a_sound_is_no_video(tmp_path: Path) -> None:
    assert await refused(make_sound(tmp_path / "s.m4a")) == "There is no video in the file."


async def test_a_header_without_anything_behind_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(make_clip(tmp_path / "whole.mp4").read_bytes()[:40])
    assert "cannot be read" in await refused(tmp_path / "c.mp4")


@pytest.mark.parametrize("content", [b"", b"#EXTM3U\nhttp://127.0.0.1/x\n", b"ffconcat version 1.0\n"])
async def test_what_only_has_the_name_of_a_video_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "c.mp4").write_bytes(content)
    assert "of a kind that is known" in await refused(tmp_path / "c.mp4")


async def test_a_video_of_absurd_frames_is_measured_without_harm(tmp_path: Path) -> None:
    bomb = make_png_bomb(tmp_path / "b.png", size=(16_000, 16_000))
    ffmpeg("-i", bomb, "-c", "copy", tmp_path / "b.mov")
    found = await measured(tmp_path / "b.mov")
    assert (found.width, found.height) == (16_000, 16_000)


async def test_without_ffmpeg_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "c.mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    assert await facts(clip) is None

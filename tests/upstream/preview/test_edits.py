"""Edits: real clips through real ffmpeg, looked at afterwards."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from raincheck.core.outcome import FailureKind
from raincheck.core.videos import VideoAsk
from raincheck.upstream.preview import orders
from raincheck.upstream.preview.editing.edits import Boomerang, Loop, Speed
from raincheck.upstream.preview.editing.grammar import GRAMMAR, parse
from raincheck.upstream.preview.editing.reel import CannotCut, Reel
from raincheck.upstream.preview.job import Cut, Done
from raincheck.upstream.preview.make import make
from tests.media import make_clip, make_sound
from tests.upstream.preview.works import apart, decoded, measured, refused, video_work

SIZE = (160, 96)


async def edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, clip: Path, **ask: Any) -> Path:
    """The edit as the child process does it, in this one: what starting a process costs is paid in other tests."""
    folder = tmp_path / "bench"
    work = video_work(folder, "video.edit", prompt=prompt, video=clip, **ask)
    given = await orders.order(work, msgspec.json.decode(work.payload, type=VideoAsk))
    monkeypatch.chdir(folder)
    assert isinstance(given.job, Cut)
    assert make(given.job, lambda _: None) == Done(given.job.frames, 0)
    found = await measured(folder / given.job.to)
    assert (found.width, found.height) == (given.width, given.height)
    assert abs(found.frames - given.job.frames) <= 1
    return folder / given.job.to


def a_clip(tmp_path: Path, *, sound: bool = False, seconds: float = 1.0, size: tuple[int, int] = SIZE) -> Path:
    return make_clip(tmp_path / "clip.mp4", seconds=seconds, size=size, fps=12, sound=sound)


@pytest.mark.slow("runs ffmpeg once for each kind of instruction")
@pytest.mark.parametrize("group", GRAMMAR)
async def test_every_instruction_gives_a_video_that_differs(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = a_clip(tmp_path, sound=True, seconds=2.5, size=(96, 64))
    for rule in GRAMMAR[group]:
        result = await edited(tmp_path, monkeypatch, rule.says, clip)
        found = await measured(result)
        if rule.says == "mute":
            assert not found.sound
            continue
        assert found.sound
        before, after = decoded(clip, (96, 64)), decoded(result, (found.width, found.height))
        assert before.shape != after.shape or apart(before, after) > 0.3, rule.says


@pytest.mark.slow("runs ffmpeg")
@pytest.mark.parametrize(
    ("prompt", "frames"),
    [
        ("faster 3x", 8),
        ("slow motion", 48),
        ("slower 3x", 72),
        ("loop 3 times", 72),
        ("boomerang", 48),
        ("trim to the first 0.5 seconds", 6),
        ("remove the last 0.5 seconds", 18),
        ("trim to the last 1 second, then loop 2 times, then double speed, then boomerang", 24),
    ],
)
async def test_the_length_is_right_to_the_frame(
    prompt: str, frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = a_clip(tmp_path, sound=True, seconds=2.0)
    found = await measured(await edited(tmp_path, monkeypatch, prompt, clip))
    assert abs(found.frames - frames) <= 1
    assert found.seconds == pytest.approx(frames / 12, abs=1 / 12)
    assert found.sound


@pytest.mark.slow("runs ffmpeg")
async def test_reverse_plays_the_last_frame_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = a_clip(tmp_path)
    before = decoded(clip, SIZE)
    after = decoded(await edited(tmp_path, monkeypatch, "reverse", clip), SIZE)
    assert len(after) == len(before)
    assert apart(after[0], before[-1]) < 6 < apart(after[0], before[0])


@pytest.mark.slow("runs ffmpeg")
async def test_a_boomerang_comes_back_to_where_it_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = decoded(await edited(tmp_path, monkeypatch, "boomerang", a_clip(tmp_path)), SIZE)
    assert apart(after[0], after[-1]) < 6
    assert apart(after[11], after[12]) < 6


@pytest.mark.slow("runs ffmpeg")
async def test_black_and_white_has_no_colours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = decoded(await edited(tmp_path, monkeypatch, "black and white", a_clip(tmp_path)), SIZE).astype(int)
    assert np.abs(after[..., 0] - after[..., 2]).max() <= 4


@pytest.mark.slow("runs ffmpeg")
async def test_warmer_is_redder_and_cooler_is_bluer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=SIZE, fps=12, colour="gray")
    warm = decoded(await edited(tmp_path, monkeypatch, "warmer", clip), SIZE).mean(axis=(0, 1, 2))
    cool = decoded(await edited(tmp_path, monkeypatch, "cooler", clip), SIZE).mean(axis=(0, 1, 2))
    assert warm[0] > warm[2] + 10
    assert cool[2] > cool[0] + 10


@pytest.mark.slow("runs ffmpeg")
async def test_a_caption_is_where_it_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=SIZE, fps=12, colour="black")
    prompt = """caption "It's 100%: [a];b,c=d\\'" at the top"""
    after = decoded(await edited(tmp_path, monkeypatch, prompt, clip), SIZE)
    assert after[3, :40].max() > 200
    assert after[3, 60:].max() < 60


@pytest.mark.slow("runs ffmpeg")
async def test_a_fade_begins_and_ends_in_black(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after = decoded(await edited(tmp_path, monkeypatch, "fade in and out", a_clip(tmp_path, seconds=2.5)), SIZE)
    assert after[0].mean() < 20 < 60 < after[15].mean()
    assert after[-1].mean() < 40


@pytest.mark.slow("runs ffmpeg")
async def test_odd_input_becomes_a_common_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("odd.webm", "odd.gif"):
        clip = make_clip(tmp_path / name, size=(97, 65), fps=10)
        found = await measured(await edited(tmp_path, monkeypatch, "mirror", clip))
        assert (found.width, found.height, found.codec) == (96, 64, "h264")
        assert abs(found.frames - 10) <= 1


@pytest.mark.slow("runs ffmpeg")
async def test_a_size_that_is_asked_for_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = await measured(await edited(tmp_path, monkeypatch, "crop to square", a_clip(tmp_path), size="128x72"))
    assert (found.width, found.height) == (128, 72)


async def test_an_edit_that_is_not_understood_is_refused_and_lists_what_is(tmp_path: Path) -> None:
    work = video_work(tmp_path / "bench", "video.edit", prompt="reverse and add a dragon", video=a_clip(tmp_path))
    failure = await refused(work)
    assert failure.kind is FailureKind.REJECTED
    assert (failure.error.code, failure.error.param) == ("edit_not_understood", "prompt")
    assert "“add a dragon”" in failure.error.message
    assert "black and white" in failure.error.message


@pytest.mark.slow("starts the child process")
async def test_a_caption_that_no_font_has_is_refused(tmp_path: Path) -> None:
    work = video_work(tmp_path / "bench", "video.edit", prompt='caption "🎬"', video=a_clip(tmp_path))
    failure = await refused(work)
    assert failure.kind is FailureKind.REJECTED
    assert failure.error.code == "caption_not_drawable"
    assert "🎬" in failure.error.message


@pytest.mark.parametrize(
    ("ask", "code", "param", "words"),
    [
        ({"prompt": "trim to the first 9 seconds"}, "preview_limit", "prompt", "plays 1.00 s"),
        ({"prompt": "faster 99x"}, "preview_limit", "prompt", "from 0.1× to 10×"),
        ({"prompt": "loop 20 times, loop 20 times, loop 20 times"}, "preview_limit", "prompt", "600 s"),
        ({"prompt": "mirror", "seconds": 3}, "invalid_request", "seconds", "trim"),
        ({"prompt": "mirror", "size": "9000x10"}, "preview_limit", "size", "1920x1080"),
        ({"prompt": "mirror", "size": "huge"}, "invalid_request", "size", "1280x720"),
    ],
)
async def test_what_cannot_be_done_is_refused_with_its_range(
    ask: dict[str, Any], code: str, param: str, words: str, tmp_path: Path
) -> None:
    failure = await refused(video_work(tmp_path / "bench", "video.edit", video=a_clip(tmp_path), **ask))
    assert failure.kind is FailureKind.REJECTED
    assert (failure.error.code, failure.error.param) == (code, param)
    assert words in failure.error.message


async def test_an_edit_of_nothing_of_a_sound_and_of_a_broken_file_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(a_clip(tmp_path).read_bytes()[:700])
    sound = make_sound(tmp_path / "sound.mp3").rename(tmp_path / "sound.mp4")
    asks: list[dict[str, Any]] = [{}, {"video": broken}, {"video": sound}]
    for ask in asks:
        failure = await refused(video_work(tmp_path / "bench", "video.edit", prompt="mirror", **ask))
        assert failure.kind is FailureKind.REJECTED
        assert failure.error.param == "video"


def test_what_keeps_every_frame_is_bounded_in_memory() -> None:
    reel = Reel(1920, 1080, fps=orders.Fraction(24), frames=24 * 60, sound=False, seed=1)
    with pytest.raises(CannotCut, match=r"1920x1080 it can take 7 s in all, not 60 s"):
        reel.cut(Boomerang())


def test_no_word_of_a_prompt_gets_into_the_graph() -> None:
    reel = Reel(160, 96, fps=orders.Fraction(24), frames=48, sound=True, seed=1)
    reel.begin()
    for edit in parse("""caption "movie=/etc/passwd[x];drawtext" and reverse, loop 3 times, slower 3x, fade out"""):
        reel.cut(edit)
    reel.end()
    assert "passwd" not in reel.graph
    assert reel.cues[0].text == "movie=/etc/passwd[x];drawtext"


def test_frames_are_counted_through_every_change_of_time() -> None:
    reel = Reel(160, 96, fps=orders.Fraction(12), frames=24, sound=False, seed=1)
    for edit, frames in ((Loop(3), 72), (Speed(2.0), 36), (Boomerang(), 72), (Speed(0.5), 144)):
        reel.cut(edit)
        assert reel.frames == frames

"""Extensions: our own clips go on seamlessly, strangers' from their last frame; the result is the whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raincheck.core.outcome import FailureKind
from raincheck.upstream.preview.editing.cutter import run
from raincheck.upstream.protocol import Work
from tests.media import make_clip
from tests.upstream.preview.works import SMALL, apart, decoded, made, measured, refused, video_work

SIZE = (160, 96)


def an_extension(tmp_path: Path, **ask: Any) -> Work:
    ask = {"prompt": "Then a storm", "seconds": 1, **ask}
    return video_work(tmp_path / "bench", "video.extension", **ask)


async def a_clip_of_ours(tmp_path: Path) -> Path:
    ask: dict[str, Any] = {"prompt": "A sunset over mountains", "size": SMALL, "seconds": 1, "seed": 7}
    video, _ = await made(video_work(tmp_path / "own", "video.generation", **ask))
    return video


@pytest.mark.slow("renders clips in child processes")
async def test_our_own_clip_goes_on_without_a_seam(tmp_path: Path) -> None:
    own = await a_clip_of_ours(tmp_path)
    before = decoded(own, SIZE)
    video, answer = await made(an_extension(tmp_path, video=own, seconds=1.5))

    assert (answer.seconds, answer.seed, answer.fps) == (2.5, 7, 24)
    after = decoded(video, SIZE)
    assert len(after) == 60
    assert np.array_equal(after[:24], before), "its own frames are not encoded again"
    steps = [apart(after[n], after[n + 1]) for n in range(20, 28)]
    seam = steps.pop(3)
    assert seam < 4 * max(steps) < apart(after[0], after[-1]), "no cut, only the step of a frame encoded by itself"


@pytest.mark.slow("renders clips in child processes")
async def test_an_extended_clip_can_be_extended_again(tmp_path: Path) -> None:
    own = await a_clip_of_ours(tmp_path)
    once, _ = await made(an_extension(tmp_path / "1", video=own))
    twice, answer = await made(an_extension(tmp_path / "2", video=once, prompt=""))
    assert answer.seconds == 3.0
    assert np.array_equal(decoded(twice, SIZE)[:48], decoded(once, SIZE))


@pytest.mark.slow("renders clips in child processes")
@pytest.mark.parametrize("sound", [True, False])
async def test_a_strangers_clip_goes_on_from_its_last_frame(sound: bool, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1, size=SIZE, fps=12, sound=sound)
    video, answer = await made(an_extension(tmp_path, video=clip, seconds=2))

    assert (answer.seconds, answer.fps, answer.width, answer.height) == (3.0, 12.0, *SIZE)
    found = await measured(video)
    assert abs(found.frames - 36) <= 1
    assert found.seconds == pytest.approx(3, abs=1 / 12)
    assert found.sound is sound
    before, after = decoded(clip, SIZE), decoded(video, SIZE)
    assert apart(after[11], before[11]) < 6
    assert apart(after[12], before[11]) < 12
    assert apart(after[-1], before[11]) > 12


@pytest.mark.slow("renders clips in child processes")
async def test_odd_rates_and_sizes_of_strangers_are_kept_where_they_are_sane(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.webm", seconds=1, size=(97, 65), fps=30)
    video, answer = await made(an_extension(tmp_path, video=clip))
    assert (answer.width, answer.height) == (96, 64)
    assert answer.fps == pytest.approx(30, abs=0.5)
    assert (await measured(video)).seconds == pytest.approx(2, abs=1 / 30)


@pytest.mark.slow("renders clips in child processes")
async def test_an_edited_clip_of_ours_is_a_strangers(tmp_path: Path) -> None:
    own = await a_clip_of_ours(tmp_path)
    edited, _ = await made(video_work(tmp_path / "edit", "video.edit", prompt="reverse", video=own))
    video, answer = await made(an_extension(tmp_path, video=edited, seed=3))
    assert answer.seed == 3
    assert (await measured(video)).frames == 48


@pytest.mark.slow("renders clips in child processes")
async def test_an_own_clip_that_was_encoded_anew_is_a_strangers(tmp_path: Path) -> None:
    own, gray = await a_clip_of_ours(tmp_path), tmp_path / "gray.mp4"
    run("-i", str(own), "-vf", "hue=s=0", "-map_metadata", "0", "-movflags", "use_metadata_tags", str(gray))
    video, answer = await made(an_extension(tmp_path, video=gray, seed=3))
    assert (answer.seed, answer.seconds) == (3, 2.0)
    after = decoded(video, SIZE)
    assert len(after) == 48
    assert apart(after[23], after[24]) < 4, "it dissolves, it does not jump into colour"


@pytest.mark.parametrize(
    ("ask", "code", "param", "words"),
    [
        ({"seconds": 31}, "preview_limit", "seconds", "from 1 to 30"),
        ({"size": "320x192"}, "invalid_request", "size", "160x96"),
        ({"resolution": "720p"}, "invalid_request", "resolution", "160x96"),
    ],
)
async def test_each_limit_is_refused_with_its_range(
    ask: dict[str, Any], code: str, param: str, words: str, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1, size=SIZE, fps=12)
    failure = await refused(an_extension(tmp_path, video=clip, **ask))
    assert failure.kind is FailureKind.REJECTED
    assert (failure.error.code, failure.error.param) == (code, param)
    assert words in failure.error.message

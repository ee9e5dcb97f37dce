"""Frames: every kind of scene draws, the same each time, as many as planned, and an extension goes on seamlessly."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raincheck.upstream.preview.drawing.film import Frame, frames
from raincheck.upstream.preview.drawing.storyboard import Plan, extended, plan

SMALL = (96, 64)

SCENES = [
    "A rocket launching into space",
    "A sunset over mountains with birds",
    "Storm over the sea with a lighthouse and a boat",
    "A city at night in the rain",
    "Northern lights over snowy pines",
    "A campfire in the woods with fireflies",
    "A flower garden at noon with a hot air balloon",
    "Desert dunes at sunrise",
    "A volcano in the fog",
    "Saturn in deep space",
    "A coral reef with fish",
]


def a_plan(prompt: str = "Sunset", *, seed: int = 7, seconds: float = 1, size: tuple[int, int] = SMALL) -> Plan:
    return plan(prompt, seed=seed, seconds=seconds, size=size, fps=12)


def difference(one: Frame, other: Frame) -> float:
    """Mean distance of two frames' levels, from 0 to 255."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def all_frames(board: Plan) -> Sequence[Frame]:
    return list(frames(board))


@pytest.mark.parametrize("prompt", SCENES)
def test_every_kind_of_scene_is_drawn_and_moves(prompt: str) -> None:
    first, *_, last = all_frames(a_plan(prompt, seconds=0.5))
    assert first.shape == (64, 96, 3)
    assert first.dtype == np.uint8
    assert first.std() > 8, "there is something to see"
    assert difference(first, last) > 0.2, "it moves"


@pytest.mark.parametrize("size", [(64, 64), (64, 114), (640, 64), (66, 480)])
@pytest.mark.parametrize("prompt", SCENES[::5])
def test_every_shape_of_frame_is_filled(size: tuple[int, int], prompt: str) -> None:
    frame = next(frames(a_plan(prompt, size=size)))
    assert frame.shape == (size[1], size[0], 3)


def test_there_are_exactly_as_many_frames_as_planned() -> None:
    assert len(all_frames(a_plan("One. Two.", seconds=2.04))) == 24


def test_two_runs_are_equal_and_another_seed_is_not() -> None:
    one, again, other = (all_frames(a_plan("Sunset", seed=seed, seconds=0.4)) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not np.array_equal(one[0], other[0])


@pytest.mark.parametrize("prompt", ["", "A city at night", "Zoom out"])
def test_an_extension_keeps_the_earlier_frames_and_goes_on_without_a_jump(prompt: str) -> None:
    before = a_plan("Sunset. A forest.", seconds=2)
    after = extended(before, 1.0, prompt)
    old = all_frames(before)
    whole = all_frames(after)
    assert all(np.array_equal(a, b) for a, b in zip(old, whole, strict=False))
    added = list(frames(after, start=before.frames))
    assert len(added) == 12
    assert all(np.array_equal(a, b) for a, b in zip(added, whole[24:], strict=True))
    usual = max(difference(a, b) for a, b in pairwise(old[18:]))
    assert difference(old[-1][:-4], added[0][:-4]) < 2 * usual + 1


def test_shots_dissolve_into_each_other() -> None:
    drawn = all_frames(a_plan("A bright day in the desert. Night in the city.", seconds=4))
    steps = [difference(a, b) for a, b in pairwise(drawn)]
    assert difference(drawn[20], drawn[36]) > 30
    assert max(steps) < 25


def test_a_storm_never_flashes_more_than_three_times_a_second() -> None:
    bright = [frame.mean() for frame in frames(plan("Thunderstorm", seed=3, seconds=8, size=SMALL, fps=24))]
    flashes = [n for n, (before, after) in enumerate(pairwise(bright)) if after > before * 1.08]
    assert len(flashes) >= 3
    assert all(sum(start <= n < start + 24 for n in flashes) <= 3 for start in range(len(bright)))


def test_a_given_picture_comes_first_and_dissolves() -> None:
    picture = np.zeros((50, 200, 3), np.uint8)
    picture[..., 0] = 255
    board = a_plan("Sunset over the ocean", seconds=2)
    drawn = list(frames(board, first=picture))
    plain = all_frames(board)
    assert drawn[0][32, :40].tolist() == [[255, 0, 0]] * 40
    assert np.array_equal(drawn[-1], plain[-1])


def test_a_caption_a_mark_and_a_line_are_in_the_picture() -> None:
    board = a_plan("Night in the forest", size=(480, 320))
    frame = np.asarray(next(frames(board, start=6)), np.int16)
    plain = np.asarray(next(frames(plan("", seed=7, seconds=1, size=(480, 320), fps=12), start=6)), np.int16)
    caption = frame[270:306, 150:330]
    assert caption.max() > 240
    assert plain[20, :].shape == frame[20, :].shape
    assert frame[5:30, 330:].max() > frame[60:85, 330:].min() + 60
    line = frame[-1].sum(axis=1)
    assert line[:240].mean() > line[300:].mean() + 60


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(prompt=st.text(max_size=40), seed=st.integers(0, 2**63 - 1))
@pytest.mark.slow("draws a frame for each of many prompts")
def test_any_prompt_in_any_script_is_drawn(prompt: str, seed: int) -> None:
    frame = next(frames(a_plan(prompt, seed=seed)))
    assert frame.shape == (64, 96, 3)


@pytest.mark.parametrize(
    "prompt",
    ["日落", "غروب الشمس", "ภูเขา", "🚀🌋", "a\u0000b", "\ud800", "x" * 5000, "e\u0301" * 40, "\u202eabc\u200d"],
)
def test_captions_that_no_font_knows_are_left_out_or_cut(prompt: str) -> None:
    assert next(frames(a_plan(prompt, size=(320, 180)))).shape == (180, 320, 3)

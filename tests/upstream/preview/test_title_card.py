"""The caption of an edit: legible beside what a clip of ours says itself."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raincheck.upstream.preview.drawing.lettering import Lettering
from raincheck.upstream.preview.drawing.storyboard import plan
from raincheck.upstream.preview.editing.title_card import Undrawable, draw_title
from raincheck.upstream.preview.job import Cue

SIZES = [(854, 480), (480, 854), (1280, 720), (640, 640)]


def a_card(tmp_path: Path, size: tuple[int, int], *, at_top: bool, text: str = "Hello world") -> np.ndarray:
    draw_title(Cue(text, at_top, *size), tmp_path / "card.png")
    return np.asarray(Image.open(tmp_path / "card.png"))[..., 3]


def own_letters(size: tuple[int, int]) -> np.ndarray:
    """Where a clip of ours has its mark and a caption of two lines, but for the thin line at its end."""
    board = plan("A boat on the ocean. " + "Words, " * 30, seed=123456789, seconds=2, size=size)
    frame = Image.new("RGB", size, (90, 90, 90))
    Lettering(board).draw(frame, 0, [("A boat on the ocean and " + "more words " * 20, 1.0)])
    drawn = (np.asarray(frame) != 90).any(axis=2)
    drawn[-max(2, round(3 * min(size) / 480)) :] = False
    return drawn


@pytest.mark.parametrize("size", SIZES)
def test_at_the_bottom_it_covers_the_captions_of_our_own_clips(size: tuple[int, int], tmp_path: Path) -> None:
    card, own = a_card(tmp_path, size, at_top=False), own_letters(size)
    below = slice(size[1] // 2, None)
    assert own[below].any()
    assert card[below][own[below]].min() >= 225


@pytest.mark.parametrize("size", SIZES)
def test_at_the_top_it_stands_below_the_mark_of_our_own_clips(size: tuple[int, int], tmp_path: Path) -> None:
    card, own = a_card(tmp_path, size, at_top=True), own_letters(size)
    above = slice(0, size[1] // 2)
    assert own[above].any()
    assert np.nonzero(card.any(axis=1))[0].min() > np.nonzero(own[above].any(axis=1))[0].max()


def test_long_words_fit_and_what_no_font_has_is_named(tmp_path: Path) -> None:
    card = a_card(tmp_path, (160, 96), at_top=True, text="a caption that is much too long for one line " * 3)
    assert not card[:, :2].any()
    with pytest.raises(Undrawable, match="🎬"):
        a_card(tmp_path, (160, 96), at_top=True, text="Film 🎬")

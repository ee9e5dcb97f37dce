"""The size of a video, from what was asked for."""

import pytest

from raincheck.core.errors import BadInput
from raincheck.core.videos import VideoAsk, dimensions


@pytest.mark.parametrize(
    ("size", "pixels"), [("1280x720", (1280, 720)), ("64x64", (64, 64)), ("641x479", (640, 480)), ("1x1", (2, 2))]
)
def test_a_size_is_taken_in_even_pixels(size: str, pixels: tuple[int, int]) -> None:
    assert dimensions(VideoAsk(model="m", size=size)) == pixels


@pytest.mark.parametrize(
    "size",
    [
        "",
        "big",
        "64",
        "x64",
        "64x",
        "64X64",
        "64x64x64",
        "0x64",
        "0064x0064",
        "-64x64",
        "6_4x64",
        " 64x64",
        "64x64\n",
        "64.0x64",
        "\N{ARABIC-INDIC DIGIT SIX}\N{ARABIC-INDIC DIGIT FOUR}x64",
        "64x\N{FULLWIDTH DIGIT SIX}4",
        "9" * 5000 + "x2",
    ],
)
def test_what_is_no_size_in_plain_digits_is_refused(size: str) -> None:
    with pytest.raises(BadInput) as caught:
        dimensions(VideoAsk(model="m", size=size))
    assert caught.value.param == "size"

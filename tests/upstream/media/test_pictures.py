"""Sizes of pictures by their headers."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raincheck.core.errors import MediaRefused
from raincheck.upstream.media.pictures import shape
from tests.media import ffmpeg, make_clip, make_picture, make_png

KINDS = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif"}


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("size", [(64, 48), (17, 301)])
def test_the_size_is_read_from_the_header(suffix: str, size: tuple[int, int], tmp_path: Path) -> None:
    assert shape(make_picture(tmp_path / f"p{suffix}", size=size), KINDS[suffix]) == size


@pytest.mark.parametrize("codec", [("-lossless", "1"), ("-lossless", "1", "-pix_fmt", "bgra")])
def test_a_lossless_webp_has_a_size(codec: tuple[str, ...], tmp_path: Path) -> None:
    ffmpeg("-i", make_png(tmp_path / "p.png", size=(33, 21)), "-c:v", "libwebp", *codec, tmp_path / "p.webp")
    assert shape(tmp_path / "p.webp", "image/webp") == (33, 21)


def test_an_animated_webp_has_the_size_of_its_canvas(tmp_path: Path) -> None:
    ffmpeg("-i", make_clip(tmp_path / "c.mp4"), "-c:v", "libwebp_anim", tmp_path / "p.webp")
    assert shape(tmp_path / "p.webp", "image/webp") == (160, 90)


def test_an_animated_gif_has_the_size_of_its_canvas(tmp_path: Path) -> None:
    assert shape(make_clip(tmp_path / "c.gif"), "image/gif") == (160, 90)


def test_a_gif_whose_frame_is_larger_than_its_canvas_has_the_size_of_the_frame(tmp_path: Path) -> None:
    canvas = (1).to_bytes(2, "little") * 2
    frame = b"," + bytes(4) + (60_000).to_bytes(2, "little") * 2 + b"\0"
    comment = b"!\xfe\x03abc\0"
    (tmp_path / "p.gif").write_bytes(b"GIF89a" + canvas + b"\x80\0\0" + bytes(6) + comment + frame)
    assert shape(tmp_path / "p.gif", "image/gif") == (60_000, 60_000)


def test_a_jpeg_with_much_before_its_frame_has_a_size(tmp_path: Path) -> None:
    plain = make_picture(tmp_path / "p.jpg").read_bytes()
    profile = b"\xff\xe2\xff\xff" + bytes(0xFFFD)
    (tmp_path / "p.jpg").write_bytes(plain[:2] + profile * 20 + b"\xff\xff" + plain[3:])
    assert shape(tmp_path / "p.jpg", "image/jpeg") == (64, 48)


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("kept", [8, 14, 20])
def test_a_header_that_is_cut_off_is_refused(suffix: str, kept: int, tmp_path: Path) -> None:
    path = make_picture(tmp_path / f"p{suffix}")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(MediaRefused, match="header is broken"):
        shape(path, KINDS[suffix])


def test_a_picture_without_width_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaRefused, match="header is broken"):
        shape(make_png(tmp_path / "p.png", size=(0, 48)), "image/png")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=300), suffix=st.sampled_from(sorted(KINDS)))
def test_noise_behind_a_good_beginning_gives_a_size_or_a_refusal(noise: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"noise{suffix}"
    beginning = {".jpg": b"\xff\xd8\xff", ".png": b"\x89PNG\r\n\x1a\n", ".webp": b"RIFF", ".gif": b"GIF89a"}[suffix]
    path.write_bytes(beginning + noise)
    try:
        width, height = shape(path, KINDS[suffix])
    except MediaRefused:
        return
    assert width > 0
    assert height > 0

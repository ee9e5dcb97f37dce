"""Kinds by first bytes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.upstream.media.sniff import ending_of, head_of, kind_of
from tests.media import make_clip, make_picture, make_sound


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".mp4", "video/mp4"),
        (".mov", "video/quicktime"),
        (".webm", "video/webm"),
        (".mkv", "video/x-matroska"),
        (".avi", "video/x-msvideo"),
        (".ts", "video/mp2t"),
        (".gif", "image/gif"),
    ],
)
def test_a_clip_is_known_by_its_first_bytes_whatever_it_is_called(suffix: str, kind: str, tmp_path: Path) -> None:
    assert kind_of(head_of(make_clip(tmp_path / f"clip{suffix}").rename(tmp_path / "clip.txt"))) == kind


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".mp3", "audio/mpeg"),
        (".wav", "audio/wav"),
        (".ogg", "audio/ogg"),
        (".flac", "audio/flac"),
        (".m4a", "audio/mp4"),
        (".aac", "audio/aac"),
    ],
)
def test_a_sound_is_known(suffix: str, kind: str, tmp_path: Path) -> None:
    assert kind_of(head_of(make_sound(tmp_path / f"sound{suffix}"))) == kind


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jpg", "image/jpeg"), (".png", "image/png"), (".webp", "image/webp"), (".gif", "image/gif")],
)
def test_a_picture_is_known(suffix: str, kind: str, tmp_path: Path) -> None:
    assert kind_of(head_of(make_picture(tmp_path / f"picture{suffix}"))) == kind


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".webm", ".mkv", ".avi", ".ts", ".gif"])
def test_a_clips_kind_gives_back_its_ending(suffix: str, tmp_path: Path) -> None:
    assert ending_of(kind_of(head_of(make_clip(tmp_path / f"clip{suffix}"))) or "") == suffix


@pytest.mark.parametrize("suffix", [".mp3", ".wav", ".ogg", ".flac", ".m4a", ".aac"])
def test_a_sounds_kind_gives_back_its_ending(suffix: str, tmp_path: Path) -> None:
    assert ending_of(kind_of(head_of(make_sound(tmp_path / f"sound{suffix}"))) or "") == suffix


def test_a_kind_that_is_not_known_has_no_ending() -> None:
    assert ending_of("application/zip") == ""


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"G",
        b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\nhttp://127.0.0.1/x\n",
        b"ffconcat version 1.0\nfile http://127.0.0.1/x\n",
        b"<?xml version='1.0'?><MPD/>",
        b"<!doctype html><video>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"PK\x03\x04" + bytes(60),
        b"%PDF-1.7\n",
        b"\x7fELF" + bytes(60),
        b"GET / HTTP/1.1\r\n" + b"G" * 20,
        "\ufeff#EXTM3U\n".encode("utf-16-le"),
        b"\x00\x00\x00\x20ftypavif" + bytes(60),
        b"\x00\x00\x00\x20ftypheic" + bytes(60),
        b"\x00\x00\x00\x20ft",
        b"RIFF\x00\x00\x00\x00ACON",
    ],
)
def test_everything_else_is_nothing_we_open(head: bytes) -> None:
    assert kind_of(head) is None


@given(st.binary(max_size=600))
def test_no_bytes_are_an_error(head: bytes) -> None:
    kind = kind_of(head)
    assert kind is None or kind.startswith(("image/", "video/", "audio/"))

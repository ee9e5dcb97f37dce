"""Clips on disk: they decode to what went in, carry their mark, and half a clip is never seen."""

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from raincheck.upstream.preview.drawing.film import frames
from raincheck.upstream.preview.drawing.storyboard import Plan, extended, plan
from raincheck.upstream.preview.encode import Encoder, EncodingFailed, join
from raincheck.upstream.preview.mark import COMMENT, read_mark, sign, tag
from tests.media import make_clip

SMALL = (96, 64)


def a_plan(prompt: str = "Sunset", seconds: float = 0.5) -> Plan:
    return plan(prompt, seed=7, seconds=seconds, size=SMALL, fps=12)


def encoded(board: Plan, path: Path, *, start: int = 0) -> Path:
    """A clip as it is handed on, with its mark."""
    drawn = path.with_suffix(".drawn")
    encoder = Encoder(drawn, size=board.size, fps=board.fps)
    for frame in frames(board, start=start):
        encoder.write(frame)
    encoder.close()
    sign(drawn, path, board)
    drawn.unlink()
    return path


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *map(str, arguments)], check=True)


def decoded(path: Path) -> NDArray[np.uint8]:
    """All frames of a clip of the small size."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(path),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, SMALL[1], SMALL[0], 3)


def described(path: Path) -> str:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-i", str(path)]
    return subprocess.run(command, capture_output=True, check=False).stderr.decode()


def test_a_clip_decodes_to_the_frames_that_went_in(tmp_path: Path) -> None:
    board = a_plan("Sunny desert")
    seen = decoded(encoded(board, tmp_path / "clip.mp4"))
    assert len(seen) == board.frames
    for frame, drawn in zip(seen, frames(board), strict=True):
        assert np.abs(frame.astype(int) - drawn.astype(int)).mean() < 8


def test_a_clip_says_what_it_is(tmp_path: Path) -> None:
    words = described(encoded(a_plan(), tmp_path / "clip.mp4"))
    assert "h264 (High)" in words
    assert "yuv420p" in words
    assert "12 fps" in words
    assert "Duration: 00:00:00.50" in words
    assert COMMENT in words
    assert "title           : Sunset" in words
    assert "yuv420p(tv, bt709, progressive)" in words, "matrix, primaries and transfer"


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    one, other = (encoded(a_plan(), tmp_path / name).read_bytes() for name in ("one.mp4", "other.mp4"))
    assert one == other


@pytest.mark.slow("runs ffmpeg several times")
@pytest.mark.parametrize(
    "prompt", ["Sunset", 'back\\slash; = # "quoted"\nnew line', "日落 🚀", "\ud800 half", "a\0b", "x" * 9000]
)
def test_the_mark_is_read_back(tmp_path: Path, prompt: str) -> None:
    board = a_plan(prompt)
    mark = read_mark(encoded(board, tmp_path / "clip.mp4"))
    assert mark is not None
    assert (mark.plan.seed, mark.plan.seconds, mark.plan.size, mark.plan.fps) == (7, 0.5, SMALL, 12)
    assert [shot.key for shot in mark.plan.shots] == [shot.key for shot in board.shots]
    if prompt.isprintable():
        assert mark.plan == board


@pytest.mark.slow("runs ffmpeg several times")
def test_an_own_clip_is_continued_and_joined_without_loss(tmp_path: Path) -> None:
    old = encoded(a_plan("Sunset"), tmp_path / "old.mp4")
    mark = read_mark(old)
    assert mark is not None
    board = extended(mark.plan, 0.5, "A city")
    added = encoded(board, tmp_path / "added.mp4", start=mark.plan.frames)
    whole = tmp_path / "whole.mp4"
    join([old, added], tmp_path / "joined.mp4")
    assert read_mark(tmp_path / "joined.mp4") is None
    sign((tmp_path / "joined.mp4").rename(tmp_path / "plain.mp4"), whole, board)
    seen = decoded(whole)
    assert np.array_equal(seen, np.concatenate([decoded(old), decoded(added)]))
    assert len(seen) == board.frames == 12
    again = read_mark(whole)
    assert again is not None
    assert again.plan == board
    assert {path.name for path in tmp_path.iterdir()} == {"old.mp4", "added.mp4", "plain.mp4", "whole.mp4"}


def test_a_strangers_clip_has_no_mark(tmp_path: Path) -> None:
    assert read_mark(make_clip(tmp_path / "clip.mp4")) is None
    text = tmp_path / "text.mp4"
    text.write_text("#EXTM3U\nfile:///etc/passwd\n")
    assert read_mark(text) is None
    assert read_mark(tmp_path / "missing.mp4") is None


@pytest.mark.slow("runs ffmpeg several times")
@pytest.mark.parametrize(
    "change",
    [
        {"size": (20_000, 20_000)},
        {"fps": 100_000},
        {"parts": ()},
        {"parts": (-5,)},
        {"shots": ()},
        {"seed": "seven"},
    ],
)
def test_a_forged_mark_is_no_mark(tmp_path: Path, change: dict[str, object]) -> None:
    own = encoded(a_plan(), tmp_path / "own.mp4")
    mark = read_mark(own)
    assert mark is not None
    said = msgspec.to_builtins(mark)
    said["plan"] |= change
    tag(own, tmp_path / "forged.mp4", {"raincheck": msgspec.json.encode(said).decode()})
    assert read_mark(tmp_path / "forged.mp4") is None


@pytest.mark.slow("runs ffmpeg several times")
def test_a_clip_that_was_encoded_anew_is_not_ours_and_one_that_was_only_copied_is(tmp_path: Path) -> None:
    own = encoded(a_plan("Sunset", seconds=1), tmp_path / "own.mp4")
    kept = ("-map_metadata", "0", "-movflags", "use_metadata_tags")
    ffmpeg("-i", own, "-vf", "hue=s=0", *kept, tmp_path / "gray.mp4")
    ffmpeg("-i", own, "-c", "copy", *kept, tmp_path / "copied.mp4")
    ffmpeg("-i", own, "-c", "copy", "-t", "0.5", *kept, tmp_path / "cut.mp4")
    assert b"preview/1" in (tmp_path / "gray.mp4").read_bytes()
    assert read_mark(tmp_path / "gray.mp4") is None
    assert read_mark(tmp_path / "cut.mp4") is None
    assert read_mark(tmp_path / "copied.mp4") == read_mark(own)


def test_words_of_a_prompt_are_on_no_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    start = subprocess.Popen.__init__

    def noted(popen: Any, arguments: list[str], *rest: Any, **options: Any) -> None:
        commands.append(" ".join(arguments))
        start(popen, arguments, *rest, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    clip = encoded(a_plan("a secret dragon"), tmp_path / "clip.mp4")
    assert b"a secret dragon" in clip.read_bytes()
    # The first look at ffmpeg in a process also asks for its version.
    assert len([command for command in commands if not command.endswith("-version")]) == 3
    assert not any("secret" in command or "preview/1" in command for command in commands)


def test_a_mark_that_became_too_long_is_left_out(tmp_path: Path) -> None:
    drawn = encoded(a_plan(), tmp_path / "drawn.mp4")
    board = a_plan("A boat on the ocean")
    while len(msgspec.json.encode(board)) < 1 << 18:  # more than fits into an argument of a command
        board = msgspec.structs.replace(board, shots=board.shots * 2)
    sign(drawn, tmp_path / "clip.mp4", board)
    assert read_mark(tmp_path / "clip.mp4") is None
    assert COMMENT in described(tmp_path / "clip.mp4")


def test_a_killed_encoder_leaves_nothing(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "clip.mp4", size=SMALL, fps=12)
    encoder.write(np.zeros((64, 96, 3), np.uint8))
    encoder.kill()
    encoder.kill()
    assert not list(tmp_path.iterdir())


def test_a_clip_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    encoder = Encoder(path, size=SMALL, fps=12)
    encoder.write(np.zeros((64, 96, 3), np.uint8))
    assert not path.exists()
    encoder.close()
    assert [found.name for found in tmp_path.iterdir()] == ["clip.mp4"]


def test_an_encoder_that_cannot_write_says_so(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "no" / "folder" / "clip.mp4", size=SMALL, fps=12)

    def write_on() -> None:
        for _ in range(100):
            encoder.write(np.zeros((64, 96, 3), np.uint8))
        encoder.close()

    with pytest.raises(EncodingFailed, match="No such file"):
        write_on()


def test_an_encoder_without_frames_and_a_frame_of_another_size_are_refused(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "clip.mp4", size=SMALL, fps=12)
    with pytest.raises(ValueError, match="does not fit"):
        encoder.write(np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(EncodingFailed):
        encoder.close()
    assert not list(tmp_path.iterdir())


def test_clips_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a clip")
    with pytest.raises(EncodingFailed):
        join([text], tmp_path / "whole.mp4")
    assert [found.name for found in tmp_path.iterdir()] == ["text.mp4"]

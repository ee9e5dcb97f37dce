"""How a render ends that cannot succeed: each end with its own reason, in words that are fit for a caller."""

import asyncio
import os
import re
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raincheck.core.clock import SECOND
from raincheck.core.outcome import Failure, FailureKind
from raincheck.upstream.media.ffmpeg import plain
from raincheck.upstream.media.room import no_room
from raincheck.upstream.preview import PreviewUpstream
from raincheck.upstream.preview.editing.cutter import CutFailed, last_frame, run
from raincheck.upstream.preview.encode import EncodingFailed, join
from raincheck.upstream.protocol import Work
from tests.media import ffmpeg, make_clip, make_png
from tests.upstream.preview.test_upstream import a_generation, a_long_one, the_group, until_gone
from tests.upstream.preview.works import SMALL, apart, decoded, made, refused, video_work
from tests.upstream.reports import KeptReport

SIZE = (160, 96)
FULL = Path("/dev/full")
"""A file that has no room, as a full disk has none."""
INSIDES = re.compile(r"\b0x[0-9a-f]+|@|\[|/tmp|input-")


def an_edit(tmp_path: Path, clip: Path, prompt: str = "mirror") -> Work:
    return video_work(tmp_path / "bench", "video.edit", prompt=prompt, video=clip)


# --- a full disk


@pytest.mark.slow("starts child processes")
@pytest.mark.parametrize(
    ("doing", "file"),
    [
        ("drawing", "drawn.mp4.part"),
        ("signing", "video.mp4.part"),
        ("borrowing colours", "references.png"),
        ("editing", "video.mp4.part"),
        ("writing a caption", "caption-0.png"),
        ("looking at the end", "last.png"),
        ("bringing", "input-clip.mp4"),
    ],
)
async def test_a_full_disk_is_named_and_waited_for(doing: str, file: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=SIZE, fps=12)
    match doing:
        case "drawing" | "signing":
            work = a_generation(tmp_path)
        case "borrowing colours":
            work = a_generation(tmp_path, reference_images=[make_png(tmp_path / "red.png")])
        case "looking at the end":
            work = video_work(tmp_path / "bench", "video.extension", prompt="", seconds=1, video=clip)
        case _:
            work = an_edit(tmp_path, clip, 'caption "Hello"')
    (work.bench.folder / file).symlink_to(FULL)
    failure = await refused(work)

    assert (failure.kind, failure.error.code) == (FailureKind.TRANSIENT, "scratch_full")
    assert failure.error.message == "There is no space left in the scratch folder."
    assert failure.retry_after is not None
    assert failure.retry_after >= 30 * SECOND, "five attempts within seconds would see the same disk"


def test_a_disk_with_next_to_no_room_counts_as_full_when_the_words_found_none_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not no_room(tmp_path, "Invalid data found")
    assert no_room(tmp_path, "av_interleaved_write_frame(): No space left on device")
    disk = list(os.statvfs(tmp_path))
    disk[4] = 3  # free blocks

    def nearly_full(_: Path) -> os.statvfs_result:
        return os.statvfs_result(disk)

    monkeypatch.setattr(os, "statvfs", nearly_full)
    assert no_room(tmp_path, "")


# --- too much work


@pytest.mark.slow("renders until it has used its processor time")
@pytest.mark.parametrize("doing", ["drawing", "editing"])
async def test_what_takes_too_much_processor_time_is_not_tried_again(doing: str, tmp_path: Path) -> None:
    work = a_long_one(tmp_path, doing)
    task = asyncio.create_task(PreviewUpstream().perform(work, report := KeptReport()))
    await report.said_something.wait()
    group = the_group(work)
    for pid in group:
        resource.prlimit(pid, resource.RLIMIT_CPU, (1, -1))
    failure = await task

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "preview_limit")
    assert "processor time" in failure.error.message
    await until_gone(group)


@pytest.mark.slow("makes a clip of thousands of frames")
def test_only_the_last_of_thousands_of_frames_is_made_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would cost ten milliseconds and more, and there is nothing to bound their number in a second."""
    monkeypatch.chdir(tmp_path)
    many = ("-frames:v", "1500", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "1500")
    ffmpeg("-f", "lavfi", "-i", "color=black:s=960x540:r=1500", *many, tmp_path / "fast.mp4")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    last_frame(tmp_path / "fast.mp4", (960, 540), tmp_path / "last.png", max_pixels=960 * 540)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 5, "15 when all of them are"


@pytest.mark.parametrize("kind", [".mp4", ".webm", ".gif", ".avi", ".ts", ".mkv"])
def test_the_last_frame_is_the_very_last(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip, picture = make_clip(tmp_path / f"clip{kind}", seconds=1.5, size=SIZE), tmp_path / "last.png"
    last_frame(clip, SIZE, picture, max_pixels=1 << 20)
    with Image.open(picture) as seen:
        assert np.array_equal(np.asarray(seen.convert("RGB")), decoded(clip, SIZE)[-1])


def test_a_last_frame_larger_than_allowed_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip = make_clip(tmp_path / "clip.mp4", size=SIZE)
    with pytest.raises(CutFailed):
        last_frame(clip, SIZE, tmp_path / "last.png", max_pixels=1000)


@pytest.mark.slow("encodes frames of five million pixels, and starts child processes")
async def test_frames_that_grow_midway_are_not_decoded(tmp_path: Path) -> None:
    """A clip that was let in for its small frames must not fill the memory with its later ones."""
    small = make_clip(tmp_path / "small.ts", size=SIZE, fps=12)
    large = make_clip(tmp_path / "large.ts", size=(2560, 1920), fps=12)
    ffmpeg("-i", f"concat:{small}|{large}", "-c", "copy", tmp_path / "grown.ts")
    clip = (tmp_path / "grown.ts").rename(tmp_path / "grown.mp4")

    extension = video_work(tmp_path / "bench", "video.extension", prompt="sea", seconds=1, video=clip)
    failure = await refused(extension)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "media_refused")
    assert not INSIDES.search(failure.error.message)
    video, _ = await made(an_edit(tmp_path / "edit", clip))
    seen = decoded(video, SIZE)
    assert apart(seen[11], seen[-1]) < 1, "it stands still where the small frames end"


def test_no_other_formats_than_clips_are_opened_to_be_joined(tmp_path: Path) -> None:
    png = make_png(tmp_path / "a.png")
    with pytest.raises(EncodingFailed):
        join([png], tmp_path / "whole.mp4")


# --- words


@pytest.mark.slow("starts the child process")
async def test_a_damaged_video_is_refused_in_our_own_words(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=SIZE, fps=12)
    whole = bytearray(clip.read_bytes())
    start = whole.index(b"mdat") + 4
    whole[start:] = bytes(len(whole) - start)
    clip.write_bytes(whole)
    failure = await refused(an_edit(tmp_path, clip))

    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "media_refused")
    assert failure.error.message.startswith("The video could not be edited: ")
    assert not INSIDES.search(failure.error.message)


@pytest.mark.slow("starts the child process")
async def test_a_picture_that_cannot_be_read_is_refused_without_saying_where_it_lay(tmp_path: Path) -> None:
    picture = make_png(tmp_path / "red.png")
    picture.write_bytes(picture.read_bytes()[:45])
    failure = await refused(a_generation(tmp_path, image=picture, size=SMALL))
    assert (failure.error.code, failure.error.param) == ("media_refused", "image")
    assert not INSIDES.search(failure.error.message)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "first\n[vist#0:0/h264 @ 0x56208938c000] [dec:h264 @ 0x5620893c0480] Error submitting: Invalid data\n",
            "Error submitting: Invalid data",
        ),
        ("Error opening input file file:/tmp/raincheck-0/8-x/1.mp4.", "Error opening input file"),
        ("cannot identify image file '/tmp/raincheck-0/8-x/1.png'", "cannot identify image file ''"),
        ("at 0x7f00deadbeef and/or later", "at and/or later"),
        ("Picture size 2560x19200000 is invalid", "Picture size 2560x19200000 is invalid"),
        ("", ""),
        ("x" * 5000, "x" * 160),
    ],
)
def test_words_of_ffmpeg_are_shown_without_its_insides(said: str, shown: str) -> None:
    assert plain(said) == shown


def test_a_failed_run_says_why_without_insides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.mp4").write_text("no video at all")
    with pytest.raises(CutFailed) as failed:
        run("-i", str(tmp_path / "text.mp4"), "-f", "null", "-")
    assert not INSIDES.search(str(failed.value))
    assert "cannot decode or convert it" in str(failed.value)

"""The preview renderer as an upstream: what it takes and refuses, and that nothing of it outlives an attempt."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raincheck.core.errors import SettingsInvalid
from raincheck.core.outcome import Failure, FailureKind, Reply
from raincheck.core.videos import VIDEO, VideoAnswer
from raincheck.upstream.preview import PreviewUpstream
from raincheck.upstream.preview.orders import seed_of
from raincheck.upstream.protocol import Takes, Work
from tests.media import make_clip, make_picture, make_png, make_png_bomb
from tests.upstream.preview.works import SMALL, decoded, made, measured, refused, video_work
from tests.upstream.reports import KeptReport

LONG: dict[str, Any] = {"prompt": "A storm at sea", "size": "854x480", "seconds": 60}


def a_generation(tmp_path: Path, **ask: Any) -> Work:
    ask = {"prompt": "A sunset over mountains", "size": SMALL, "seconds": 1, **ask}
    return video_work(tmp_path / "bench", "video.generation", **ask)


async def test_it_takes_videos_and_lists_its_one_model() -> None:
    upstream = PreviewUpstream()
    await upstream.start()
    assert upstream.takes == Takes.VIDEOS
    assert await upstream.probe() == {"preview"}
    await upstream.abandon("none")
    await upstream.close()


@pytest.mark.slow("renders a clip in the child process")
async def test_a_generation_is_a_video_of_the_size_and_length_that_was_asked_for(tmp_path: Path) -> None:
    report = KeptReport()
    reply = await PreviewUpstream().perform(a_generation(tmp_path, seed=7), report)

    assert isinstance(reply, Reply), reply
    answer = msgspec.json.decode(reply.body, type=VideoAnswer)
    assert answer == VideoAnswer(model="preview", seconds=1.0, width=160, height=96, fps=24.0, seed=7)
    assert [(file.name, file.content_type) for file in reply.made] == [
        ("video.mp4", "video/mp4"),
        ("thumbnail.webp", "image/webp"),
        ("spritesheet.webp", "image/webp"),
    ]
    assert all(file.path.stat().st_size for file in reply.made)
    assert decoded(reply.made[0].path, (160, 96)).shape == (24, 96, 160, 3)
    fractions = [fraction for fraction, _ in report.progresses if fraction is not None]
    assert fractions == sorted(fractions)
    assert any("drawing frame" in (words or "") for _, words in report.progresses)


@pytest.mark.slow("renders clips in child processes")
async def test_without_a_seed_each_request_has_its_own_and_tells_it(tmp_path: Path) -> None:
    first, answer = await made(a_generation(tmp_path / "a"))
    assert answer.seed == seed_of("req_1")
    again, _ = await made(a_generation(tmp_path / "b", seed=answer.seed))
    assert first.read_bytes() == again.read_bytes()
    other, _ = await made(a_generation(tmp_path / "c", seed=(answer.seed or 0) + 1))
    assert other.read_bytes() != first.read_bytes()


@pytest.mark.slow("renders a clip in the child process")
async def test_a_picture_becomes_the_first_frame_and_gives_its_shape(tmp_path: Path) -> None:
    picture = make_png(tmp_path / "first.png", size=(90, 160), colour=(200, 30, 30))
    work = a_generation(tmp_path, image=picture, size=None, resolution="480p")
    video, answer = await made(work)
    assert (answer.width, answer.height) == (480, 854)
    middle = decoded(video, (480, 854))[0, 380:480, 200:280].mean(axis=(0, 1))
    assert middle[0] > 150 > 90 > middle[1]


@pytest.mark.slow("renders a clip in the child process")
async def test_a_remix_has_the_size_and_the_seed_of_its_video(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1, size=(128, 72))
    _, answer = await made(a_generation(tmp_path, size=None, video=clip, of="video_1"))
    assert (answer.width, answer.height, answer.seed) == (128, 72, seed_of("video_1"))


@pytest.mark.slow("renders clips in child processes")
async def test_reference_images_give_their_colours(tmp_path: Path) -> None:
    red = make_png(tmp_path / "red.png", colour=(220, 20, 20))
    card = make_picture(tmp_path / "card.png")
    plain, _ = await made(a_generation(tmp_path / "a", seed=1))
    tinted, _ = await made(a_generation(tmp_path / "b", seed=1, reference_images=[red, card]))
    assert plain.read_bytes() != tinted.read_bytes()


@pytest.mark.parametrize(
    ("ask", "code", "param", "words"),
    [
        ({"seconds": 0.5}, "preview_limit", "seconds", "from 1 to 60 seconds"),
        ({"seconds": 61}, "preview_limit", "seconds", "from 1 to 60 seconds"),
        ({"size": "1922x1080"}, "preview_limit", "size", "1920x1080"),
        ({"size": "32x32"}, "preview_limit", "size", "from 64 to 2560"),
        ({"size": "big"}, "invalid_request", "size", "1280x720"),
        ({"prompt": "x" * 4001}, "preview_limit", "prompt", "4000"),
        ({"seed": "seven"}, "invalid_request", None, "seed"),
    ],
)
async def test_each_limit_is_refused_with_its_range(
    ask: dict[str, Any], code: str, param: str | None, words: str, tmp_path: Path
) -> None:
    failure = await refused(a_generation(tmp_path, **ask))
    assert failure.kind is FailureKind.REJECTED
    assert (failure.error.code, failure.error.param) == (code, param)
    assert words in failure.error.message


async def test_inputs_of_the_wrong_kind_are_refused(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", size=(96, 64))
    png = make_png(tmp_path / "picture.png")
    asks: list[tuple[dict[str, Any], str]] = [
        ({"image": clip}, "image"),
        ({"reference_images": [png, clip]}, "reference_images"),
        ({"reference_images": [png] * 9}, "reference_images"),
        ({"video": png}, "video"),
    ]
    for ask, param in asks:
        failure = await refused(a_generation(tmp_path, **ask))
        assert failure.kind is FailureKind.REJECTED
        assert failure.error.param == param


async def test_other_work_than_videos_is_refused(tmp_path: Path) -> None:
    failure = await refused(video_work(tmp_path / "bench", "chat.completion", prompt="Hello"))
    assert failure.kind is FailureKind.REJECTED
    async with PreviewUpstream().relay("/chat/completions", b"{}") as relayed:
        assert relayed.status == 400
        body = b"".join([piece async for piece in relayed.body])
    assert msgspec.json.decode(body)["error"]["code"] == "videos_are_deferred"


@pytest.mark.slow("starts child processes")
async def test_a_bomb_of_a_picture_is_refused(tmp_path: Path) -> None:
    bomb = make_png_bomb(tmp_path / "bomb.png")
    failure = await refused(a_generation(tmp_path, image=bomb))
    assert failure.kind is FailureKind.REJECTED
    assert failure.error.code == "media_refused"


async def test_what_is_not_installed_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_module: str) -> None: ...

    monkeypatch.setattr("raincheck.core.configuration.find_spec", nothing)
    with pytest.raises(SettingsInvalid, match=r"needs numpy, Pillow.*: pip install \"raincheck\[preview\]\""):
        await PreviewUpstream().start()


@pytest.mark.slow("starts a Python that must not have them")
async def test_the_adapter_is_imported_without_numpy_and_pillow() -> None:
    program = (
        "import sys; sys.modules['numpy'] = sys.modules['PIL'] = sys.modules['imageio_ffmpeg'] = None\n"
        "import raincheck.upstream.preview"
    )
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await child.wait() == 0


# --- processes


@pytest.mark.slow("renders until it is cancelled")
@pytest.mark.parametrize("doing", ["drawing", "editing"])
async def test_a_cancelled_attempt_is_gone_within_two_seconds(doing: str, tmp_path: Path) -> None:
    """G5: neither the child nor its ffmpeg nor a file is left."""
    work = a_long_one(tmp_path, doing)
    task = asyncio.create_task(PreviewUpstream().perform(work, report := KeptReport()))
    await report.said_something.wait()
    group = the_group(work)
    assert len(group) >= 2, "the child and its ffmpeg"

    since = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone(group)
    assert time.monotonic() - since < 2
    assert not (work.bench.folder / VIDEO).exists()


@pytest.mark.slow("renders until it is killed")
@pytest.mark.parametrize("doing", ["drawing", "editing"])
async def test_a_killed_child_is_worth_another_attempt_and_takes_its_ffmpeg_along(doing: str, tmp_path: Path) -> None:
    work = a_long_one(tmp_path, doing)
    task = asyncio.create_task(PreviewUpstream().perform(work, report := KeptReport()))
    await report.said_something.wait()
    group = the_group(work)
    os.kill(min(group), signal.SIGKILL)
    failure = await task

    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TRANSIENT
    assert failure.error.code == "renderer_crashed"
    assert "SIGKILL" in failure.error.message
    await until_gone(group)


@pytest.mark.slow("starts a parent of its own, to kill it")
async def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    work = a_generation(tmp_path, **LONG)
    program = f"""
import asyncio, sys
from pathlib import Path
from tests.upstream.preview.test_upstream import LONG, a_generation
from tests.upstream.reports import KeptReport
from raincheck.upstream.preview import PreviewUpstream

async def main():
    report = KeptReport()
    task = asyncio.create_task(PreviewUpstream().perform(a_generation(Path({str(tmp_path)!r}), **LONG), report))
    await report.said_something.wait()
    print("rendering", flush=True)
    await task

asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    assert await parent.stdout.readline() == b"rendering\n"
    group = the_group(work)
    assert len(group) >= 2
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(5):
        await until_gone(group)


@pytest.mark.slow("renders several clips at once")
async def test_several_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    works = [a_generation(tmp_path / f"{n}", request_id=f"req_{n}") for n in range(3)]
    results = await asyncio.gather(*(made(work) for work in works))
    for video, _ in results:
        assert (await measured(video)).frames == 24


def a_long_one(tmp_path: Path, doing: str) -> Work:
    if doing == "drawing":
        return a_generation(tmp_path, **LONG)
    clip = make_clip(tmp_path / "clip.mp4", seconds=20, size=(640, 360), fps=24)
    return video_work(tmp_path / "bench", "video.edit", prompt="slower 8x, blur, sharpen, blur", video=clip)


def the_group(work: Work) -> set[int]:
    """The processes that work in the attempt's folder."""
    folder = work.bench.folder.resolve()
    return {pid for pid in processes() if working_folder(pid) == folder}


def processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def working_folder(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # it is gone, or not ours
        return None


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until_gone(group: set[int]) -> None:
    while any(alive(pid) for pid in group):
        await asyncio.sleep(0.01)

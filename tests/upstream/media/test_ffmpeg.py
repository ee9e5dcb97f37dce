"""Running ffmpeg: found, bounded, guarded and killed."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from raincheck.core.errors import ModelUnavailable
from raincheck.upstream.media import ffmpeg
from raincheck.upstream.media.ffmpeg import Bounds, reading, run
from tests.media import make_clip, make_picture, make_sound
from tests.upstream.media.strangers import a_stranger, http

KINDS: dict[str, Callable[[Path], Path]] = {
    **dict.fromkeys((".mp4", ".mov", ".webm", ".mkv", ".avi", ".ts"), make_clip),
    **dict.fromkeys((".mp3", ".wav", ".ogg", ".flac", ".m4a", ".aac"), make_sound),
    **dict.fromkeys((".jpg", ".png", ".webp", ".gif"), make_picture),
}
ENDLESS = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25")


async def test_a_run_makes_its_file_and_tells_of_its_progress(tmp_path: Path) -> None:
    heard = list[float]()
    clip = make_clip(tmp_path / "in.mp4", seconds=2)
    ran = await run(*reading(clip), "-vf", "hue=s=0", f"{tmp_path / 'out.mp4'}", progress=heard.append)
    assert ran.code == 0
    assert heard[-1] == pytest.approx(2, abs=0.2)
    assert heard == sorted(heard)
    assert (tmp_path / "out.mp4").stat().st_size > 1000


async def test_a_cancelled_run_is_dead_when_the_cancellation_has_gone_through(tmp_path: Path) -> None:
    """G5: and until then it ran at low priority, in a session of its own."""
    begun = asyncio.Event()
    out = tmp_path / "out.mp4"
    running = asyncio.create_task(run(*ENDLESS, f"{out}", progress=lambda _: begun.set()))
    await begun.wait()
    (pid,) = processes(out)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    assert int(fields[3]) == pid
    assert int(fields[16]) >= 10
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert processes(out) == []


async def test_an_error_in_a_callback_ends_the_run(tmp_path: Path) -> None:
    def stop(_: float) -> None:
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        await run(*ENDLESS, f"{tmp_path / 'out.mp4'}", progress=stop)
    assert processes(tmp_path) == []


async def test_a_run_that_takes_too_long_is_killed(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        await run("-re", *ENDLESS, f"{tmp_path / 'out.mp4'}", bounds=Bounds(seconds=0.2))
    assert processes(tmp_path) == []


async def test_a_run_may_not_have_more_memory_than_it_was_given() -> None:
    """ffmpeg may call it a success all the same when nothing came out: whoever runs it looks at the files, too."""

    async def frames(size: str, memory: int) -> int:
        heard = list[str]()
        source = ("-f", "lavfi", "-i", f"color=s={size}", "-frames:v", "1")
        await run(*source, "-f", "framecrc", "pipe:1", bounds=Bounds(memory=memory), line=heard.append)
        return sum(not line.startswith("#") for line in heard)

    assert await frames("64x48", 1 << 30) == 1
    assert await frames("16000x16000", 350 << 20) == 0


async def test_a_run_may_not_write_more_than_it_was_given(tmp_path: Path) -> None:
    out = tmp_path / "out.raw"
    ran = await run(*ENDLESS, "-f", "rawvideo", f"{out}", bounds=Bounds(output=100 << 10))
    assert ran.code != 0
    assert out.stat().st_size <= 200 << 10


@pytest.mark.slow("the least that the system takes for a limit is a second of processor time")
async def test_a_run_may_not_use_more_of_the_processor_than_it_was_given() -> None:
    ran = await run(*ENDLESS, "-f", "null", "-", bounds=Bounds(cpu_seconds=1))
    assert ran.code != 0


async def test_what_a_run_says_is_bounded(tmp_path: Path) -> None:
    ran = await run(*("-loglevel", "trace"), *reading(make_clip(tmp_path / "in.mp4")), "-f", "null", "-")
    assert ran.code == 0
    assert 10_000 < len(ran.said) <= 64 << 10


async def test_the_environment_is_not_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FFREPORT", f"file={tmp_path / 'report'}")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    await run(*ENDLESS, "-frames:v", "1", "-f", "null", "-")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {url}\n",
        "<?xml version='1.0'?><MPD xmlns='urn:mpeg:dash:schema:mpd:2011'><BaseURL>{url}</BaseURL></MPD>",
    ],
)
@pytest.mark.parametrize("name", ["clip.mp4", "clip.m3u8", "clip.ts"])
async def test_a_playlist_in_disguise_makes_nobody_call_anybody(playlist: str, name: str, tmp_path: Path) -> None:
    async with a_stranger(http(b"secret")) as inside:
        (tmp_path / name).write_text(playlist.format(url=inside.url()))
        ran = await run(*reading(tmp_path / name), "-f", "null", "-")
    assert ran.code != 0
    assert inside.asked == []


async def test_a_playlist_cannot_read_other_files_of_this_machine(tmp_path: Path) -> None:
    secret = make_clip(tmp_path / "secret.mp4")
    (tmp_path / "clip.mp4").write_text(f"ffconcat version 1.0\nfile {secret.name}\n")
    ran = await run(*reading(tmp_path / "clip.mp4"), "-f", "null", "-")
    assert ran.code != 0


@pytest.mark.parametrize("kind", KINDS)
async def test_whatever_we_know_can_be_opened(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{kind}"
    KINDS[kind](path)
    assert (await run(*reading(path), "-f", "null", "-")).code == 0


@pytest.mark.parametrize("name", ["-y.mp4", "http:x.mp4", "a b'%03d.mp4", "concat:a|b.mp4"])
async def test_a_file_may_be_called_anything(name: str, tmp_path: Path) -> None:
    ran = await run(*reading(make_clip(tmp_path / name)), "-f", "null", "-")
    assert ran.code == 0


async def test_no_frame_larger_than_allowed_is_decoded(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "in.mp4")
    assert (await run(*reading(clip, max_pixels=160 * 90), "-f", "null", "-")).code == 0
    assert (await run(*reading(clip, max_pixels=1000), "-xerror", "-f", "null", "-")).code != 0


async def test_without_the_program_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/nowhere/ffmpeg")
    assert ffmpeg.program() is None
    with pytest.raises(ModelUnavailable, match=r"raincheck\[preview\]"):
        await run("-version")


def test_the_program_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", "/bin/true")
    assert ffmpeg.program() == "/bin/true"


def processes(path: Path) -> list[int]:
    """Those that have the path on their command line."""
    found = list[int]()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(path).encode() in line:
                found.append(int(entry.name))
    return found

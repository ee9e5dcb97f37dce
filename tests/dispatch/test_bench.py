"""Where attempts work: folders that come when asked for and go with the attempt, and inputs as files in them."""

import asyncio
import dataclasses
import hashlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from raincheck.core.errors import SettingsInvalid
from raincheck.core.ids import new_id
from raincheck.core.model import Attachment, Request
from raincheck.core.outcome import Failure, FailureKind, Made, Reply, RequestError
from raincheck.core.status import Status
from raincheck.core.videos import Source
from raincheck.dispatch.bench import Benches
from raincheck.upstream.media.fetch import STRANGERS
from raincheck.upstream.protocol import Brought, Report, Work
from tests.dispatch.engine import DONE, Engine, Script, Scripted, an_engine
from tests.media import make_png
from tests.stories.processes import free_port

VIDEO = {"queue": "small/video", "operation": "video.edit", "path": "/videos/edits", "model": "small"}


def left_in(folder: Path) -> list[Path]:
    return [path for path in (folder / "scratch").rglob("*") if path.is_file()]


async def given(engine: Engine, name: str, body: bytes) -> Attachment:
    """An input as intake leaves it: its bytes in the object store, noted and not held yet."""
    assert engine.objects is not None
    blob = f"attachments/{new_id('req')}/{name}"
    await engine.store.blobs.expect(blob, keep_for=10**12)
    await engine.objects.put(blob, body)
    return Attachment("input", name, blob, "image/png", len(body), hashlib.sha256(body).hexdigest())


def bringing(*sources: Source, into: list[Brought]) -> Script:
    async def script(work: Work, _: Report) -> Reply:
        into.extend([await work.bench.bring(source) for source in sources])
        for brought in into[-len(sources) :]:
            assert await asyncio.to_thread(brought.path.is_file)
        return DONE

    return script


async def test_an_attempt_that_asks_for_nothing_leaves_no_trace_on_disk(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted()]) as engine:
        await engine.ended(await engine.submit())
        assert not (tmp_path / "scratch").exists()


async def test_a_folder_is_the_attempts_own_and_goes_with_it(tmp_path: Path) -> None:
    folders = list[Path]()

    async def script(work: Work, _: Report) -> Reply:
        folder = work.bench.folder
        (folder / "big.raw").write_bytes(b"x")
        assert folder == work.bench.folder
        assert folder.stat().st_mode & 0o777 == 0o700
        folders.append(folder)
        return DONE

    async with an_engine(tmp_path, [Scripted(script=script)]) as engine:
        for _ in range(2):
            await engine.ended(await engine.submit())
        await engine.dispatcher.close(1)
        assert len(set(folders)) == 2
        assert not any(folder.exists() for folder in folders)
        assert engine.benches.home().is_dir()
    assert list((tmp_path / "scratch").glob("*/*")) == []


@pytest.mark.parametrize("how", ["cancelled", "failed", "deadline", "closed"])
async def test_a_folder_goes_however_the_attempt_ends(tmp_path: Path, how: str) -> None:
    async def script(work: Work, _: Report) -> Reply | Failure:
        (work.bench.folder / "half").write_bytes(b"x")
        if how == "failed":
            return Failure(FailureKind.REJECTED, RequestError("no"))
        begun.set()
        await asyncio.sleep(60)
        return DONE

    begun = asyncio.Event()
    async with an_engine(tmp_path, [Scripted(script=script)]) as engine:
        deadline = engine.dispatcher.means.clock() + 100_000 if how == "deadline" else None
        id_ = await engine.submit(deadline=deadline)
        if how in ("cancelled", "closed"):
            await begun.wait()
        if how == "cancelled":
            await engine.store.requests.cancel("t", id_)
        if how != "closed":
            await engine.ended(id_)
        await engine.dispatcher.close(0)
        assert left_in(tmp_path) == []


async def test_an_input_is_copied_from_the_object_store_once_and_checked(tmp_path: Path) -> None:
    image = make_png(tmp_path / "a.png").read_bytes()
    source, brought = Source(attachment="image"), list[Brought]()
    upstream = Scripted(script=bringing(source, source, into=brought))
    async with an_engine(tmp_path, [upstream], keeps_files=True) as engine:
        request = await engine.ended(
            await engine.submit(**VIDEO, attachments=(await given(engine, "image", image),)),
        )
        assert request.status is Status.COMPLETED
    assert brought[0] == brought[1]
    assert (brought[0].content_type, brought[0].size, brought[0].path.suffix) == ("image/png", len(image), ".png")


async def failed(tmp_path: Path, source: Source, **inputs: bytes) -> Request:
    upstream = Scripted(script=bringing(source, into=[]))
    async with an_engine(tmp_path, [upstream], keeps_files=True) as engine:
        attachments = tuple([await given(engine, name, body) for name, body in inputs.items()])
        request = await engine.ended(await engine.submit(**VIDEO, attachments=attachments, max_attempts=2))
        assert request.status is Status.FAILED
        assert request.error is not None
        return request


async def test_an_input_that_is_no_media_ends_the_request_with_the_reason(tmp_path: Path) -> None:
    request = await failed(tmp_path, Source(attachment="video"), video=b"#EXTM3U\nhttp://169.254.169.254/\n")
    assert request.error is not None
    assert (request.error.code, request.error.type) == ("media_refused", "invalid_request_error")
    assert request.attempt == 1


async def test_an_input_that_was_never_given_is_refused_by_name(tmp_path: Path) -> None:
    request = await failed(tmp_path, Source(attachment="video"))
    assert request.error is not None
    assert (request.error.code, "'video'" in request.error.message) == ("media_refused", True)


async def test_an_input_that_cannot_be_fetched_just_now_is_worth_another_attempt(tmp_path: Path) -> None:
    request = await failed(tmp_path, Source(url=f"http://127.0.0.1:{free_port()}/a.png"))
    assert request.error is not None
    assert (request.error.code, request.attempt) == ("upstream_broke", 2)


async def test_an_input_is_fetched_from_its_url(tmp_path: Path) -> None:
    image = make_png(tmp_path / "a.png").read_bytes()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=image, content_type="text/plain")

    brought = list[Brought]()
    async with serving(answer) as base:
        upstream = Scripted(script=bringing(Source(url=f"{base}/a"), into=brought))
        async with an_engine(tmp_path, [upstream], keeps_files=True) as engine:
            assert (await engine.ended(await engine.submit(**VIDEO))).status is Status.COMPLETED
    assert (brought[0].content_type, brought[0].path.name) == ("image/png", "1.png")


async def test_a_link_that_drips_holds_its_place_once_and_not_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12: while it is fetched, others wait for the place; so there is no second attempt."""
    monkeypatch.setattr("raincheck.dispatch.bench.STRANGERS", dataclasses.replace(STRANGERS, head_start=0.1))

    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(0.01)

    async with serving(drip) as base:
        request = await failed(tmp_path, Source(url=f"{base}/a.png"))
    assert request.error is not None
    assert (request.error.code, request.attempt) == ("media_refused", 1)


class serving:  # noqa: N801 - read as a verb
    """A web server for one handler; its base URL."""

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        app = web.Application()
        app.router.add_get("/{any:.*}", handler)
        self._runner = web.AppRunner(app)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        port = free_port()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        return f"http://127.0.0.1:{port}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


async def test_an_outage_of_the_object_store_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raincheck.dispatch.outage.RETRY_STORE_AFTER", 0.01)
    image = make_png(tmp_path / "a.png").read_bytes()
    begun, blobs = asyncio.Event(), tmp_path / "blobs"

    async def script(work: Work, _: Report) -> Reply:
        begun.set()
        await work.bench.bring(Source(attachment="image"))
        return DONE

    async with an_engine(tmp_path, [Scripted(script=script)], keeps_files=True) as engine:
        attachment = await given(engine, "image", image)
        blobs.rename(tmp_path / "away")
        id_ = await engine.submit(**VIDEO, attachments=(attachment,))
        await begun.wait()
        await asyncio.sleep(0.05)
        (tmp_path / "away").rename(blobs)
        request = await engine.ended(id_)
        assert (request.status, request.attempt) == (Status.COMPLETED, 1)


async def test_files_without_an_object_store_are_refused_with_advice(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [Scripted(script=making("a.txt"))]) as engine:
        request = await engine.ended(await engine.submit())
        assert request.error is not None
        assert (request.status, request.error.code) == (Status.FAILED, "no_object_store")
        assert "store.blobs" in request.error.message


def making(*names: str) -> Script:
    async def script(work: Work, _: Report) -> Reply:
        for name in names:
            (work.bench.folder / name).write_bytes(b"made")
        return Reply(b"{}", made=tuple(Made(name, work.bench.folder / name, "text/plain") for name in names))

    return script


async def test_made_files_are_kept_with_the_request_though_the_store_was_away(tmp_path: Path) -> None:
    """G3: they are on disk until the outcome is recorded."""
    async with an_engine(tmp_path, [Scripted(script=making("a.txt", "b.txt"))], keeps_files=True) as engine:
        blobs = tmp_path / "blobs"
        blobs.rename(tmp_path / "away")
        id_ = await engine.submit()
        with engine.live.watch(id_) as watch:
            while engine.dispatcher.running.get(id_) is None:
                await watch.news(0.01)
        (tmp_path / "away").rename(blobs)
        request = await engine.ended(id_)
        assert (request.status, request.attempt) == (Status.COMPLETED, 1)
        outputs = await engine.store.requests.attachments("t", id_)
        assert [(each.role, each.name, each.size) for each in outputs] == [
            ("output", "a.txt", 4),
            ("output", "b.txt", 4),
        ]
        assert engine.objects is not None
        assert [piece async for piece in engine.objects.read(outputs[0].blob)] == [b"made"]
        await engine.dispatcher.close(1)
        assert left_in(tmp_path) == []


async def test_a_file_that_was_not_made_after_all_is_a_stumble(tmp_path: Path) -> None:
    async def script(work: Work, _: Report) -> Reply:
        return Reply(b"{}", made=(Made("a.txt", work.bench.folder / "a.txt", "text/plain"),))

    async with an_engine(tmp_path, [Scripted(script=script)], keeps_files=True) as engine:
        request = await engine.ended(await engine.submit(max_attempts=2))
        assert request.error is not None
        assert (request.status, request.attempt, request.error.code) == (Status.FAILED, 2, "adapter_error")


HOLDING = """
import asyncio, sys
from raincheck.dispatch.bench import Benches
from raincheck.upstream.media.limits import MediaLimits
(Benches(None, None, MediaLimits(), sys.argv[1]).home() / "half").write_text("x")
print("here", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow("starts a process and kills it")
async def test_what_a_killed_process_left_is_removed_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    async with an_engine(tmp_path, []) as engine:
        mine = engine.benches.home()
        other = subprocess.Popen(
            [sys.executable, "-c", HOLDING, str(scratch)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        with other:
            assert other.stdout is not None
            assert await asyncio.to_thread(other.stdout.readline) == b"here\n"
            await engine.benches.start()
            assert len(left_in(tmp_path)) == 1, "the other process lives"
            other.kill()
            other.wait()
            await engine.benches.start()
        assert [path for path in scratch.glob("*/*") if path.is_dir()] == [mine]


async def test_a_cleaner_of_temporary_folders_does_no_lasting_harm(tmp_path: Path) -> None:
    async with an_engine(tmp_path, []) as engine:
        first = engine.benches.home()
        first.rmdir()
        second = engine.benches.home()
        assert second.is_dir()
        assert second != first


async def test_another_users_folder_is_never_worked_in(tmp_path: Path) -> None:
    """Names in a shared temporary folder can be guessed, so whoever made one first may be anybody."""
    trap, elsewhere = tmp_path / "scratch" / f"raincheck-{os.getuid()}", tmp_path / "elsewhere"
    elsewhere.mkdir()
    trap.parent.mkdir()
    trap.symlink_to(elsewhere)
    async with an_engine(tmp_path, []) as engine:
        benches: Benches = engine.benches
        await benches.start()
        with pytest.raises(SettingsInvalid, match="scratch"):
            benches.home()


async def test_a_handler_that_outlives_its_attempt_gets_no_new_folder(tmp_path: Path) -> None:
    works = list[Work]()

    async def script(work: Work, _: Report) -> Reply:
        works.append(work)
        return DONE

    async with an_engine(tmp_path, [Scripted(script=script)]) as engine:
        await engine.ended(await engine.submit())
        await engine.dispatcher.close(1)
        with pytest.raises(RuntimeError, match="over"):
            _ = works[0].bench.folder
        assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("keeps_files", [True, False])
async def test_an_input_that_cannot_be_read_here_or_any_more_is_refused(tmp_path: Path, keeps_files: bool) -> None:
    lost = Attachment("input", "image", "attachments/lost", "image/png", 4, "")
    upstream = Scripted(script=bringing(Source(attachment="image"), into=[]))
    async with an_engine(tmp_path, [upstream], keeps_files=keeps_files) as engine:
        await engine.store.blobs.expect(lost.blob, keep_for=10**12)
        # Without an object store, a video is refused before that.
        request = await engine.ended(await engine.submit(**(VIDEO if keeps_files else {}), attachments=(lost,)))
        assert request.error is not None
        assert (request.status, request.error.code) == (Status.FAILED, "media_refused")
        assert ("not there any more" if keeps_files else "no object store") in request.error.message

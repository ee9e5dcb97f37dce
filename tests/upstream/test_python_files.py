"""Python handlers that work with files and tell of their steps: the functions of this file, found by its name."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raincheck.core.errors import MediaRefused
from raincheck.core.outcome import Failure, FailureKind, Reply
from raincheck.core.videos import Source
from raincheck.upstream.protocol import Brought, Takes
from raincheck.upstream.python import File, Job, PythonUpstream
from tests.media import make_clip
from tests.upstream.bench import FolderBench
from tests.upstream.reports import KeptReport, some_work

Json = dict[str, Any]


@asynccontextmanager
async def serving(handler: str) -> AsyncGenerator[PythonUpstream]:
    upstream = PythonUpstream(name="py", handler=f"{__name__}:{handler}", models=["m"], max_concurrency=1)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


async def answered(handler: str, folder: Path, **payload: Any) -> Reply | Failure:
    work = some_work(operation="report", path="/reports", at=FolderBench(folder), **payload)
    async with serving(handler) as upstream:
        return await upstream.perform(work, KeptReport())


def returns(payload: Json, job: Job) -> Any:
    page, data = job.folder / "page.html", job.folder / "data.csv"
    page.write_text("<p>hi")
    data.write_text("a,b")
    return {
        "a path": page,
        "a list": [page, data],
        "inside": {"pages": [{"n": 1, "file": page}], "table": data, "usage": {"pages": 1}},
        "twice": {"now": page, "later": page},
        "bytes": File(b"\x89PNG", "chart.png"),
        "renamed": File(page, "../Übersicht 2026.html", "text/x-page"),
        "same names": [File(b"1", "a.txt"), File(b"2", "a.txt")],
        "missing": job.folder / "nothing",
        "no file": {"a": object()},
        "folder": job.folder,
    }[payload["what"]]


@pytest.mark.parametrize(
    ("what", "body", "made"),
    [
        ("a path", {"object": "file", "attachment": "page.html"}, [("page.html", "text/html")]),
        (
            "a list",
            [{"attachment": "page.html"}, {"attachment": "data.csv"}],
            [("page.html", "text/html"), ("data.csv", "text/csv")],
        ),
        (
            "inside",
            {
                "pages": [{"n": 1, "file": {"attachment": "page.html"}}],
                "table": {"attachment": "data.csv"},
                "usage": {"pages": 1},
            },
            [("page.html", "text/html"), ("data.csv", "text/csv")],
        ),
        (
            "twice",
            {"now": {"attachment": "page.html"}, "later": {"attachment": "page.html"}},
            [("page.html", "text/html")],
        ),
        ("bytes", {"object": "file", "attachment": "chart.png"}, [("chart.png", "image/png")]),
        (
            "renamed",
            {"object": "file", "attachment": "Übersicht 2026.html"},
            [("Übersicht 2026.html", "text/x-page")],
        ),
        (
            "same names",
            [{"attachment": "a.txt"}, {"attachment": "a-2.txt"}],
            [("a.txt", "text/plain"), ("a-2.txt", "text/plain")],
        ),
    ],
)
async def test_files_anywhere_in_a_result_become_attachments(
    what: str, body: object, made: list[tuple[str, str]], tmp_path: Path
) -> None:
    reply = await answered("returns", tmp_path, what=what)

    assert isinstance(reply, Reply)
    assert msgspec.json.decode(reply.body) == body
    assert [(each.name, each.content_type) for each in reply.made] == made
    assert all(each.path.is_file() for each in reply.made)
    assert reply.usage == (b'{"pages":1}' if what == "inside" else None)


async def test_bytes_are_in_the_file_that_is_named_for_them(tmp_path: Path) -> None:
    reply = await answered("returns", tmp_path, what="same names")

    assert isinstance(reply, Reply)
    assert [made.path.read_bytes() for made in reply.made] == [b"1", b"2"]


@pytest.mark.parametrize(
    ("what", "words"), [("missing", "no such file"), ("folder", "no such file"), ("no file", "JSON")]
)
async def test_what_is_no_file_and_no_json_fails_for_good_and_says_so(what: str, words: str, tmp_path: Path) -> None:
    failure = await answered("returns", tmp_path, what=what)

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "handler_result_invalid")
    assert words in failure.error.message


def test_a_file_of_bytes_needs_a_name() -> None:
    with pytest.raises(TypeError, match="name"):
        File(b"x")


@pytest.mark.parametrize("handler", ["returns", "only_looks_at_its_folder"])
async def test_a_waiting_caller_is_told_to_defer_what_makes_files(handler: str, tmp_path: Path) -> None:
    async with serving(handler) as upstream:
        payload = some_work(what="bytes").payload
        async with upstream.relay("/reports", payload) as relayed:
            body = msgspec.json.decode(b"".join([piece async for piece in relayed.body]))

    assert (relayed.status, body["error"]["code"]) == (400, "files_need_deferral")
    assert "defer" in body["error"]["message"]


def only_looks_at_its_folder(_: Json, job: Job) -> Json:
    return {"folder": str(job.folder)}


# --- inputs


def reads(payload: Json, job: Job) -> Json:
    what = payload["pictures"][0] if payload["what"] == "member" else payload["what"]
    return {"text": job.input(what).read_text()}


async def reads_async(payload: Json, job: Job) -> Json:
    what = payload["pictures"][0] if payload["what"] == "member" else payload["what"]
    return {"text": (await job.input_async(what)).read_text()}


@pytest.mark.parametrize("handler", ["reads", "reads_async"])
@pytest.mark.parametrize(("what", "text"), [("video", "a clip"), ("link", "a page"), ("member", "a picture")])
async def test_inputs_are_had_as_files(handler: str, what: str, text: str, tmp_path: Path) -> None:
    inputs = {"video": "a clip", "https://a.example/b": "a page", "image-1": "a picture"}
    for number, body in enumerate(inputs.values()):
        (tmp_path / f"{number}").write_text(body)
    bench = FolderBench(tmp_path, {name: (tmp_path / f"{number}", "video/mp4") for number, name in enumerate(inputs)})
    payload: Json = {
        "what": what,
        "video": {"attachment": "video"},
        "link": "https://a.example/b",
        "pictures": [{"attachment": "image-1"}],
    }
    async with serving(handler) as upstream:
        reply = await upstream.perform(some_work(at=bench, **payload), KeptReport())

    assert reply == Reply(msgspec.json.encode({"text": text}))


@pytest.mark.parametrize("handler", ["reads", "reads_async"])
@pytest.mark.parametrize("video", [None, "no link", {"url": None}, {"attachment": "a", "url": "https://b"}, 7])
async def test_a_payload_without_the_input_is_rejected(handler: str, video: object, tmp_path: Path) -> None:
    async with serving(handler) as upstream:
        work = some_work(at=FolderBench(tmp_path), what="video", video=video)
        failure = await upstream.perform(work, KeptReport())

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "input_missing")


@pytest.mark.parametrize("handler", ["reads", "reads_async"])
async def test_an_input_that_is_refused_ends_the_request_unless_the_handler_knows_better(
    handler: str, tmp_path: Path
) -> None:
    async with serving(handler) as upstream:
        with pytest.raises(MediaRefused):
            await upstream.perform(
                some_work(at=FolderBench(tmp_path), what="video", video={"attachment": "video"}), KeptReport()
            )


class _Slow(FolderBench):
    """Its inputs never come."""

    async def bring(self, source: Source) -> Brought:
        asked.set()
        await asyncio.sleep(60)
        return await super().bring(source)


asked = asyncio.Event()
left = threading.Event()


def waits_for_input(_: Json, job: Job) -> Json:
    try:
        job.input({"attachment": "video"})
    finally:
        left.set()
    return {}


async def test_a_cancel_reaches_a_handler_that_waits_for_an_input_g5(tmp_path: Path) -> None:
    asked.clear()
    left.clear()
    async with serving("waits_for_input") as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(at=_Slow(tmp_path)), KeptReport()))
        await asked.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
        assert left.is_set()


# --- generators


def steps(payload: Json, job: Job) -> Generator[Any, None, Any]:
    yield 0.25
    yield
    yield {"page": 1}
    yield 0.5, "halfway"
    yield None, "nearly"
    yield {"page": 2}
    yield 1
    if payload["ends"] == "returns":
        return {"pages": 2}
    if payload["ends"] == "yields":
        yield {"pages": 2}
    return None


async def steps_async(payload: Json, job: Job) -> AsyncGenerator[Any]:
    for step in steps(payload, job):
        await asyncio.sleep(0)
        yield step


@pytest.mark.parametrize(
    ("handler", "ends", "result", "pieces"),
    [
        ("steps", "returns", {"pages": 2}, [{"page": 1}, {"page": 2}]),
        ("steps", "yields", {"pages": 2}, [{"page": 1}, {"page": 2}]),
        ("steps_async", "yields", {"pages": 2}, [{"page": 1}, {"page": 2}]),
        ("steps", "just stops", {"page": 2}, [{"page": 1}]),
    ],
)
async def test_a_generator_tells_how_far_it_is_and_the_last_piece_is_the_result(
    handler: str, ends: str, result: Json, pieces: list[Json]
) -> None:
    report = KeptReport()
    async with serving(handler) as upstream:
        reply = await upstream.perform(some_work(ends=ends), report)

    assert isinstance(reply, Reply)
    assert msgspec.json.decode(reply.body) == result
    assert report.deltas == pieces
    assert report.progresses == [(0.25, None), (0.5, "halfway"), (None, "nearly"), (1.0, None)]


def yields_a_path(_: Json, job: Job) -> Generator[Any]:
    page = job.folder / "page.html"
    page.write_text("<p>hi")
    yield 0.5
    yield page


def yields_paths(_: Json, job: Job) -> Generator[Any]:
    yield from [job.folder, job.folder]


async def test_a_generator_may_end_with_a_file_and_must_not_yield_one_on_the_way(tmp_path: Path) -> None:
    reply = await answered("yields_a_path", tmp_path)
    failure = await answered("yields_paths", tmp_path)

    assert isinstance(reply, Reply)
    assert [made.name for made in reply.made] == ["page.html"]
    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "handler_result_invalid")


def counts_for_ever(_: Json, job: Job) -> Generator[Any]:
    try:
        while True:
            yield 0.1
            job.wait_cancelled(0.01)
    finally:
        left.set()


async def counts_for_ever_async(_: Json) -> AsyncGenerator[Any]:
    try:
        while True:
            yield 0.1
            await asyncio.sleep(0.01)
    finally:
        left.set()


@pytest.mark.parametrize("handler", ["counts_for_ever", "counts_for_ever_async"])
async def test_a_cancelled_generator_ends_at_its_next_step_and_cleans_up_g5(handler: str) -> None:
    left.clear()
    report = KeptReport()
    async with serving(handler) as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(), report))
        await report.said_something.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
        assert left.is_set()


# --- remote jobs


def forgets(_: Json, job: Job) -> Json:
    before = job.remote_id
    job.remember(None)
    return {"before": before, "after": job.remote_id}


async def test_a_lost_job_can_be_forgotten() -> None:
    report = KeptReport()
    async with serving("forgets") as upstream:
        reply = await upstream.perform(replace(some_work(), remote_id="job-1"), report)
        await upstream.abandon("job-1")

    assert report.remotes == [None]
    assert reply == Reply(b'{"before":"job-1","after":null}')


# --- videos


def films(payload: Json, job: Job) -> Any:
    clip = job.folder / "sunrise.mp4"
    match payload["how"]:
        case "a path":
            return make_clip(clip, seconds=1, size=(64, 48), fps=12)
        case "with facts":
            make_clip(clip, seconds=1, size=(64, 48), fps=12)
            (job.folder / "thumbnail.webp").write_bytes(b"mine")
            return {
                "video": clip,
                "still": job.folder / "thumbnail.webp",
                "seed": 7,
                "model": "my-film-2",
                "usage": {"frames": 12},
                "mood": "calm",
            }
        case "cut off":
            whole = make_clip(clip, seconds=1, size=(64, 48), fps=12)
            whole.write_bytes(whole.read_bytes()[:200])
            return whole
        case "odd facts":
            return {"video": make_clip(clip, seconds=1, size=(64, 48), fps=12), "seconds": "long"}
        case _:
            return {"text": "no video"}


async def filmed(how: str, folder: Path) -> Reply | Failure:
    work = some_work(operation="video.generation", path="/videos/generations", at=FolderBench(folder), how=how)
    async with serving("films") as upstream:
        assert upstream.takes == Takes.CALLS | Takes.VIDEOS
        return await upstream.perform(work, KeptReport())


async def test_a_path_to_a_video_is_answered_with_its_facts_and_stills(tmp_path: Path) -> None:
    reply = await filmed("a path", tmp_path)

    assert isinstance(reply, Reply)
    answer = msgspec.json.decode(reply.body)
    assert answer == {"object": "video", "model": "m", "seconds": 1.0, "width": 64, "height": 48, "fps": 12.0}
    assert [made.name for made in reply.made] == ["sunrise.mp4", "thumbnail.webp", "spritesheet.webp"]


async def test_what_the_handler_says_and_draws_itself_goes_before_what_is_found(tmp_path: Path) -> None:
    reply = await filmed("with facts", tmp_path)

    assert isinstance(reply, Reply)
    answer = msgspec.json.decode(reply.body)
    assert (answer["model"], answer["seed"], answer["usage"]) == ("my-film-2", 7, {"frames": 12})
    assert "mood" not in answer
    assert reply.usage == b'{"frames":12}'
    assert [made.name for made in reply.made] == ["sunrise.mp4", "thumbnail.webp", "spritesheet.webp"]
    assert reply.made[1].path.read_bytes() == b"mine"


async def test_without_ffmpeg_a_video_has_no_facts_and_no_stills_but_is_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_clip(tmp_path / "sunrise.mp4", seconds=1, size=(64, 48), fps=12)
    monkeypatch.setattr("raincheck.upstream.media.ffmpeg.program", lambda: None)
    reply = await filmed("a path", tmp_path)

    assert isinstance(reply, Reply)
    assert reply.body == b'{"object":"video","model":"m"}'
    assert [made.name for made in reply.made] == ["sunrise.mp4"]


@pytest.mark.parametrize(
    ("how", "words"), [("cut off", "sunrise.mp4"), ("odd facts", "cannot be used"), ("nothing", "return the path")]
)
async def test_what_is_no_video_fails_for_good_and_says_so(how: str, words: str, tmp_path: Path) -> None:
    failure = await filmed(how, tmp_path)

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "handler_result_invalid")
    assert words in failure.error.message

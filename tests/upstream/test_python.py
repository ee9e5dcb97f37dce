"""The python upstream with real handlers: the functions of this file, found by its name."""

import asyncio
import importlib.util
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from raincheck.core.errors import SettingsInvalid, UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply
from raincheck.upstream.python import Busy, Job, PythonUpstream, Reject
from tests.upstream.reports import KeptReport, some_work

Json = dict[str, Any]


@asynccontextmanager
async def serving(handler: str, *, max_concurrency: int = 4) -> AsyncGenerator[PythonUpstream]:
    name = handler if ":" in handler else f"{__name__}:{handler}"
    upstream = PythonUpstream(name="py", handler=name, models=["m", "other-*"], max_concurrency=max_concurrency)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


class Gate:
    """Lets a test hold a handler at a line of its own, and see it come and go."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.opened, self.left = threading.Event(), threading.Event()


gate = Gate()


@pytest.fixture(autouse=True)
def _gate() -> None:  # pyright: ignore[reportUnusedFunction]
    gate.reset()


def count_words(payload: Json, job: Job) -> Json:
    words = payload["text"].split()
    for number, word in enumerate(words, start=1):
        job.delta({"word": word})
        job.progress(number / len(words), f"{number} of {len(words)}")
    return {"words": len(words), "who": [job.request_id, job.operation, job.model, job.attempt], "usage": {"w": 2}}


async def count_words_async(payload: Json, job: Job) -> Json:
    await asyncio.sleep(0)
    return count_words(payload, job)


class Counter:
    async def __call__(self, payload: Json, job: Job) -> Json:
        return count_words(payload, job)


counter = Counter()


@pytest.mark.parametrize("handler", ["count_words", "count_words_async", "counter"])
async def test_a_handler_answers_and_is_heard_on_the_way(handler: str):
    report = KeptReport()
    async with serving(handler) as upstream:
        reply = await upstream.perform(some_work(text="so long"), report)

    assert isinstance(reply, Reply)
    answer = msgspec.json.decode(reply.body)
    assert answer["words"] == 2
    assert answer["who"] == ["req_1", "chat.completion", "m", 1]
    assert (reply.status, reply.content_type, reply.usage) == (200, "application/json", b'{"w":2}')
    assert report.deltas == [{"word": "so"}, {"word": "long"}]
    assert report.progresses == [(0.5, "1 of 2"), (1.0, "2 of 2")]


def without_a_job(payload: Json) -> Json:
    return {"got": payload["text"], "usage": None}


async def test_the_second_parameter_may_be_left_out():
    async with serving("without_a_job") as upstream:
        reply = await upstream.perform(some_work(text="x"), KeptReport())

    assert reply == Reply(b'{"got":"x","usage":null}')


def returns(payload: Json) -> Any:
    return {
        "text": '{"a": 1.0, "usage": {"b": 2}}',
        "bytes": b' {"b": [1, 2]}',
        "list": [1, 2],
        "null": None,
        "rich": {"at": datetime(2030, 1, 2, tzinfo=UTC)},
        "object": object(),
        "no json": "hello",
        "cut off": '{"a": [1, 2',
        "not utf-8": b'"\xff\xfe"',
        "a surrogate": {"a": "\ud800"},
    }[payload["text"]]


@pytest.mark.parametrize(
    ("what", "body", "usage"),
    [
        ("text", b'{"a": 1.0, "usage": {"b": 2}}', b'{"b": 2}'),
        ("bytes", b' {"b": [1, 2]}', None),
        ("rich", b'{"at":"2030-01-02T00:00:00Z"}', None),
    ],
)
async def test_json_text_is_passed_on_as_it_is_and_rich_values_are_written(what: str, body: bytes, usage: bytes | None):
    async with serving("returns") as upstream:
        assert await upstream.perform(some_work(text=what), KeptReport()) == Reply(body, usage=usage)


@pytest.mark.parametrize("what", ["object", "no json", "cut off", "not utf-8", "a surrogate", "list", "null"])
async def test_a_completion_that_is_no_json_object_fails_for_good_and_says_so(what: str):
    async with serving("returns") as upstream:
        failure = await upstream.perform(some_work(text=what), KeptReport())

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code) == (FailureKind.REJECTED, "handler_result_invalid")
    assert "JSON" in failure.error.message


def raises(payload: Json) -> Json:
    match payload["text"]:
        case "reject":
            raise Reject("too long", code="prompt_too_long", status=422)
        case "busy":
            raise Busy(retry_after=2.5)
        case "exit":
            sys.exit(3)
        case _:
            raise ValueError("odd")


async def raises_async(payload: Json) -> Json:
    if payload["text"] == "cancel":
        raise asyncio.CancelledError
    return raises(payload)


@pytest.mark.parametrize("handler", ["raises", "raises_async"])
@pytest.mark.parametrize(
    ("how", "kind", "code", "message", "retry_after"),
    [
        ("reject", FailureKind.REJECTED, "prompt_too_long", "too long", None),
        ("busy", FailureKind.BUSY, "handler_busy", "The handler is busy.", 2_500_000),
        ("error", FailureKind.TRANSIENT, "handler_error", "ValueError: odd", None),
        ("exit", FailureKind.TRANSIENT, "handler_error", "SystemExit: 3", None),
    ],
)
async def test_what_a_handler_raises_says_whether_to_try_again(
    handler: str, how: str, kind: FailureKind, code: str, message: str, retry_after: int | None
):
    async with serving(handler) as upstream:
        failure = await upstream.perform(some_work(text=how), KeptReport())
        again = await upstream.perform(some_work(text=how), KeptReport())

    assert isinstance(failure, Failure)
    assert (failure.kind, failure.error.code, failure.error.message) == (kind, code, message)
    assert failure.retry_after == retry_after
    assert failure.error.upstream is not None
    assert failure.error.upstream.status == (422 if how == "reject" else None)
    assert again == failure


async def test_a_handler_that_cancels_itself_is_tried_again():
    async with serving("raises_async") as upstream:
        failure = await upstream.perform(some_work(text="cancel"), KeptReport())

    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TRANSIENT


def blocks(payload: Json, job: Job) -> Json:
    job.progress(None, "here")
    gate.opened.wait(10)
    job.progress(1.0, "late")
    gate.left.set()
    return {}


async def blocks_async(payload: Json, job: Job) -> Json:
    return blocks(payload, job)


@pytest.mark.parametrize("handler", ["blocks", "blocks_async"])
async def test_a_handler_that_blocks_holds_up_nobody_else(handler: str):
    report = KeptReport()
    async with serving(handler) as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(), report))
        await report.said_something.wait()
        gate.opened.set()

        assert await performing == Reply(b"{}")


def polls(payload: Json, job: Job) -> Json:
    job.progress(0.1)
    try:
        while not job.wait_cancelled(5):
            pass
        try:
            job.raise_if_cancelled()
        except Exception:  # noqa: BLE001
            gate.opened.set()  # must not happen: a handler's catch-all lets the cancel through
        return {}
    finally:
        gate.left.set()


async def waits(payload: Json, job: Job) -> Json:
    job.progress(0.1)
    try:
        await asyncio.sleep(60)
    finally:
        gate.left.set()
    return {}


@pytest.mark.parametrize("handler", ["polls", "waits"])
async def test_cancelling_stops_the_handler_before_it_returns_g5(handler: str):
    report = KeptReport()
    async with serving(handler, max_concurrency=1) as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(), report))
        await report.said_something.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing

        assert gate.left.is_set()
        assert not gate.opened.is_set()


@pytest.mark.parametrize("handler", ["polls", "waits"])
async def test_cancelling_before_the_handler_has_begun_gives_the_place_back(handler: str):
    async with serving(handler, max_concurrency=1) as upstream:
        for _ in range(20):
            performing = asyncio.create_task(upstream.perform(some_work(), KeptReport()))
            await asyncio.sleep(0)
            performing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await performing


@pytest.mark.parametrize("handler", ["blocks", "blocks_async"])
async def test_a_handler_that_never_looks_keeps_its_place_until_it_returns(
    handler: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("raincheck.upstream.python.upstream.GRACE", 0.01)
    report = KeptReport()
    async with serving(handler, max_concurrency=1) as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(), report))
        await report.said_something.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing

        refused = await upstream.perform(some_work(), KeptReport())
        assert isinstance(refused, Failure)
        assert (refused.kind, refused.error.code) == (FailureKind.BUSY, "handler_busy")

        gate.opened.set()
        await asyncio.to_thread(gate.left.wait, 5)
        while isinstance(reply := await upstream.perform(some_work(), KeptReport()), Failure):
            await asyncio.sleep(0)
        assert reply == Reply(b"{}")
    assert report.progresses == [(None, "here")], "what is said after the cancel is not passed on"


async def test_no_more_calls_run_than_there_are_places():
    reports = [KeptReport(), KeptReport()]
    async with serving("blocks", max_concurrency=2) as upstream:
        running = [asyncio.create_task(upstream.perform(some_work(), report)) for report in reports]
        for report in reports:
            await report.said_something.wait()
        third = await upstream.perform(some_work(), KeptReport())
        gate.opened.set()

        assert isinstance(third, Failure)
        assert third.kind is FailureKind.BUSY
        assert await asyncio.gather(*running) == [Reply(b"{}")] * 2


def remembers(payload: Json, job: Job) -> Json:
    before = job.remote_id
    job.remember("job-7")
    return {"before": before, "after": job.remote_id}


async def test_a_remote_id_is_recorded_before_the_handler_goes_on_g4():
    report = KeptReport()
    async with serving("remembers") as upstream:
        reply = await upstream.perform(some_work(), report)

    assert report.remotes == ["job-7"]
    assert reply == Reply(b'{"before":null,"after":"job-7"}')


def odd_progress(payload: Json, job: Job) -> Json:
    for fraction in (-1, 7, float("nan"), None):
        job.progress(fraction)
    return {}


async def test_progress_stays_between_nothing_and_all():
    report = KeptReport()
    async with serving("odd_progress") as upstream:
        await upstream.perform(some_work(), report)

    assert [fraction for fraction, _ in report.progresses] == [0.0, 1.0, None, None]


async def test_it_lists_the_configured_models_and_no_patterns():
    async with serving("count_words") as upstream:
        assert await upstream.probe() == {"m"}


async def test_once_closed_nothing_is_begun():
    async with serving("count_words") as upstream:
        pass
    await upstream.close()

    failure = await upstream.perform(some_work(text="x"), KeptReport())
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.UNREACHABLE
    with pytest.raises(UpstreamDown):
        await relayed(upstream, some_work(text="x").payload)


async def test_closing_ends_the_calls_of_an_async_handler():
    report = KeptReport()
    async with serving("waits") as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(), report))
        await report.said_something.wait()
    failure = await performing

    assert gate.left.is_set()
    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TRANSIENT


def two_arguments_too_many(a: int, b: int, c: int) -> None: ...


not_a_function = 5


@pytest.mark.parametrize(
    ("handler", "words"),
    [
        ("no_colon", "module:function"),
        ("no_such_module_at_all:f", "no module 'no_such_module_at_all'"),
        (f"{__name__}:no_such_function", f"module {__name__!r} has no 'no_such_function'"),
        (f"{__name__}:not_a_function", "is no function but int"),
        (f"{__name__}:two_arguments_too_many", "must take (payload) or (payload, job)"),
        ("broken_on_import:f", "importing 'broken_on_import' failed with ZeroDivisionError"),
        ("imports_the_missing:f", "its module imports 'not_installed_here'"),
    ],
)
async def test_a_handler_that_cannot_be_had_is_named_at_start(
    handler: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "broken_on_import.py").write_text("1 / 0")
    (tmp_path / "imports_the_missing.py").write_text("import not_installed_here")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    upstream = PythonUpstream(name="py", handler=handler, models=["m"])

    with pytest.raises(SettingsInvalid) as raised:
        await upstream.start()
    assert words in str(raised.value)
    assert handler in str(raised.value)


async def test_a_handler_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "just_here.py").write_text("class Box:\n    f = staticmethod(lambda payload: {'here': True})\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    async with serving("just_here:Box.f") as upstream:
        assert await upstream.perform(some_work(), KeptReport()) == Reply(b'{"here":true}')


async def test_a_handler_needs_models():
    with pytest.raises(SettingsInvalid, match="names no models"):
        await PythonUpstream(name="py", handler=f"{__name__}:count_words", models=[]).start()


async def relayed(upstream: PythonUpstream, payload: bytes) -> tuple[int, Json, Json]:
    async with upstream.relay("/chat/completions", payload) as answer:
        body = b"".join([piece async for piece in answer.body])
        return answer.status, dict(answer.headers), msgspec.json.decode(body)


async def test_a_waiting_caller_gets_the_answer_at_once():
    async with serving("count_words") as upstream:
        status, headers, body = await relayed(upstream, some_work(text="one two").payload)

    assert (status, headers) == (200, {"content-type": "application/json"})
    assert body["words"] == 2
    assert body["who"][1:] == ["chat.completion", "m", 1]


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [("reject", 422, "prompt_too_long"), ("busy", 429, "handler_busy"), ("error", 500, "handler_error")],
)
async def test_a_waiting_caller_gets_errors_in_the_usual_envelope(how: str, status: int, code: str):
    async with serving("raises") as upstream:
        told, headers, body = await relayed(upstream, some_work(text=how).payload)

    assert (told, body["error"]["code"]) == (status, code)
    assert headers.get("retry-after") == ("3" if how == "busy" else None)


async def test_a_waiting_caller_that_wants_a_stream_is_told_what_to_do():
    async with serving("count_words") as upstream:
        status, _, body = await relayed(upstream, some_work(text="x", stream=True).payload)

    assert status == 400
    assert "defer the request" in body["error"]["message"]


def example() -> ModuleType:
    """examples/handler.py as a module, with frames that take no time."""
    path = Path(__file__).parents[2] / "examples" / "handler.py"
    spec = importlib.util.spec_from_file_location("example_handler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


async def test_the_example_renders_with_progress(monkeypatch: pytest.MonkeyPatch):
    module = example()
    monkeypatch.setattr(module, "SECONDS_PER_FRAME", 0)
    monkeypatch.setitem(sys.modules, "example_handler", module)
    report = KeptReport()
    async with serving("example_handler:render") as upstream:
        reply = await upstream.perform(some_work(prompt="a harbour", frames=3), report)
        refused = await upstream.perform(some_work(prompt="a harbour", frames=0), KeptReport())

    assert isinstance(reply, Reply)
    assert reply.usage == b'{"frames":3}'
    assert msgspec.json.decode(reply.body)["frames"] == [delta["colour"] for delta in report.deltas]
    assert report.progresses[-1] == (1.0, "frame 3 of 3")
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.error.code) == (FailureKind.REJECTED, "frames_out_of_range")


async def test_the_example_stops_when_it_is_cancelled_g5(monkeypatch: pytest.MonkeyPatch):
    module = example()
    monkeypatch.setattr(module, "SECONDS_PER_FRAME", 0.01)
    monkeypatch.setitem(sys.modules, "example_handler", module)
    report = KeptReport()
    async with serving("example_handler:render", max_concurrency=1) as upstream:
        performing = asyncio.create_task(upstream.perform(some_work(prompt="a harbour", frames=240), report))
        await report.said_something.wait()
        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
        frames = len(report.deltas)
        after = await upstream.perform(some_work(prompt="a harbour", frames=1), KeptReport())

    assert isinstance(after, Reply), "its place is free again"
    assert len(report.deltas) == frames < 240

"""The embedded model: the real one, in its child process; and children that cannot start, in real processes too."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import msgspec
import pytest
import pytest_asyncio

from raincheck.core.errors import ModelUnavailable, UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Reply
from raincheck.upstream.local import weights
from raincheck.upstream.local.server import LocalModel
from raincheck.upstream.local.upstream import LocalUpstream
from tests.upstream.openai_calls import Told
from tests.upstream.reports import KeptReport, some_work
from tests.upstream.responses_calls import a_response, response_of, told_by

# One worker of a parallel run is to run them all: several models at once on few cores measure only each other.
pytestmark = pytest.mark.xdist_group("model")

MODEL = "smollm2-135m"
Json = dict[str, Any]


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The weights, fetched once for this user and checked."""
    return weights.pull(offline=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(gguf: Path) -> AsyncGenerator[LocalUpstream]:
    """An embedded model for the tests that leave it as they found it."""
    async with serving() as upstream:
        yield upstream


@asynccontextmanager
async def serving(**options: Any) -> AsyncGenerator[LocalUpstream]:
    upstream = LocalUpstream(**options)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


def ask(text: str, **options: Any) -> Json:
    options.setdefault("max_tokens", 12)
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], **options}


async def answered(upstream: LocalUpstream, payload: Json) -> Json:
    reply = await upstream.perform(some_work(**payload), KeptReport())
    assert isinstance(reply, Reply), reply
    return msgspec.json.decode(reply.body)


async def busy_slots(upstream: LocalUpstream) -> int:
    assert upstream.served is not None
    connector = aiohttp.UnixConnector(str(upstream.served.socket))
    async with aiohttp.ClientSession(connector=connector) as session, session.get("http://localhost/slots") as response:
        slots = await response.json()
    return sum(slot["is_processing"] for slot in slots)


@pytest.mark.model
@pytest.mark.slow("runs the embedded model")
@pytest.mark.asyncio(loop_scope="module")
class TestTheRealModel:
    async def test_it_answers_with_a_reason_for_the_end_and_usage(self, shared: LocalUpstream):
        report = KeptReport()
        reply = await shared.perform(some_work(**ask("Say hello.")), report)

        assert isinstance(reply, Reply)
        answer = msgspec.json.decode(reply.body)
        assert answer["model"] == MODEL
        assert answer["choices"][0]["message"]["content"]
        assert answer["choices"][0]["finish_reason"] in {"stop", "length"}
        assert answer["usage"]["completion_tokens"] > 0
        assert reply.usage is not None
        assert report.deltas

    async def test_it_lists_its_one_model(self, shared: LocalUpstream):
        assert await shared.probe() == {MODEL}

    async def test_the_same_seed_gives_the_same_answer(self, shared: LocalUpstream):
        question = ask("Name a colour.", temperature=0, seed=7)
        first, second = [await answered(shared, question) for _ in range(2)]

        assert first["choices"][0]["message"] == second["choices"][0]["message"]

    async def test_a_json_schema_is_kept_to(self, shared: LocalUpstream):
        class Person(msgspec.Struct, forbid_unknown_fields=True):
            name: Annotated[str, msgspec.Meta(max_length=20)]
            adult: bool

        schema = {"name": "person", "schema": msgspec.json.schema(Person)["$defs"]["Person"], "strict": True}
        payload = ask(
            "Anna is 42.", max_tokens=80, temperature=0, response_format={"type": "json_schema", "json_schema": schema}
        )
        answer = await answered(shared, payload)

        assert answer["choices"][0]["finish_reason"] == "stop"
        msgspec.json.decode(answer["choices"][0]["message"]["content"], type=Person)

    async def test_a_prompt_that_is_too_long_is_refused_for_good_in_its_own_words(self, shared: LocalUpstream):
        failure = await shared.perform(some_work(**ask("word " * 5000)), KeptReport())

        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.REJECTED
        upstream = failure.error.upstream
        assert upstream is not None
        assert upstream.status == 400
        assert isinstance(upstream.body, msgspec.Raw)
        theirs = msgspec.json.decode(upstream.body)["error"]
        assert theirs["type"] == "exceed_context_size_error"
        assert theirs["n_prompt_tokens"] > theirs["n_ctx"] == 4096

    @pytest.mark.parametrize(
        ("content", "path", "status"),
        [
            ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], "/chat/completions", 500),
            ("x", "/embeddings", 501),
        ],
        ids=["an image", "embeddings"],
    )
    async def test_what_it_cannot_do_is_not_tried_again(
        self, content: Any, path: str, status: int, shared: LocalUpstream
    ):
        work = replace(some_work(**ask(content, input="x")), path=path)
        failure = await shared.perform(work, KeptReport())

        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.REJECTED
        assert failure.error.upstream is not None
        assert failure.error.upstream.status == status

    @pytest.mark.parametrize(
        "more",
        [
            {"tools": [{"type": "function"}]},
            {"tool_choice": "required"},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ],
    )
    async def test_tools_are_refused_rather_than_ignored(self, more: Json, shared: LocalUpstream):
        payload = ask("Call it.", **more)
        failure = await shared.perform(some_work(**payload), KeptReport())

        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.REJECTED
        assert failure.error.message == "the embedded model has no tool calling; use another upstream"
        async with shared.relay("/chat/completions", msgspec.json.encode(payload)) as relayed:
            assert relayed.status == 400
            body = b"".join([piece async for piece in relayed.body])
        assert msgspec.json.decode(body)["error"]["code"] == "tools_not_supported"

    async def test_no_tools_may_be_said_in_words(self, shared: LocalUpstream):
        assert await answered(shared, ask("Hi.", tools=[], tool_choice="none", max_tokens=2))

    async def test_cancelling_frees_its_slot_within_two_seconds_g5(self, shared: LocalUpstream):
        report = KeptReport()
        work = some_work(**ask("Tell a very long story.", max_tokens=3000, ignore_eos=True))
        performing = asyncio.create_task(shared.perform(work, report))
        await report.said_something.wait()
        assert await busy_slots(shared) == 1

        performing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await performing
        async with asyncio.timeout(2):
            while await busy_slots(shared):
                await asyncio.sleep(0.02)

    async def test_a_waiting_caller_gets_the_stream_as_it_comes(self, shared: LocalUpstream):
        payload = msgspec.json.encode(ask("Say hello.", stream=True))
        async with shared.relay("/chat/completions", payload) as relayed:
            body = b"".join([piece async for piece in relayed.body])

        assert relayed.status == 200
        assert relayed.headers["content-type"].startswith("text/event-stream")
        assert body.rstrip().endswith(b"data: [DONE]")

    async def test_only_this_user_can_reach_it(self, shared: LocalUpstream):
        assert shared.served is not None
        assert shared.served.socket.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.model
@pytest.mark.slow("asks the model")
@pytest.mark.asyncio(loop_scope="module")
async def test_responses_are_right_where_llama_cpp_alone_gets_them_wrong(shared: LocalUpstream) -> None:
    """Its own Responses API leaves out structured output, and calls an answer complete that was cut short."""
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]}
    form = {"type": "json_schema", "name": "colour", "schema": schema | {"additionalProperties": False}}
    asked: dict[str, Any] = {"model": MODEL, "input": "Name a colour.", "temperature": 0}
    report = Told()
    chosen = response_of(await shared.perform(a_response(**asked, text={"format": form}), report))
    cut_short = response_of(await shared.perform(a_response(**asked, max_output_tokens=2), Told()))

    assert json.loads(chosen["output"][0]["content"][0]["text"])["colour"] in ("red", "blue")
    assert told_by(report)[-1]["response"] == chosen
    assert chosen["usage"]["output_tokens"] > 0
    assert (cut_short["status"], cut_short["usage"]["output_tokens"]) == ("incomplete", 2)


@pytest.mark.slow("starts the embedded model twice")
async def test_a_model_that_was_killed_is_started_again_and_serves(gguf: Path):
    async with serving() as upstream:
        served = upstream.served
        assert served is not None
        first = served.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        while not served.down:
            await asyncio.sleep(0.005)

        with pytest.raises(UpstreamDown, match="killed by SIGKILL"):
            await upstream.probe()
        with pytest.raises(UpstreamDown):
            upstream.relay("/chat/completions", b"{}")
        refused = await upstream.perform(some_work(**ask("Hi.")), KeptReport())
        assert isinstance(refused, Failure)
        assert refused.kind is FailureKind.UNREACHABLE

        while served.down:
            await asyncio.sleep(0.01)
        assert served.restarts == 1
        assert served.pid not in {None, first}
        assert await answered(upstream, ask("Hi.", max_tokens=2))


@pytest.mark.model
@pytest.mark.slow("starts the embedded model")
async def test_work_under_way_when_the_model_dies_is_worth_another_try(gguf: Path):
    report = KeptReport()
    async with serving() as upstream:
        assert upstream.served is not None
        work = some_work(**ask("Tell a long story.", max_tokens=3000, ignore_eos=True))
        performing = asyncio.create_task(upstream.perform(work, report))
        await report.said_something.wait()
        assert upstream.served.pid is not None
        os.kill(upstream.served.pid, signal.SIGKILL)
        failure = await performing

    assert isinstance(failure, Failure)
    assert failure.kind is FailureKind.TRANSIENT


@pytest.mark.model
@pytest.mark.slow("starts the embedded model")
async def test_a_model_of_the_users_is_called_like_its_file_and_may_have_tools(gguf: Path, tmp_path: Path):
    own = tmp_path / "My-Model.gguf"
    own.symlink_to(gguf)
    async with serving(model_path=str(own), name="mine") as upstream:
        assert await upstream.probe() == {"my-model"}
        assert await answered(upstream, ask("Hi.", tool_choice="required", max_tokens=2))
        assert upstream.served is not None
        folder, pid = upstream.served.socket.parent, upstream.served.pid

    assert not folder.exists()
    assert pid is not None
    assert not alive(pid)


_PARENT = """
import asyncio
from raincheck.upstream.local.upstream import LocalUpstream

async def main():
    upstream = LocalUpstream()
    await upstream.start()
    print(upstream.served.pid, upstream.served.socket.parent, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.model
@pytest.mark.slow("starts the embedded model")
def test_when_the_parent_is_killed_the_child_goes_too_and_leaves_nothing(gguf: Path):
    with subprocess.Popen([sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, folder = parent.stdout.readline().split()
        assert alive(int(pid))
        parent.kill()
    give_up = time.monotonic() + 2

    while alive(int(pid)):
        assert time.monotonic() < give_up, "the child outlived its parent"
        time.sleep(0.01)
    assert not Path(folder).exists()


@pytest.mark.model
@pytest.mark.slow("starts a child")
async def test_a_file_that_was_cut_off_is_said_so(gguf: Path, tmp_path: Path):
    cut_off = tmp_path / "cut-off.gguf"
    with gguf.open("rb") as whole:
        cut_off.write_bytes(whole.read(1 << 20))

    with pytest.raises(ModelUnavailable, match=r"cut-off\.gguf could not be loaded; is it whole"):
        await LocalUpstream(model_path=str(cut_off)).start()


async def test_a_file_that_is_no_gguf_is_said_so(tmp_path: Path):
    (tmp_path / "model.gguf").write_text("not a model")

    with pytest.raises(ModelUnavailable, match="is not a GGUF file"):
        await LocalUpstream(model_path=str(tmp_path / "model.gguf")).start()
    with pytest.raises(ModelUnavailable, match="cannot be read: No such file"):
        await LocalUpstream(model_path=str(tmp_path / "missing.gguf")).start()


async def test_without_weights_and_offline_it_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAINCHECK_MODEL_DIR", str(tmp_path))

    with pytest.raises(ModelUnavailable, match="raincheck model pull"):
        await LocalUpstream(offline=True).start()


async def test_before_its_start_it_is_down():
    upstream = LocalUpstream()

    with pytest.raises(UpstreamDown):
        await upstream.probe()
    await upstream.close()


def a_runtime(folder: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> LocalModel:
    """A model whose child imports this in place of the real runtime."""
    (folder / "xllamacpp.py").write_text(source)
    (folder / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return LocalModel(folder / "model.gguf", alias="m")


@pytest.mark.slow("starts a child")
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ImportError('libgomp.so.1: cannot open shared object file')", "apt-get install libgomp1"),
        ("import this_is_not_installed", r"pip install 'raincheck\[local\]'"),
        ("raise ImportError('GLIBC_2.99 not found')", "cannot be loaded here: GLIBC_2.99 not found"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "CPU is too old"),
        ("import os; os._exit(7)", "exit status 7"),
    ],
    ids=["no libgomp", "not installed", "another library", "an old CPU", "a sudden end"],
)
async def test_a_runtime_that_cannot_run_here_is_said_so(
    source: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = a_runtime(tmp_path, monkeypatch, source)

    with pytest.raises(ModelUnavailable, match=words):
        await model.start()
    assert model.pid is None


@pytest.mark.slow("starts a child")
async def test_a_model_that_never_gets_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("raincheck.upstream.local.server.READY_WITHIN", 0.3)
    model = a_runtime(tmp_path, monkeypatch, "import time; time.sleep(60)")

    with pytest.raises(ModelUnavailable, match="did not get ready"):
        await model.start()
    assert model.pid is None


@pytest.mark.slow("starts a child")
async def test_a_start_that_is_cancelled_leaves_no_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = a_runtime(tmp_path, monkeypatch, "import time; time.sleep(60)")
    starting = asyncio.create_task(model.start())
    while model.pid is None:
        await asyncio.sleep(0.01)
    pid = model.pid
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting

    assert not alive(pid)


_DIES_ONCE = """
import os, signal, threading, types
from pathlib import Path

starts = Path(__file__).with_name("starts")
starts.open("a").write("x")

class CommonParams(types.SimpleNamespace):
    def __init__(self):
        some = types.SimpleNamespace
        super().__init__(model=some(), cpuparams=some(), cpuparams_batch=some())

def Server(params):
    print("native code prints", flush=True)
    number = len(starts.read_text())
    if number == 1:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGKILL)).start()
    if number == 2:
        raise RuntimeError("init failed")
    return params
"""


@pytest.mark.slow("starts three children")
async def test_a_restart_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = a_runtime(tmp_path, monkeypatch, _DIES_ONCE)
    await model.start()
    reasons: set[str] = set()
    while model.restarts < 2 or model.down:
        if model.down:
            reasons.add(model.down)
        await asyncio.sleep(0.01)
    await model.close()

    assert any("killed by SIGKILL" in reason for reason in reasons)
    assert any("llama.cpp said: native code prints" in reason for reason in reasons)


def alive(pid: int) -> bool:
    """True while there is a process by that id that is no zombie."""
    with suppress(FileNotFoundError, ProcessLookupError):
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[-1].split()[0]
        return state != "Z"
    return False

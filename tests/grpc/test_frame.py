"""What holds for every call, whatever its service."""

import asyncio
import gc
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote
from weakref import ref

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from xai_sdk.client import _DEFAULT_CHANNEL_OPTIONS as SDK_OPTIONS  # pyright: ignore[reportPrivateUsage]

from raincheck.app import grpc_edge
from raincheck.core.canonical import Canonical
from raincheck.core.errors import BadInput, Stopping
from raincheck.grpc import methods, server
from raincheck.grpc.call import Call
from raincheck.grpc.methods import Method
from raincheck.grpc.problems import LARGEST, Problem
from raincheck.grpc.server import listening
from raincheck.http.edge import Edge
from tests.grpc.server import RunningGrpc, reason_of, running_grpc
from tests.server import running_server
from tests.stories.processes import free_port

MIB = 1 << 20


class Held:
    """Something that a handler has while it is at work."""

    name = "q"


@dataclass
class Probe:
    """A service that does as a test needs it, and remembers what became of it."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    calls: list[Call] = field(default_factory=list[Call])
    crashes: list[tuple[Exception, str]] = field(default_factory=list[tuple[Exception, str]])
    made: int = 0
    kept: list["ref[Held]"] = field(default_factory=list["ref[Held]"])

    def note(self, error: Exception, request_id: str) -> None:
        self.crashes.append((error, request_id))

    async def echo(self, call: Call, message: BytesValue) -> BytesValue:
        self.calls.append(call)
        return message

    async def swell(self, call: Call, message: BytesValue) -> BytesValue:
        return BytesValue(value=bytes(LARGEST))

    async def complain(self, call: Call, message: BytesValue) -> BytesValue:
        self.calls.append(call)
        self.kept.append(ref(held := Held()))
        raise BadInput("\u9519" * 9_000, param=f"p{held.name}" * int(message.value))

    async def crash(self, call: Call, message: BytesValue) -> BytesValue:
        raise ZeroDivisionError("the secret of a handler")

    async def refuse(self, call: Call, message: BytesValue) -> BytesValue:
        self.calls.append(call)
        if call.retry < 2:
            raise Stopping(retry_after=0.5)
        return message

    async def hang(self, call: Call, message: BytesValue) -> BytesValue:
        self.calls.append(call)
        await asyncio.Event().wait()
        return message

    async def wait(self, call: Call, message: BytesValue) -> BytesValue:
        self.calls.append(call)
        self.begun.set()
        try:
            await self.stop.wait()
        finally:
            self.left.set()
        return message

    async def count(self, call: Call, message: BytesValue) -> AsyncGenerator[BytesValue]:
        """Megabytes without end."""
        self.begun.set()
        try:
            while True:
                self.made += 1
                yield BytesValue(value=bytes(MIB))
                await asyncio.sleep(0)
        finally:
            self.left.set()

    async def crash_midway(self, call: Call, message: BytesValue) -> AsyncGenerator[BytesValue]:
        yield message
        raise ZeroDivisionError("the secret of a handler")

    async def gather(self, call: Call, messages: Any) -> BytesValue:
        return BytesValue(value=bytes([len(message.value) async for message in messages]))

    @property
    def methods(self) -> dict[str, Method]:
        return {
            "/xai_api.Probe/Echo": Method(BytesValue, answer=self.echo),
            "/xai_api.Probe/Swell": Method(BytesValue, answer=self.swell),
            "/xai_api.Probe/Complain": Method(BytesValue, answer=self.complain),
            "/xai_api.Probe/Crash": Method(BytesValue, answer=self.crash),
            "/xai_api.Probe/Refuse": Method(BytesValue, answer=self.refuse),
            "/xai_api.Probe/Hang": Method(BytesValue, answer=self.hang),
            "/xai_api.Probe/Wait": Method(BytesValue, answer=self.wait),
            "/xai_api.Probe/Count": Method(BytesValue, stream=self.count),
            "/xai_api.Probe/CrashMidway": Method(BytesValue, stream=self.crash_midway),
            "/xai_api.Probe/Gather": Method(BytesValue, gather=self.gather),
        }


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    made = Probe()
    monkeypatch.setattr(server, "METHODS", made.methods)
    return made


@asynccontextmanager
async def probing(folder: Path, probe: Probe) -> AsyncGenerator[tuple[RunningGrpc, Any]]:
    """The server with only the probe on its port, and a channel with the xai-sdk's own options."""

    def change(edge: Edge) -> Edge:
        return replace(edge, crashed=probe.note)

    async with (
        running_grpc(folder, change=change) as running,
        grpc.aio.insecure_channel(running.host, SDK_OPTIONS) as channel,
    ):
        yield running, channel


@asynccontextmanager
async def deaf(port: int, gone: asyncio.Event) -> AsyncGenerator[int]:
    """The port of a relay that passes nothing on any more, and hangs up on nobody, once its callers are `gone`."""

    async def relay(near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, forth = await asyncio.open_connection("127.0.0.1", port)
        try:
            with suppress(ConnectionError):
                await asyncio.gather(copy(near, forth), copy(far, back))
        finally:
            back.transport.abort()
            forth.transport.abort()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if not gone.is_set():
                target.write(data)

    listener = await asyncio.start_server(relay, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()


def ask(channel: Any, method: str, data: bytes = b"", **options: Any) -> Any:
    """A call with one message, which is answered with one."""
    return channel.unary_unary(f"/xai_api.Probe/{method}")(BytesValue(value=data).SerializeToString(), **options)


def stream_of(channel: Any, method: str, data: bytes = b"") -> Any:
    return channel.unary_stream(f"/xai_api.Probe/{method}")(BytesValue(value=data).SerializeToString())


def told_last(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    """What came with the status."""
    trailing: Any = error.trailing_metadata()
    return dict(trailing)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_what_is_not_served_says_what_is(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.client().tokenize.tokenize_text("hello", model="m")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "Tokenize/TokenizeText" in (caught.value.details() or "")
        assert reason_of(caught.value)[0] == "unimplemented"
        with pytest.raises(grpc.RpcError) as blocking:
            await asyncio.to_thread(server.sync_client().tokenize.tokenize_text, "hello", "m")
        assert reason_of(blocking.value)[0] == "unimplemented"


async def test_every_answer_says_under_which_name_the_log_knows_it(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        good = ask(channel, "Echo", b"hello")
        assert BytesValue.FromString(await good).value == b"hello"
        assert dict(await good.trailing_metadata())["x-request-id"] == probe.calls[0].request_id
        bad = await refusal(ask(channel, "Nothing"))
        assert bad.code() is grpc.StatusCode.UNIMPLEMENTED
        assert str(told_last(bad)["x-request-id"]).startswith("call_")


async def test_a_crash_is_logged_and_told_without_details(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        told = await refusal(ask(channel, "Crash"))
        assert told.code() is grpc.StatusCode.INTERNAL
        assert "x-request-id" in (told.details() or "")
        assert "secret" not in f"{told.details()}{told.trailing_metadata()}"
        [(error, call)] = probe.crashes
        assert isinstance(error, ZeroDivisionError)
        assert call == told_last(told)["x-request-id"]
        assert reason_of(told)[0] == "internal_error"


@pytest.mark.parametrize("length", [b"1", b"9000"])
async def test_an_error_of_any_length_reaches_the_caller_as_itself(tmp_path: Path, probe: Probe, length: bytes) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        told = await refusal(ask(channel, "Complain", length))
        assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (told.details() or "").endswith("\u9519…")
        assert reason_of(told) == ("invalid_request", {"param": "pq"} if length == b"1" else {})


def test_an_upstreams_answer_is_left_out_first_where_there_is_no_room() -> None:
    def told(body: str) -> dict[str, str]:
        more = {"upstream": "up", "upstream_body": body}
        problem = Problem(Canonical.INTERNAL, "\u9519" * 9_000, "code" * 9_000, more=more)
        status, info = Status.FromString(problem.details()), ErrorInfo()
        status.details[0].Unpack(info)
        assert len(quote(problem.text)) + len(b64encode(problem.details())) < 6 << 10
        return dict(info.metadata)

    assert told("short") == {"upstream": "up", "upstream_body": "short"}
    assert told("long" * 500) == {"upstream": "up"}


async def test_a_refused_call_is_let_go_of(tmp_path: Path, probe: Probe) -> None:
    """A message may have 20 MiB, and what stands in a circle waits long for the collector."""
    async with probing(tmp_path, probe) as (_, channel):
        gc.collect()
        gc.disable()
        try:
            await refusal(ask(channel, "Complain", b"1"))
            async with asyncio.timeout(5):
                while probe.kept[0]() is not None:
                    await asyncio.sleep(0.005)
        finally:
            gc.enable()


async def test_a_stream_that_crashes_midway_is_cut_with_a_status(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        stream = stream_of(channel, "CrashMidway", b"x")
        assert BytesValue.FromString(await stream.read()).value == b"x"
        told = await refusal(stream.read())
        assert told.code() is grpc.StatusCode.INTERNAL
        assert told_last(told)["x-request-id"] == probe.crashes[0][1]


@pytest.mark.parametrize("method", ["Echo", "Count", "Gather"])
async def test_what_is_no_message_is_refused(tmp_path: Path, probe: Probe, method: str) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        call = channel.unary_unary(f"/xai_api.Probe/{method}")
        told = await refusal(call(b"\xff" * 64))
        assert told.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "BytesValue" in (told.details() or "")
        assert not probe.crashes


async def test_many_messages_come_one_by_one(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        call = channel.stream_unary("/xai_api.Probe/Gather")
        messages = [BytesValue(value=bytes(size)).SerializeToString() for size in (3, 0, 2)]
        assert BytesValue.FromString(await call(iter(messages))).value == bytes((3, 0, 2))


async def test_a_message_beyond_its_tenants_cap_is_not_even_read(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (running, channel):
        await running.http.tenant("small", max_body_bytes=100)
        told = (("authorization", f"Bearer {await running.http.key('small')}"),)
        call = channel.unary_unary("/xai_api.Probe/Echo")
        assert reason_of(await refusal(call(b"\xff" * 101, metadata=told)))[0] == "request_too_large"
        assert reason_of(await refusal(call(b"\xff" * 100, metadata=told)))[0] == "invalid_request"


async def test_a_call_without_its_message_is_refused(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        call = channel.stream_unary("/xai_api.Probe/Echo")
        assert (await refusal(call(iter(())))).code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_that_does_not_come_is_not_waited_for(
    tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "READ_WITHIN", 0.05)
    monkeypatch.setattr(methods, "PIECE_WITHIN", 0.05)
    async with probing(tmp_path, probe) as (_, channel):
        for method in ("Echo", "Gather"):
            call = channel.stream_unary(f"/xai_api.Probe/{method}")()
            told = await refusal(call)
            assert (told.code(), reason_of(told)[0]) == (grpc.StatusCode.DEADLINE_EXCEEDED, "body_too_slow")


@pytest.mark.slow("carries tens of megabytes")
async def test_messages_of_19_mib_pass_both_ways_and_of_21_are_refused(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (running, channel):
        assert len(await ask(channel, "Echo", bytes(19 * MIB))) > 19 * MIB
        roomy = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(running.host, roomy) as other:
            told = await refusal(ask(other, "Echo", bytes(21 * MIB)))
            assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert str(LARGEST) in (told.details() or "")
        assert len(probe.calls) == 1
        assert not probe.crashes


async def test_an_answer_that_is_too_large_says_where_to_fetch_it(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        told = await refusal(ask(channel, "Swell"))
        assert told.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "GET /v1/requests/{id}/result" in (told.details() or "")


async def test_a_caller_who_leaves_ends_the_call(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        call = ask(channel, "Wait")
        await probe.begun.wait()
        call.cancel()
        async with asyncio.timeout(5):
            await probe.left.wait()
        assert not probe.crashes


@pytest.mark.slow("waits for a ping that is not answered")
async def test_a_caller_who_vanished_ends_the_call(
    tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection stands, but nobody is there any more."""
    hurried = dict(server.OPTIONS) | {"grpc.keepalive_time_ms": 200, "grpc.http2.ping_timeout_ms": 200}
    monkeypatch.setattr(server, "OPTIONS", tuple(hurried.items()))
    gone = asyncio.Event()
    async with (
        probing(tmp_path, probe) as (running, _),
        deaf(running.port, gone) as port,
        grpc.aio.insecure_channel(f"localhost:{port}") as channel,
    ):
        call = ask(channel, "Wait")
        await probe.begun.wait()
        gone.set()
        async with asyncio.timeout(10):
            await probe.left.wait()
        call.cancel()


@pytest.mark.slow("waits for pings")
async def test_a_caller_who_is_there_answers_pings_and_stays(
    tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    hurried = dict(server.OPTIONS) | {"grpc.keepalive_time_ms": 100, "grpc.http2.ping_timeout_ms": 200}
    monkeypatch.setattr(server, "OPTIONS", tuple(hurried.items()))
    async with probing(tmp_path, probe) as (running, channel), grpc.aio.insecure_channel(running.host) as plain:
        waiting = [ask(each, "Wait", b"x") for each in (channel, plain)]
        await probe.begun.wait()
        await asyncio.sleep(1.5)
        probe.stop.set()
        assert [BytesValue.FromString(await each).value for each in waiting] == [b"x", b"x"]
        await asyncio.sleep(1)  # Nothing is asked meanwhile.
        assert BytesValue.FromString(await ask(channel, "Echo", b"y")).value == b"y"


async def test_a_deadline_that_passes_ends_the_call(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        told = await refusal(ask(channel, "Wait", timeout=0.2))
        assert told.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(5):
            await probe.left.wait()
        assert not probe.crashes
        assert probe.calls[0].patience == 0


async def test_a_slow_reader_is_not_written_ahead_of_without_end(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        stream = stream_of(channel, "Count")
        assert len(await stream.read()) > MIB
        made = -1
        while made != probe.made:  # Until no more is made while nobody reads.
            made = probe.made
            await asyncio.sleep(0.1)
        assert made < 64
        stream.cancel()
        async with asyncio.timeout(5):
            await probe.left.wait()
        assert not probe.crashes


async def test_what_was_not_accepted_the_client_sends_again_by_itself(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (_, channel):
        assert BytesValue.FromString(await ask(channel, "Refuse", b"x")).value == b"x"
        assert [call.retry for call in probe.calls] == [0, 1, 2]


async def test_details_say_when_to_try_again(tmp_path: Path, probe: Probe) -> None:
    async with probing(tmp_path, probe) as (running, _), grpc.aio.insecure_channel(running.host) as channel:
        told = await refusal(ask(channel, "Refuse"))
        assert (told.code(), reason_of(told)) == (grpc.StatusCode.UNAVAILABLE, ("stopping", {}))
        status, again = Status.FromString(told_last(told)["grpc-status-details-bin"]), RetryInfo()
        status.details[1].Unpack(again)
        assert (status.code, again.retry_delay.ToMilliseconds()) == (14, 500)


@pytest.mark.slow("waits for a port to close")
async def test_a_port_that_closes_lets_calls_end_and_cuts_the_rest(
    tmp_path: Path, probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "CLOSE_WITHIN", 0.3)
    async with running_server(tmp_path, grpc_port=free_port()) as http:
        edge = grpc_edge(http.edge)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{edge.settings.grpc_port}") as channel:
            async with listening(edge, edge.settings):
                slow = ask(channel, "Wait", b"x")
                hung = ask(channel, "Hang")
                stream = stream_of(channel, "Count")
                await probe.begun.wait()
                assert await stream.read()
                reading = asyncio.create_task(rest(stream))
                asyncio.get_running_loop().call_later(0.1, probe.stop.set)
            assert BytesValue.FromString(await slow).value == b"x"
            for cut in (reading, hung):  # Not UNAVAILABLE: the client would send it again by itself.
                told = await refusal(cut)
                assert (told.code(), reason_of(told)[0]) == (grpc.StatusCode.ABORTED, "stopping")
            assert probe.left.is_set()
        assert not probe.crashes


async def rest(stream: Any) -> None:
    """Reads a stream to its end."""
    while await stream.read():
        pass


async def test_a_server_that_stops_takes_nothing_new_and_reads_go_on(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as running:
        client = running.client(channel_options=[("grpc.enable_retries", 0)])
        await running.http.app.stop()
        assert await client.models.list_language_models()
        told = await refusal(client.files.upload(b"x", filename="x"))
        assert (told.code(), reason_of(told)[0]) == (grpc.StatusCode.UNAVAILABLE, "stopping")

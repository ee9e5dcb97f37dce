"""Defer and wait against a scripted server on a real socket, blocking."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from openai import APIConnectionError, AuthenticationError, NotFoundError, RateLimitError
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion

from raincheck import (
    NoRequestId,
    Raincheck,
    Request,
    RequestCancelled,
    RequestExpired,
    RequestFailed,
    WaitStopped,
    WaitTimeout,
)
from tests.client.servers import (
    VERSION,
    Answer,
    Asked,
    FakeRaincheck,
    ScriptedServer,
    a_completion,
    a_record,
    the_original,
)

HELLO: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


def a_client(server: ScriptedServer, **options: Any) -> Raincheck:
    return Raincheck(base_url=server.url, api_key="rc_test", **options)


def soon(action: Callable[[], object], after: threading.Event) -> threading.Thread:
    """Do it in another thread once `after` has happened."""

    def act() -> None:
        assert after.wait(5)
        action()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_create_and_wait_returns_the_completion_the_moment_it_is_there() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        mover = soon(lambda: fake.move("completed"), fake.reading)
        began = time.monotonic()
        completion = client.chat.completions.create_and_wait(**HELLO)
        took = time.monotonic() - began
        mover.join()

    assert isinstance(completion, ChatCompletion)
    assert completion.choices[0].message.content == "hello"
    assert took < 2  # neither the interval nor the longest read
    [submit] = server.asked  # submitted, waited and collected in one exchange
    assert submit.path == "/v1/chat/completions"
    assert submit.body == {**HELLO, "deferred": True}
    assert submit.headers["authorization"] == "Bearer rc_test"
    assert submit.headers["prefer"] == "return=representation, wait=50"


def test_what_is_not_ready_in_the_first_exchange_is_waited_for_by_its_id() -> None:
    fake = FakeRaincheck()

    def answer(asked: Asked) -> Answer:
        # as from behind a proxy that holds no answer for long
        return Answer(200, fake.record, VERSION) if asked.method == "POST" else fake(asked)

    with ScriptedServer(answer) as server, a_client(server) as client:
        mover = soon(lambda: fake.move("completed"), fake.reading)
        completion = client.chat.completions.create_and_wait(**HELLO)
        mover.join()

    assert completion.id == "chatcmpl-1"
    _, poll = server.asked
    assert poll.headers["authorization"] == "Bearer rc_test"
    assert poll.query["since"] == "pending"
    assert 49 < float(poll.query["wait"]) <= 50


@pytest.mark.parametrize(
    ("timeout", "usual", "held", "read"),
    [(600, 600, 50, 600), (30, 600, 30, 32), (3, 600, 3, 10), (600, 8, 6, 8), (None, None, 50, None)],
)
def test_an_http_timeout_is_longer_than_what_the_server_may_hold(
    timeout: float | None, usual: float | None, held: float, read: float | None
) -> None:
    with (
        ScriptedServer(FakeRaincheck(status="completed")) as server,
        a_client(server, timeout=usual) as client,
    ):
        client.chat.completions.create_and_wait(**HELLO, timeout=timeout)

    [asked] = server.asked
    assert float(asked.headers["prefer"].partition("wait=")[2]) == pytest.approx(held, abs=0.1)
    announced = asked.headers.get("x-stainless-read-timeout")
    assert (None if announced is None else float(announced)) == (None if read is None else pytest.approx(read, abs=0.1))


def test_who_looks_on_has_the_id_at_once() -> None:
    fake, ids = FakeRaincheck(), list[str]()

    def told(request: Request) -> None:
        ids.append(request.id)
        fake.move("completed")

    with ScriptedServer(fake) as server, a_client(server) as client:
        client.chat.completions.create_and_wait(**HELLO, on_update=told)

    assert server.asked[0].headers["prefer"] == "return=representation"
    assert ids[0] == "req_1"


def test_g9_a_server_that_dies_while_it_holds_the_submit_loses_nothing() -> None:
    """G9: the submit may have been recorded, so it is repeated with its key once the server is back."""
    fake = FakeRaincheck(status="completed")
    fake.trouble = [Answer(hang_up=True), Answer(hang_up=True), Answer(502)]
    with ScriptedServer(fake) as server, a_client(server, max_retries=0) as client:
        assert client.chat.completions.create_and_wait(**HELLO).id == "chatcmpl-1"

    chat, models = "POST /v1/chat/completions", "GET /v1/models"
    assert server.paths() == [chat, models, models, models, chat]
    assert server.asked[0].headers["idempotency-key"] == server.asked[-1].headers["idempotency-key"]
    assert server.asked[0].body == server.asked[-1].body


def test_a_ticket_knows_its_place_at_once() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        ticket = client.chat.completions.defer(**HELLO)

        assert (ticket.id, ticket.status, ticket.position) == ("req_1", "pending", 3)
        assert ticket.request.eta_seconds == 4.2
        assert len(server.asked) == 1
        assert repr(ticket) == "<Ticket req_1: pending, position 3, about 4 s left>"

        fake.move("processing", progress=0.5)
        assert ticket.refresh().progress == 0.5
        assert ticket.status == "processing"
        assert ticket.result() is None

        fake.move("completed")
        result = ticket.result()
        assert result is not None
        assert result.choices[0].message.content == "hello"


def test_options_go_in_a_member_of_their_own() -> None:
    with ScriptedServer(FakeRaincheck()) as server, a_client(server) as client:
        client.chat.completions.defer(
            **HELLO,
            temperature=0.5,
            stop=["\n"],
            metadata={"for": "the upstream"},
            webhook_url="https://example.test/hook",
            expires_in=60,
            max_attempts=2,
            request_metadata={"job": "nightly"},
            idempotency_key="once",
            extra_body={"top_k": 4},
        )

    [asked] = server.asked
    assert asked.headers["idempotency-key"] == "once"
    assert asked.body == {
        **HELLO,
        "temperature": 0.5,
        "stop": ["\n"],
        "metadata": {"for": "the upstream"},
        "top_k": 4,
        "deferred": True,
        "raincheck": {
            "webhook_url": "https://example.test/hook",
            "expires_in": 60,
            "max_attempts": 2,
            "metadata": {"job": "nightly"},
        },
    }


@pytest.mark.slow("the openai client waits half a second before it tries again")
def test_a_retried_submit_carries_the_same_key_g9() -> None:
    """G9: a lost reply is retried by the openai client, and the server can tell that it is the same submit."""
    fake = FakeRaincheck()
    fake.trouble = [Answer(hang_up=True)]
    with ScriptedServer(fake) as server, a_client(server) as client:
        client.chat.completions.defer(**HELLO)
        client.chat.completions.defer(**HELLO)

    first, again, other = [asked.headers["idempotency-key"] for asked in server.asked]
    assert first == again
    assert other != first


def test_a_server_that_is_no_raincheck_is_asked_no_more_often_than_openai_does() -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(hang_up=True) if asked.method == "POST" else Answer(200, {"data": []})

    with (
        ScriptedServer(answer) as server,
        a_client(server, max_retries=1) as client,
        pytest.raises(APIConnectionError),
    ):
        client.chat.completions.create_and_wait(**HELLO)

    assert server.paths().count("POST /v1/chat/completions") == 2


def test_on_update_is_told_of_every_move_once() -> None:
    fake, seen = FakeRaincheck(), list[str]()

    def told(request: Request) -> None:
        seen.append(str(request))
        match request.status:
            case "pending":
                fake.move("processing", progress=0.4, progress_message="token 40 of 100")
            case _:
                fake.move("completed")

    with ScriptedServer(fake) as server, a_client(server) as client:
        client.chat.completions.defer(**HELLO).wait(on_update=told)

    assert seen == [
        "req_1 pending, position 3, about 4 s left",
        "req_1 processing, 40%, token 40 of 100",
        "req_1 completed",
    ]


def test_a_timeout_leaves_the_work_going_and_can_be_taken_up_again() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        with pytest.raises(TimeoutError) as caught:
            client.chat.completions.create_and_wait(**HELLO, timeout=0.05)
        assert isinstance(caught.value, WaitTimeout)
        assert 0.05 <= caught.value.waited < 2

        fake.move("completed")
        completion = client.requests.wait(caught.value.request_id)

    assert isinstance(completion, ChatCompletion)
    assert not any(path.endswith("/cancel") for path in server.paths())


def test_a_timeout_cancels_at_the_server_when_asked_to() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        ticket = client.chat.completions.defer(**HELLO)
        with pytest.raises(WaitTimeout, match="has been cancelled") as caught:
            ticket.wait(timeout=0.05, cancel_on_timeout=True)

    assert caught.value.cancelled
    assert ticket.status == "cancelled"
    assert fake.record["status"] == "cancelled"


def test_a_stop_event_is_heard_in_the_middle_of_a_read() -> None:
    fake, stop, times = FakeRaincheck(), threading.Event(), list[float]()

    def halt() -> None:
        times.append(time.monotonic())
        stop.set()

    with ScriptedServer(fake) as server, a_client(server) as client:
        stopper = soon(halt, fake.reading)
        with pytest.raises(WaitStopped) as caught:
            client.chat.completions.create_and_wait(**HELLO, stop_event=stop)
        late = time.monotonic() - times[0]
        stopper.join()
        fake.move("completed")  # lets the read that was left behind come to its end

    assert late < 0.4  # 0.1 s is the step, the rest is for a busy machine
    assert caught.value.request_id == "req_1"


def test_a_stop_event_that_is_never_set_changes_nothing() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        mover = soon(lambda: fake.move("completed"), fake.reading)
        assert client.chat.completions.create_and_wait(**HELLO, stop_event=threading.Event()).id == "chatcmpl-1"
        mover.join()

    assert float(server.asked[-1].query["wait"]) == 10


def test_an_error_in_a_stoppable_wait_reaches_the_caller() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        ticket = client.chat.completions.defer(**HELLO)
        fake.trouble = [Answer(401, {"error": {"message": "revoked"}}, VERSION)]
        with pytest.raises(AuthenticationError, match="revoked"):
            ticket.wait(stop_event=threading.Event())


@pytest.mark.parametrize(
    ("status", "kind"), [("failed", RequestFailed), ("cancelled", RequestCancelled), ("expired", RequestExpired)]
)
def test_an_end_without_a_result_is_its_own_error(status: str, kind: type[RequestFailed]) -> None:
    error = {
        "message": "The upstream refused the request.",
        "code": "upstream_error",
        "upstream": {"name": "gpu", "status": 400, "body": {"error": {"message": "context too long"}}},
    }
    with (
        ScriptedServer(FakeRaincheck(status=status, error=error)) as server,
        a_client(server) as client,
        pytest.raises(kind, match=r"gpu answered 400: .*context too long") as caught,
    ):
        client.chat.completions.create_and_wait(**HELLO)

    assert caught.value.request.status == status
    assert caught.value.error is not None
    assert caught.value.error.upstream is not None
    assert caught.value.error.upstream.status == 400


@pytest.mark.slow("the backoff of two failures")
def test_the_wait_outlives_a_server_that_restarts() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server, a_client(server) as client:
        ticket = client.chat.completions.defer(**HELLO)
        fake.trouble = [Answer(hang_up=True), Answer(503, {"error": {"message": "draining"}}, VERSION)]
        fake.move("completed")
        assert ticket.wait().id == "chatcmpl-1"

    assert len(server.asked) == 4


def test_nobody_listening_is_waited_out_until_the_timeout() -> None:
    with ScriptedServer(FakeRaincheck()) as server, a_client(server) as client:
        ticket = client.chat.completions.defer(**HELLO)
    with Raincheck(base_url=server.url) as client, pytest.raises(WaitTimeout) as caught:
        client.requests.wait(ticket.id, timeout=0.3)

    assert isinstance(caught.value.__cause__, APIConnectionError)


def test_errors_of_a_submit_are_openais_own() -> None:
    refusal = Answer(429, {"error": {"message": "queue full", "code": "queue_full"}}, {"x-should-retry": "false"})
    with (
        ScriptedServer(lambda _: refusal) as server,
        a_client(server) as client,
        pytest.raises(RateLimitError) as caught,
    ):
        client.chat.completions.create_and_wait(**HELLO)

    assert caught.value.code == "queue_full"


def test_a_large_result_is_fetched_on_its_own() -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("/result"):
            return Answer(200, a_completion("long"), VERSION)
        return Answer(200, a_record("completed", result=None), VERSION)

    with ScriptedServer(answer) as server, a_client(server) as client:
        assert client.chat.completions.create_and_wait(**HELLO).choices[0].message.content == "long"


def test_any_post_can_be_deferred() -> None:
    result = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "tiny"}
    fake = FakeRaincheck(status="completed", operation="embedding", result=result)
    with ScriptedServer(fake) as server, a_client(server) as client:
        ticket = client.requests.submit("/embeddings", body={"input": "hi"}, request_metadata={"a": "b"})
        embeddings = ticket.wait()
        as_dict = client.requests.submit("/embeddings", body={"input": "hi"}, cast_to=dict[str, Any]).wait()

    assert isinstance(embeddings, CreateEmbeddingResponse)
    assert embeddings.data[0].embedding == [0.5]
    assert as_dict == result
    asked = server.asked[0]
    assert asked.path == "/v1/embeddings"
    assert asked.headers["prefer"] == "respond-async, return=representation"
    assert asked.body == {"input": "hi", "raincheck": {"metadata": {"a": "b"}}}


def test_a_server_that_cannot_defer_other_calls_is_told_from_one_that_can() -> None:
    with (
        ScriptedServer(lambda _: Answer(200, {"id": "resp_1", "output": []})) as server,
        a_client(server) as client,
        pytest.raises(NoRequestId, match="resp_1"),
    ):
        client.requests.submit("/responses", body={"input": "hi"})


# The hosted original, and other servers of its protocol.


def test_the_original_is_polled_at_the_interval() -> None:
    script = the_original(
        Answer(202), Answer(202, {"status": "processing", "choices": []}), Answer(200, a_completion())
    )
    with ScriptedServer(script) as server, a_client(server) as client:
        completion = client.chat.completions.create_and_wait(**HELLO, polling_interval=0.02)

    assert completion.choices[0].message.content == "hello"
    assert server.paths() == ["POST /v1/chat/completions"] + ["GET /v1/chat/deferred-completion/b5c0"] * 3


def test_nothing_of_ours_is_sent_to_the_original() -> None:
    with ScriptedServer(the_original(Answer(202))) as server, a_client(server) as client:
        ticket = client.chat.completions.defer(**HELLO)

    assert server.asked[0].body == {**HELLO, "deferred": True}
    assert (ticket.id, ticket.status, ticket.position) == ("b5c0", "pending", None)


def test_the_original_can_be_taken_up_again_by_id() -> None:
    with ScriptedServer(the_original(Answer(202), Answer(200, a_completion()))) as server, a_client(server) as client:
        assert client.requests.wait("b5c0", polling_interval=0.02).id == "chatcmpl-1"
        assert client.requests.result("b5c0").id == "chatcmpl-1"


def test_a_timeout_on_the_original_cannot_cancel_and_says_so() -> None:
    with (
        ScriptedServer(the_original(Answer(202))) as server,
        a_client(server) as client,
        pytest.raises(WaitTimeout, match="did not succeed"),
    ):
        client.chat.completions.create_and_wait(**HELLO, timeout=0.05, polling_interval=0.02, cancel_on_timeout=True)


def test_one_look_is_a_completion_or_none() -> None:
    script = the_original(Answer(202), Answer(202, {"choices": []}), Answer(200, a_completion()))
    with ScriptedServer(script) as server, a_client(server) as client:
        looks = [client.chat.completions.retrieve_deferred("b5c0") for _ in range(3)]
        with pytest.raises(NotFoundError):
            client.chat.completions.retrieve_deferred("other")

    assert looks[:2] == [None, None]
    assert isinstance(looks[2], ChatCompletion)


def test_no_id_is_an_error_of_its_own() -> None:
    with (
        ScriptedServer(lambda _: Answer(200, {"object": "chat.completion", "choices": []})) as server,
        a_client(server) as client,
        pytest.raises(NoRequestId) as caught,
    ):
        client.chat.completions.create_and_wait(**HELLO)

    assert b"chat.completion" in caught.value.body


def test_a_server_that_answers_at_once_needs_no_waiting() -> None:
    with ScriptedServer(lambda _: Answer(200, a_completion())) as server, a_client(server) as client:
        completion = client.chat.completions.create_and_wait(**HELLO)

    assert completion.id == "chatcmpl-1"
    assert len(server.asked) == 1


@pytest.mark.slow("starts an interpreter")
def test_ctrl_c_ends_the_waiting() -> None:
    fake = FakeRaincheck()
    script = "import raincheck; raincheck.Raincheck().requests.wait('req_1')"
    with ScriptedServer(fake) as server:
        environment = {**os.environ, "RAINCHECK_BASE_URL": server.url}
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as waiting:
            assert fake.reading.wait(30)
            waiting.send_signal(signal.SIGINT)
            _, stderr = waiting.communicate(timeout=5)
        fake.move("completed")

    assert waiting.returncode != 0
    assert "KeyboardInterrupt" in stderr

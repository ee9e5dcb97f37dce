"""The waiting logic with no network and no clock: a flow is played against replies, and time passes as it says."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2
import pytest
from openai import APIConnectionError, APIError, APIStatusError, NotFoundError

from raincheck.client.dialect import Dialect
from raincheck.client.errors import WaitStopped, WaitTimeout
from raincheck.client.flows import Patience, submit, wait
from raincheck.client.models import Request
from raincheck.client.steps import Call, Flow, Pause, Reply, Step, Stopped, Submit
from tests.client.servers import a_completion, a_record

T = TypeVar("T")
VERSION = {"raincheck-version": "1"}
ASKED = httpx2.Request("GET", "http://test/v1")


class Played:
    """Runs a flow to its end. Calls take the seconds their reply says, pauses the seconds they are long."""

    def __init__(self, *replies: Reply | tuple[float, Reply]) -> None:
        self.replies = list(replies)
        self.now = 1000.0
        self.calls: list[Call] = []
        self.submits: list[float] = []
        self.pauses: list[float] = []

    def wait(self, seen: Request, dialect: Dialect, patience: Patience) -> Request:
        return self._play(wait(seen, dialect, patience, clock=lambda: self.now, jitter=lambda: 1.0))

    def submit(self, timeout: float | None = 600.0, retries: int = 2) -> Reply:
        def submit_for(left: float) -> Submit:
            self.submits.append(left)
            return Submit("/chat/completions", left, {}, {})

        return self._play(
            submit(submit_for, timeout=timeout, retries=retries, clock=lambda: self.now, jitter=lambda: 1.0)
        )

    def _play(self, flow: Flow[T]) -> T:
        reply = None
        while True:
            try:
                step = flow.send(reply)
            except StopIteration as end:
                return end.value
            reply = self._take(step)

    def _take(self, step: Step) -> Reply | None:
        if isinstance(step, Pause):
            self.pauses.append(step.seconds)
            self.now += step.seconds
            return None
        if isinstance(step, Call):
            self.calls.append(step)
        # the last reply is the answer for ever after
        took, reply = self._timed(self.replies.pop(0) if len(self.replies) > 1 else self.replies[0], step)
        self.now += took
        return reply

    @staticmethod
    def _timed(reply: Reply | tuple[float, Reply], call: Call | Submit) -> tuple[float, Reply]:
        if isinstance(reply, tuple):
            return reply
        return (0.0 if reply.error or isinstance(call, Submit) else float(call.query.get("wait", 0))), reply


def a_reply(status: int = 200, body: object = None, **headers: str) -> Reply:
    raw = b"" if body is None else json.dumps(body).encode()
    known = {name.replace("_", "-"): value for name, value in headers.items()}
    error = None
    if status >= 400:
        kind = NotFoundError if status == 404 else APIStatusError
        error = kind("no", response=httpx2.Response(status, request=ASKED), body=None)
    return Reply(status, known, raw, error)


def the_record(status: str = "pending", **fields: Any) -> Reply:
    return a_reply(200, a_record(status, **fields), raincheck_version="1")


NO_ANSWER = Reply(0, error=APIConnectionError(request=ASKED))
LOST = Reply(0, error=APIConnectionError(request=ASKED), lost=True)
NOT_YET = a_reply(202)
DONE = a_reply(200, a_completion())
SEEN = Request(id="req_1")


def test_a_raincheck_server_holds_the_read_until_something_happens() -> None:
    played = Played(the_record(), (3.0, the_record("processing")), (1.0, the_record("completed")))

    request = played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=600))

    assert request.status == "completed"
    assert played.pauses == []
    assert [(call.path, dict(call.query)) for call in played.calls] == [
        ("/requests/req_1", {"wait": 50.0, "since": "pending"}),
        ("/requests/req_1", {"wait": 50.0, "since": "pending"}),
        ("/requests/req_1", {"wait": 50.0, "since": "processing"}),
    ]


def test_the_last_read_is_no_longer_than_the_time_that_is_left() -> None:
    played = Played(the_record())

    with pytest.raises(WaitTimeout) as caught:
        played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=70))

    assert [call.query["wait"] for call in played.calls] == [50.0, 20.0]
    assert caught.value.waited == 70
    assert all(call.timeout <= float(call.query["wait"]) + 10 for call in played.calls)


def test_with_someone_looking_on_it_reads_every_second() -> None:
    seen: list[Request] = []
    played = Played(the_record(position=2), the_record(position=1), the_record("completed"))

    played.wait(SEEN, Dialect.RAINCHECK, Patience(observer=seen.append))

    assert [request.position for request in seen] == [2, 1, None]
    assert all(call.query["wait"] == 1.0 for call in played.calls)


def test_a_server_that_does_not_hold_the_read_is_not_asked_in_a_tight_loop() -> None:
    played = Played((0.0, the_record()))

    with pytest.raises(WaitTimeout):
        played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=10))

    assert len(played.calls) <= 22


def test_no_timeout_waits_without_end() -> None:
    played = Played(*[the_record()] * 100, the_record("completed"))

    assert played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=None)).ended
    assert played.now - 1000 >= 5000


def test_a_timeout_of_nothing_still_looks_once() -> None:
    for dialect, done in ((Dialect.RAINCHECK, the_record("completed")), (Dialect.DEFERRED, DONE)):
        assert Played(done).wait(SEEN, dialect, Patience(timeout=0)).status == "completed"


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_every_end_ends_the_waiting(status: str) -> None:
    assert Played(the_record(status)).wait(SEEN, Dialect.RAINCHECK, Patience()).status == status


def test_what_has_ended_already_asks_nothing() -> None:
    played = Played(the_record())

    assert played.wait(Request(id="req_1", status="completed"), Dialect.RAINCHECK, Patience()).ended
    assert played.calls == []


@pytest.mark.parametrize(
    "trouble",
    [
        NO_ANSWER,
        a_reply(500),
        a_reply(502),
        a_reply(503, retry_after="0"),
        a_reply(429),
        a_reply(404),
        a_reply(200, None),
    ],
    ids=["no connection", "500", "502", "503", "429", "404 of a proxy", "a page of a proxy"],
)
def test_trouble_on_the_way_does_not_lose_the_wait(trouble: Reply) -> None:
    played = Played(trouble, trouble, the_record("completed"))

    assert played.wait(SEEN, Dialect.RAINCHECK, Patience()).ended
    assert played.pauses == [0.25, 0.5]


def test_trouble_backs_off_and_stays_bounded() -> None:
    played = Played(NO_ANSWER)

    with pytest.raises(WaitTimeout) as caught:
        played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=60))

    assert max(played.pauses) == 5.0
    assert sum(played.pauses) == 60
    assert isinstance(caught.value.__cause__, APIConnectionError)


def test_a_news_after_trouble_starts_the_backoff_anew() -> None:
    played = Played(NO_ANSWER, NO_ANSWER, the_record(), NO_ANSWER, the_record("completed"))

    played.wait(SEEN, Dialect.RAINCHECK, Patience())

    assert played.pauses == [0.25, 0.5, 0.25]


def test_retry_after_is_a_floor() -> None:
    played = Played(a_reply(429, retry_after="17"), the_record("completed"))

    played.wait(SEEN, Dialect.RAINCHECK, Patience())

    assert played.pauses == [17.0]


def test_it_does_not_come_back_before_retry_after_even_at_the_end() -> None:
    played = Played(a_reply(429, retry_after="100"))

    with pytest.raises(WaitTimeout):
        played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=30))

    assert len(played.calls) == 1
    assert played.now == 1030


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_an_answer_that_will_not_get_better_is_raised_at_once(status: int) -> None:
    played = Played(a_reply(status, {"error": {"message": "no"}}, raincheck_version="1"))

    with pytest.raises(APIStatusError):
        played.wait(SEEN, Dialect.RAINCHECK, Patience())

    assert len(played.calls) == 1


def test_a_server_may_forbid_another_try_at_any_status() -> None:
    played = Played(a_reply(502, {"error": {"message": "no"}}, raincheck_version="1", x_should_retry="false"))

    with pytest.raises(APIStatusError):
        played.wait(SEEN, Dialect.RAINCHECK, Patience())


def test_another_server_is_left_alone_for_the_interval_before_each_look() -> None:
    played = Played(NOT_YET, NOT_YET, DONE)

    request = played.wait(SEEN, Dialect.DEFERRED, Patience(polling_interval=5))

    assert request.status == "completed"
    assert request.result == a_completion()
    assert played.pauses == [5, 5, 5]
    assert {(call.path, len(call.query)) for call in played.calls} == {("/chat/deferred-completion/req_1", 0)}


def test_another_server_is_looked_at_once_more_when_the_time_is_over() -> None:
    played = Played(NOT_YET, NOT_YET, DONE)

    assert played.wait(SEEN, Dialect.DEFERRED, Patience(polling_interval=5, timeout=12)).ended
    assert played.pauses == [5, 5, 2]


@pytest.mark.parametrize(
    "pending",
    [
        a_reply(202),
        a_reply(202, {"status": "processing", "choices": []}),
        a_reply(200, {"choices": []}),
        a_reply(202, a_completion()),
    ],
    ids=["202 and nothing", "202 and JSON", "no choices", "202 is never done"],
)
def test_what_not_yet_looks_like(pending: Reply) -> None:
    with pytest.raises(WaitTimeout):
        Played(pending).wait(SEEN, Dialect.DEFERRED, Patience(timeout=11))


def test_another_server_says_when_to_come_back() -> None:
    played = Played(a_reply(202, None, retry_after="20"), DONE)

    played.wait(SEEN, Dialect.DEFERRED, Patience(polling_interval=5))

    assert played.pauses == [5, 20]


def test_an_unknown_server_is_asked_in_the_native_way_first() -> None:
    played = Played(a_reply(404), NOT_YET, DONE)

    assert played.wait(SEEN, Dialect.UNKNOWN, Patience(polling_interval=5)).ended
    assert [call.path for call in played.calls] == [
        "/requests/req_1",
        "/chat/deferred-completion/req_1",
        "/chat/deferred-completion/req_1",
    ]


def test_an_unknown_id_on_a_raincheck_server_is_not_asked_for_elsewhere() -> None:
    played = Played(a_reply(404, {"error": {"message": "no"}}, raincheck_version="1"))

    with pytest.raises(NotFoundError):
        played.wait(SEEN, Dialect.UNKNOWN, Patience())

    assert len(played.calls) == 1


def test_a_timeout_says_how_to_come_back() -> None:
    with pytest.raises(WaitTimeout) as caught:
        Played(the_record(position=7)).wait(SEEN, Dialect.RAINCHECK, Patience(timeout=3))

    error = caught.value
    assert (error.request_id, error.status, error.cancelled) == ("req_1", "pending", False)
    assert 'client.requests.wait("req_1")' in str(error)
    assert "raincheck wait req_1" in str(error)
    assert "position 7" in str(error)
    assert "goes on" in str(error)


def cancelling(reply: Reply) -> Callable[[], Request]:
    played = Played(the_record(), reply)
    return lambda: played.wait(SEEN, Dialect.RAINCHECK, Patience(timeout=1, cancel_on_timeout=True))


def test_a_timeout_cancels_the_request_when_asked_to() -> None:
    with pytest.raises(WaitTimeout, match="has been cancelled at the server") as caught:
        cancelling(the_record("cancelled"))()

    assert caught.value.cancelled
    assert caught.value.status == "cancelled"


def test_a_request_that_ended_before_its_cancel_is_a_result_after_all() -> None:
    assert cancelling(the_record("completed"))().status == "completed"


def test_a_cancel_that_fails_is_not_passed_over() -> None:
    with pytest.raises(WaitTimeout, match="did not succeed") as caught:
        cancelling(a_reply(404))()

    assert not caught.value.cancelled


def test_a_stopped_flow_says_what_it_knew() -> None:
    flow = wait(SEEN, Dialect.RAINCHECK, Patience(), clock=lambda: 0.0)
    next(flow)

    with pytest.raises(WaitStopped, match="req_1"):
        flow.throw(Stopped())


def test_the_id_cannot_leave_its_path() -> None:
    played = Played(the_record("completed"))

    played.wait(Request(id="keys?x=1"), Dialect.RAINCHECK, Patience())
    with pytest.raises(ValueError, match="is no id"):
        played.wait(Request(id="../keys?x=1"), Dialect.RAINCHECK, Patience())

    assert [call.path for call in played.calls] == ["/requests/keys%3Fx%3D1"]


def test_headers_are_known_by_their_version() -> None:
    assert Dialect.of(VERSION) is Dialect.RAINCHECK
    assert Dialect.of({}) is Dialect.DEFERRED


# The submit that is held.


def test_a_submit_whose_connection_broke_is_repeated_for_as_long_as_the_raincheck_server_needs() -> None:
    here = a_reply(200, {"data": []}, raincheck_version="1")
    played = Played((5.0, LOST), NO_ANSWER, NO_ANSWER, here, *[NO_ANSWER] * 20, the_record("completed"))

    assert played.submit(retries=0).status == 200

    assert {call.path for call in played.calls} == {"/models"}
    assert len(played.calls) == 3
    assert played.submits[:2] == [600, 600 - 5 - sum(played.pauses[:2])]
    assert len(played.submits) == 22


def test_a_submit_whose_connection_broke_at_the_last_moment_is_still_repeated_once() -> None:
    played = Played((10.0, LOST), a_reply(200, raincheck_version="1"), the_record("completed"))

    assert played.submit(timeout=10).status == 200

    assert played.submits == [10, 0]


def test_a_submit_that_nobody_came_back_for_is_the_connection_error() -> None:
    played = Played((5.0, LOST), NO_ANSWER)

    with pytest.raises(APIConnectionError):
        played.submit(timeout=60)

    assert played.submits == [60]
    assert played.now - 1000 == 60


@pytest.mark.parametrize("reply", [NO_ANSWER, a_reply(503), a_reply(429, retry_after="1")])
def test_a_submit_that_was_not_taken_is_repeated_as_often_as_openai_does(reply: Reply) -> None:
    played = Played(reply)

    with pytest.raises(APIError):
        played.submit(retries=2)

    assert len(played.submits) == 3
    assert played.calls == []


def test_a_submit_is_not_repeated_when_it_is_refused_or_there_is_no_time() -> None:
    for reply in (a_reply(400), a_reply(503, x_should_retry="false"), a_reply(503, retry_after="700")):
        played = Played(reply)
        with pytest.raises(APIStatusError):
            played.submit()
        assert len(played.submits) == 1

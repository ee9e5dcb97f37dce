from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError
from openai.types.chat import ChatCompletion

from raincheck import AsyncRaincheck, Raincheck
from raincheck.client import UnexpectedAnswer, UnexpectedResult
from tests.client.servers import VERSION, Answer, Asked, ScriptedServer, a_record
from tests.server import running_server


def three_in_two_pages(asked: Asked) -> Answer:
    ids = ["req_3"] if asked.query.get("after") == "req_2" else ["req_1", "req_2"]
    page = {"object": "list", "data": [a_record(id=name) for name in ids], "first_id": ids[0], "last_id": ids[-1]}
    return Answer(200, page | {"has_more": ids[0] == "req_1"}, VERSION)


def test_a_list_goes_on_to_the_last_page() -> None:
    with ScriptedServer(three_in_two_pages) as server, Raincheck(base_url=server.url) as client:
        ids = [request.id for request in client.requests.list(status="pending", metadata={"job": "nightly"}, limit=2)]

    assert ids == ["req_1", "req_2", "req_3"]
    assert server.asked[0].query == {"status": "pending", "metadata[job]": "nightly", "limit": "2"}
    assert server.asked[1].query == {**server.asked[0].query, "after": "req_2"}


async def test_an_async_list_does_too() -> None:
    with ScriptedServer(three_in_two_pages) as server:
        async with AsyncRaincheck(base_url=server.url) as client:
            since = datetime(2026, 1, 1, tzinfo=UTC)
            ids = [request.id async for request in client.requests.list(created_after=since, model=None)]
            first_page = await client.requests.list()

    assert ids == ["req_1", "req_2", "req_3"]
    assert [request.id for request in first_page.data] == ["req_1", "req_2"]
    assert server.asked[0].query == {"created_after": "1767225600.0"}


def one_record(asked: Asked) -> Answer:
    match asked.method, asked.path:
        case "DELETE", _:
            return Answer(200, {"id": "req_1", "object": "request.deleted", "deleted": True}, VERSION)
        case "POST", path if path.endswith("/requeue"):
            return Answer(200, a_record(id="req_2"), VERSION)
        case _:
            record: dict[str, Any] = a_record(
                attempts=[{"number": 1, "upstream": "local", "outcome": "retry", "error": {"message": "busy"}}],
                waiting_for={"reason": "retry", "until": 1790000000.5, "message": "next try in 3 s"},
                something_new={"kept": True},
            )
            return Answer(200, record, VERSION)


def test_a_record_is_typed_and_keeps_what_it_does_not_know() -> None:
    with ScriptedServer(one_record) as server, Raincheck(base_url=server.url) as client:
        request = client.requests.retrieve("req_1")

    assert request.attempts is not None
    assert request.attempts[0].error is not None
    assert request.attempts[0].error.message == "busy"
    assert request.waiting_for is not None
    assert request.waiting_for.until == 1790000000.5
    assert request.to_dict()["something_new"] == {"kept": True}
    assert str(request) == "req_1 pending, position 3, about 4 s left, next try in 3 s"


def test_each_verb_has_its_path() -> None:
    with ScriptedServer(one_record) as server, Raincheck(base_url=server.url) as client:
        assert client.requests.cancel("req_1").id == "req_1"
        assert client.requests.requeue("req_1").id == "req_2"
        assert client.requests.delete("req_1").deleted

    assert server.paths() == [
        "POST /v1/requests/req_1/cancel",
        "POST /v1/requests/req_1/requeue",
        "DELETE /v1/requests/req_1",
    ]


async def test_each_async_verb_has_its_path() -> None:
    with ScriptedServer(one_record) as server:
        async with AsyncRaincheck(base_url=server.url) as client:
            assert (await client.requests.retrieve("req_1")).position == 3
            assert (await client.requests.cancel("req_1")).id == "req_1"
            assert (await client.requests.requeue("req_1")).id == "req_2"
            assert (await client.requests.delete("req_1")).deleted

    assert server.paths()[1:] == [
        "POST /v1/requests/req_1/cancel",
        "POST /v1/requests/req_1/requeue",
        "DELETE /v1/requests/req_1",
    ]


def test_an_unknown_id_is_openais_not_found() -> None:
    missing = Answer(404, {"error": {"message": "No such request.", "code": "not_found"}}, VERSION)
    with ScriptedServer(lambda _: missing) as server, Raincheck(base_url=server.url) as client:
        for ask in (client.requests.retrieve, client.requests.wait, client.requests.result):
            with pytest.raises(NotFoundError, match="No such request"):
                ask("req_0")


def test_what_is_no_id_is_never_asked_for() -> None:
    with ScriptedServer(one_record) as server, Raincheck(base_url=server.url) as client:
        asks: list[Callable[[str], object]] = [
            client.requests.retrieve,
            client.requests.cancel,
            client.requests.requeue,
            client.requests.delete,
            client.requests.wait,
            client.requests.result,
            client.chat.completions.retrieve_deferred,
        ]
        for ask in asks:
            for wrong in ("", " ", ".", "..", "nope/../x"):
                with pytest.raises(ValueError, match="is no id"):
                    ask(wrong)
    assert server.asked == []


async def test_an_answer_without_a_list_is_no_empty_list() -> None:
    with ScriptedServer(lambda _: Answer(200, {"status": "ok"})) as server:
        with Raincheck(base_url=server.url) as client, pytest.raises(UnexpectedAnswer, match="Raincheck server"):
            list(client.requests.list())
        async with AsyncRaincheck(base_url=server.url) as aclient:
            with pytest.raises(UnexpectedAnswer, match="Raincheck server"):
                [request async for request in aclient.requests.list()]


@pytest.mark.parametrize(("result", "raw"), [(None, b"null"), ([1, 2], b"")])
def test_a_completion_that_is_no_object_is_an_error_of_its_own(result: object, raw: bytes) -> None:
    def answer(asked: Asked) -> Answer:
        body = raw if asked.path.endswith("/result") else a_record("completed", result=result)
        return Answer(200, body, VERSION)

    with ScriptedServer(answer) as server, Raincheck(base_url=server.url) as client:
        for cast_to in (None, dict, ChatCompletion):
            with pytest.raises(UnexpectedResult, match="no JSON object") as caught:
                client.requests.wait("req_1", cast_to=cast_to)
            assert caught.value.result == (raw if result is None else result)


def test_a_result_of_no_known_type_may_be_any_json() -> None:
    record = a_record("completed", operation="other", result=[1, 2])
    with ScriptedServer(lambda _: Answer(200, record, VERSION)) as server, Raincheck(base_url=server.url) as client:
        assert client.requests.wait("req_1") == [1, 2]


def test_an_idempotency_key_that_no_header_can_carry_is_refused_before_the_call() -> None:
    with ScriptedServer(one_record) as server, Raincheck(base_url=server.url) as client:
        for key in ("a\r\nX: 1", "é", " a"):
            with pytest.raises(ValueError, match="idempotency_key"):
                client.requests.submit("/embeddings", body={}, idempotency_key=key)
    assert server.asked == []


async def test_cancelling_what_has_ended_brings_its_record(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, AsyncRaincheck(base_url=server.base_url) as client:
        ticket = await client.chat.completions.defer(model="m", messages=[{"role": "user", "content": "Hello?"}])
        await ticket.wait()
        assert (await client.requests.cancel(ticket.id)).status == "completed"
        assert (await ticket.cancel()).status == "completed"

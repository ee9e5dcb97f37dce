from datetime import UTC, datetime
from typing import Any

import pytest
from openai import NotFoundError

from raincheck import AsyncRaincheck, Raincheck
from tests.client.servers import VERSION, Answer, Asked, ScriptedServer, a_record


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

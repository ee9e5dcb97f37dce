"""/v1/responses in the background: created, read, cancelled, forgotten, gone on with."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import pytest
from openai.types.responses import Response, ResponseItemList

from raincheck.core.clock import now, seconds
from raincheck.core.outcome import RequestError
from raincheck.http.responses.items import page_of
from tests.http.responses import a_response, create, created, message, serving, take
from tests.server import Json, Running


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with serving(tmp_path) as running:
        yield running


async def payload_of(server: Running, response_id: str, tenant: str = "default") -> Json:
    return msgspec.json.decode((await server.edge.store.requests.payloads(tenant, [response_id]))[response_id])


async def test_one_is_answered_at_once_with_all_that_was_asked(server: Running) -> None:
    """G1: with an id that is on disk."""
    reply = await create(server, metadata={"team": "blue"}, service_tier="flex", temperature=0.5, max_output_tokens=9)

    seen = Response.model_validate(reply.json, strict=True)
    assert reply.status == 200
    assert seen.id.startswith("resp_")
    assert (seen.status, seen.background, seen.output, seen.error) == ("queued", True, [], None)
    assert (seen.metadata, seen.service_tier, seen.temperature, seen.max_output_tokens) == (
        {"team": "blue"},
        "flex",
        0.5,
        9,
    )
    request = (await server.get(f"/v1/requests/{seen.id}")).json
    assert (request["operation"], request["service_tier"], request["metadata"]) == (
        "response",
        "flex",
        {"team": "blue"},
    )
    assert await payload_of(server, seen.id) == {
        "model": "m",
        "input": "Hello",
        "background": True,
        "metadata": {"team": "blue"},
        "temperature": 0.5,
        "max_output_tokens": 9,
        "raincheck": {"service_tier": "flex"},
    }


async def test_it_can_be_read_wherever_it_stands(server: Running) -> None:
    response_id = await created(server)
    hand = await take(server)
    running = (await server.get(f"/v1/responses/{response_id}")).json
    waiting = asyncio.create_task(server.get(f"/v1/responses/{response_id}?wait=10"))
    answer = a_response("Hi", response_id=response_id)
    await hand.complete(answer)

    assert Response.model_validate(running, strict=True).status == "in_progress"
    assert (await waiting).json == (await server.get(f"/v1/responses/{response_id}")).json == answer
    assert (await server.get(f"/v1/requests/{response_id}")).json["result"] == answer


async def test_a_big_answer_is_read_out_of_the_object_store(server: Running) -> None:
    response_id = await created(server)
    answer = a_response("x" * (2 << 20), response_id=response_id)
    await (await take(server)).complete(answer)

    assert (await server.get(f"/v1/responses/{response_id}")).json == answer


FAILURES = [
    (RequestError("Too hot.", "invalid_request_error", "not_translatable"), "invalid_prompt", "not_translatable"),
    (RequestError("Busy.", "rate_limit_error", "upstream_busy"), "rate_limit_exceeded", "upstream_busy"),
    (RequestError("Fell over."), "server_error", "server_error"),
]


@pytest.mark.parametrize(("error", "code", "kind"), FAILURES, ids=[code for _, code, _ in FAILURES])
async def test_one_that_failed_says_why_in_words_that_clients_know(
    server: Running, error: RequestError, code: str, kind: str
) -> None:
    response_id = await created(server)
    await (await take(server)).fail(error)

    reply = await server.get(f"/v1/responses/{response_id}")

    assert reply.status == 200
    assert Response.model_validate(reply.json, strict=True).status == "failed"
    assert reply.json["error"] == {"code": code, "message": error.message, "type": kind}


async def test_one_whose_deadline_passed_has_failed(server: Running) -> None:
    response_id = await created(server, raincheck={"deadline": seconds(now()) + 0.2})
    async with asyncio.timeout(10):
        while not await server.edge.store.upkeep.expire(limit=10):
            await asyncio.sleep(0.01)

    reply = await server.get(f"/v1/responses/{response_id}")

    assert Response.model_validate(reply.json, strict=True).status == "failed"
    assert (reply.json["error"]["code"], reply.json["error"]["type"]) == ("server_error", "deadline_exceeded")


async def test_cancelling_twice_is_as_cancelling_once(server: Running) -> None:
    """G5: queued or in progress."""
    queued, running = await created(server), await created(server, service_tier="priority")
    assert (await take(server)).lease.fence.request_id == running
    for response_id in (queued, running):
        for _ in range(2):
            reply = await server.post(f"/v1/responses/{response_id}/cancel", b"")
            seen = Response.model_validate(reply.json, strict=True)
            assert (reply.status, seen.status, seen.output) == (200, "cancelled", [])
        assert (await server.get(f"/v1/responses/{response_id}")).json["status"] == "cancelled"


async def test_what_has_ended_cannot_be_cancelled(server: Running) -> None:
    for status in ("completed", "failed"):
        response_id = await created(server)
        hand = await take(server)
        await (hand.complete(a_response("Hi")) if status == "completed" else hand.fail())

        reply = await server.post(f"/v1/responses/{response_id}/cancel", b"")

        assert (reply.status, reply.error["message"]) == (400, f"Cannot cancel a {status} response.")


async def test_one_that_has_ended_can_be_forgotten_and_no_other(server: Running) -> None:
    response_id = await created(server)
    refused = await server.call("DELETE", f"/v1/responses/{response_id}")
    await (await take(server)).complete(a_response("Hi"))
    reply = await server.call("DELETE", f"/v1/responses/{response_id}")

    assert (refused.status, "cancel it first" in refused.error["message"]) == (400, True)
    assert reply.json == {"id": response_id, "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        assert (await server.call(method, f"/v1/responses/{response_id}")).status == 404


async def test_g8_a_response_is_unknown_to_all_but_its_tenant(server: Running) -> None:
    mine, other = (
        {"authorization": f"Bearer {await server.key('a')}"},
        {"authorization": f"Bearer {await server.key('b')}"},
    )
    response_id = (await create(server, headers=mine)).json["id"]
    await (await take(server)).complete(a_response("Hi", response_id=response_id))

    for method, path in [
        ("GET", ""),
        ("GET", "?stream=true"),
        ("GET", "/input_items"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ]:
        reply = await server.call(method, f"/v1/responses/{response_id}{path}", headers=other)
        assert (reply.status, reply.error["code"]) == (404, "not_found")
    going_on = await create(server, headers=other, previous_response_id=response_id)
    assert (going_on.status, going_on.error["param"]) == (404, "previous_response_id")


async def test_a_key_that_may_only_write_sees_no_answers(server: Running) -> None:
    key = {"authorization": f"Bearer {await server.key('a', 'write')}", "idempotency_key": "k"}
    first = await create(server, headers=key)
    await (await take(server)).complete(a_response("Secret", response_id=first.json["id"]))

    again = await create(server, headers=key)
    streaming = await create(server, headers={"authorization": key["authorization"]}, stream=True)

    assert (again.json["id"], again.json["status"], again.json["output"]) == (first.json["id"], "completed", [])
    assert (streaming.status, streaming.error["code"]) == (403, "scope_missing")


@pytest.mark.parametrize("background", [True, False])
async def test_g8_a_key_that_may_only_write_goes_on_with_nothing(server: Running, *, background: bool) -> None:
    """The answer may tell all that was said before."""
    reads, writes = await server.key("a"), await server.key("a", "write")
    reads, writes = ({"authorization": f"Bearer {key}"} for key in (reads, writes))
    first = (await create(server, headers=reads)).json["id"]
    await (await take(server)).complete(a_response("Hi", response_id=first))

    allowed = await create(server, headers=reads, background=background, previous_response_id=first)
    refused = await create(server, headers=writes, background=background, previous_response_id=first)

    assert allowed.status == 200
    assert (refused.status, refused.error["code"]) == (403, "scope_missing")


async def test_what_is_no_response_is_not_read_as_one(server: Running) -> None:
    reply = await server.get(f"/v1/responses/{await server.defer()}")

    assert reply.status == 404


async def test_one_that_was_purged_is_gone(tmp_path: Path) -> None:
    async with serving(tmp_path, retention=1) as server:
        response_id = await created(server)
        await (await take(server)).complete(a_response("Hi"))
        await asyncio.sleep(0.01)
        assert await server.edge.store.upkeep.purge(limit=1) == 1

        for path in ("", "?stream=true", "/input_items"):
            assert (await server.get(f"/v1/responses/{response_id}{path}")).status == 404
        assert (await create(server, previous_response_id=response_id)).status == 404


REFUSED: list[tuple[Json, str | None]] = [
    ({"store": False}, "store"),
    ({"input": ...}, "input"),
    ({"input": 7}, "input"),
    ({"model": ...}, "model"),
    ({"service_tier": "golden"}, "service_tier"),
    ({"metadata": {"a": 1}}, "metadata"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"raincheck": {"sooner": True}}, "raincheck"),
    ({"background": "yes"}, "background"),
    ({"stream": "yes"}, "stream"),
    ({"previous_response_id": 7}, "previous_response_id"),
]


@pytest.mark.parametrize(("members", "param"), REFUSED, ids=[str(members) for members, _ in REFUSED])
async def test_what_makes_no_sense_is_refused_by_name(server: Running, members: Json, param: str | None) -> None:
    reply = await create(server, **members)

    assert (reply.status, reply.error["param"]) == (400, param)


async def test_an_unknown_model_is_a_404(server: Running) -> None:
    reply = await create(server, model="nope")

    assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_g9_a_repetition_is_the_same_response(server: Running) -> None:
    keyed = [await create(server, headers={"idempotency_key": "k"}) for _ in range(2)]
    other = await create(server, "Bye", headers={"idempotency_key": "k"})
    retried = [await create(server, "Again", headers={"x_stainless_retry_count": count}) for count in ("0", "1")]

    assert keyed[0].json == keyed[1].json
    assert keyed[1].headers["idempotency-replayed"] == "true"
    assert other.status == 409
    assert retried[0].json["id"] == retried[1].json["id"]


async def test_g9_a_repetition_is_known_when_what_it_went_on_from_is_gone(server: Running) -> None:
    first = await created(server)
    await (await take(server)).complete(a_response("Hi", response_id=first))
    key = {"idempotency_key": "k"}
    ask: Json = {"previous_response_id": first, "metadata": {"a": "b"}}
    second = await create(server, "And now?", key, **ask)
    await server.call("DELETE", f"/v1/responses/{first}")

    again = await create(server, "And now?", key, **ask)
    others = [
        await create(server, "And then?", key, **ask),
        await create(server, "And now?", key, previous_response_id=first),
        await create(server, "And now?", key, temperature=1, **ask),
        await create(server, "And now?", {"idempotency_key": "other"}, **ask),
        await create(server, "And now?", **ask),
        await create(server, "And now?", key, metadata={"a": "b"}, previous_response_id="resp_nope"),
    ]

    assert (again.status, again.json["id"]) == (200, second.json["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert [other.status for other in others] == [404] * len(others)


async def test_a_preference_to_wait_holds_the_answer_until_the_end(server: Running) -> None:
    creating = asyncio.create_task(create(server, headers={"prefer": "wait=10"}))
    while not (page := (await server.get("/v1/requests")).json["data"]):
        await asyncio.sleep(0.005)
    answer = a_response("Hi", response_id=page[0]["id"])
    await (await take(server)).complete(answer)

    reply = await creating

    assert (reply.status, reply.json) == (200, answer)
    assert reply.headers["location"] == f"/v1/responses/{answer['id']}"


async def test_deferring_natively_is_what_it_was(server: Running) -> None:
    reply = await create(server, background=..., headers={"prefer": "respond-async"})

    assert (reply.status, reply.json["object"], reply.json["id"][:4]) == (202, "request", "req_")
    seen = await server.get(f"/v1/responses/{reply.json['id']}")
    assert Response.model_validate(seen.json, strict=True).status == "queued"


async def test_without_background_it_is_passed_through(server: Running) -> None:
    await server.post("/v1/responses", {"model": "m", "input": "Hello"})
    counted = await server.post("/v1/responses/input_tokens", {"model": "m", "input": "Hello"})

    assert counted.json["path"] == "/responses/input_tokens"
    assert server.upstream.requests[0].path == "/responses"


async def test_the_input_is_listed_item_by_item(server: Running) -> None:
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "4"}
    given = [{"role": "user", "content": "2+2?"}, message("Let me see.", item_id="msg_mine"), call, result]
    response_id = await created(server, input=given)

    page = (await server.get(f"/v1/responses/{response_id}/input_items?order=asc&limit=3")).json
    rest = (await server.get(f"/v1/responses/{response_id}/input_items?order=asc&after={page['last_id']}")).json
    newest = (await server.get(f"/v1/responses/{response_id}/input_items")).json

    for each in (page, rest, newest):
        ResponseItemList.model_validate(each, strict=True)
    items = page["data"] + rest["data"]
    assert [item["type"] for item in items] == ["message", "message", "function_call", "function_call_output"]
    assert items[0]["content"] == [{"type": "input_text", "text": "2+2?"}]
    assert items[1]["id"] == "msg_mine"
    assert (page["has_more"], rest["has_more"]) == (True, False)
    assert newest["data"] == items[::-1]
    for place, item in enumerate(items):
        page = await server.get(f"/v1/responses/{response_id}/input_items?order=asc&after={item['id']}")
        assert page.json["data"] == items[place + 1 :]
    for query in ("after=nope", "after=msg_mine_0", "limit=0", "order=up"):
        assert (await server.get(f"/v1/responses/{response_id}/input_items?{query}")).status in (400, 404)


async def test_an_item_of_a_type_that_is_no_word_is_listed_all_the_same(server: Running) -> None:
    given: list[Json] = [{"type": {}}, {"type": [], "role": "user"}, {"role": [], "content": "x"}]
    response_id = await created(server, input=given)

    reply = await server.get(f"/v1/responses/{response_id}/input_items?order=asc")

    assert reply.status == 200
    assert [item["type"] for item in reply.json["data"]] == [{}, [], "message"]


def test_of_a_long_input_no_more_is_read_than_the_page() -> None:
    """Nothing else is listened to meanwhile."""
    raws = msgspec.Raw(b"[" + b",".join([b'{"role":"user","content":"x"}'] * 200_000) + b"]")
    begun = perf_counter()
    page = msgspec.json.decode(page_of(raws, "resp_a", after="msg_a_100000", limit=2, newest=True))

    assert perf_counter() - begun < 0.5
    assert [item["id"] for item in page["data"]] == ["msg_a_99999", "msg_a_99998"]
    assert page["has_more"] is True


async def test_one_goes_on_with_the_whole_conversation_before(server: Running) -> None:
    first = await created(server, "My name is Ada.", instructions="Be brief.")
    await (await take(server)).complete(a_response("Hello Ada.", response_id=first))
    second = await create(server, "And I am 36.", previous_response_id=first)
    await (await take(server)).complete(a_response("Noted.", response_id=second.json["id"]))
    third = await created(server, "Who am I?", previous_response_id=second.json["id"])

    payload = await payload_of(server, third)

    assert second.json["previous_response_id"] == first
    assert (second.json["instructions"], "instructions" in payload) == (None, False)
    assert payload["raincheck"] == {"previous_response_id": second.json["id"]}
    assert "previous_response_id" not in payload
    said = [item["content"] if item["role"] == "user" else item["content"][0]["text"] for item in payload["input"]]
    assert said == ["My name is Ada.", "Hello Ada.", "And I am 36.", "Noted.", "Who am I?"]


async def test_a_call_that_was_cut_short_is_not_gone_on_with(server: Running) -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": '{"a'}
    call["status"] = "incomplete"
    said = message("Let me see.", status="incomplete")
    first = await created(server)
    answer = a_response("", response_id=first) | {"status": "incomplete", "output": [said, call]}
    await (await take(server)).complete(answer)
    second = await created(server, "Go on.", previous_response_id=first)

    items = (await payload_of(server, second))["input"]

    assert [item.get("id") for item in items] == [None, said["id"], None]


async def test_one_cannot_go_on_from_what_is_not_completed(server: Running) -> None:
    first = await created(server)
    early = await create(server, previous_response_id=first)
    await (await take(server)).fail()
    late = await create(server, previous_response_id=first)
    never = await create(server, previous_response_id="resp_nope")

    assert (early.status, "when it is completed" in early.error["message"]) == (400, True)
    assert (late.status, "failed" in late.error["message"]) == (400, True)
    assert never.status == 404


async def test_a_conversation_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, max_body_bytes=10_000) as server:
        first = await created(server)
        await (await take(server)).complete(a_response("x" * 20_000, response_id=first))

        reply = await create(server, previous_response_id=first)

    assert (reply.status, reply.error["code"]) == (413, "request_too_large")


async def test_a_call_that_is_not_in_the_background_goes_on_from_one_that_was(server: Running) -> None:
    first = await created(server, "My name is Ada.")
    await (await take(server)).complete(a_response("Hello Ada.", response_id=first))
    await server.post("/v1/responses", {"model": "m", "input": "Who am I?", "previous_response_id": first})
    await server.post("/v1/responses", {"model": "m", "input": "Hi", "previous_response_id": "resp_theirs"})

    ours, theirs = (received.json for received in server.upstream.requests[:2])
    assert len(ours["input"]) == 3
    assert "previous_response_id" not in ours
    assert theirs == {"model": "m", "input": "Hi", "previous_response_id": "resp_theirs"}


async def test_metadata_is_the_records_too_as_far_as_there_is_room(server: Running) -> None:
    options: dict[str, Any] = {"metadata": {str(number): "ours" for number in range(15)}}
    response_id = await created(server, metadata={"0": "theirs", "a": "1", "b": "2"}, raincheck=options)

    kept = (await server.get(f"/v1/requests/{response_id}")).json["metadata"]

    assert kept == options["metadata"] | {"a": "1"}
    assert (await server.get(f"/v1/responses/{response_id}")).json["metadata"] == {"0": "theirs", "a": "1", "b": "2"}

"""Submitting: what is recorded, and what the answer says."""

import asyncio
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from raincheck.core.clock import now, seconds
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Priority
from tests.server import Running, a_chat, running_server


async def test_a_deferred_request_is_answered_with_both_names_of_its_id_and_no_choices(server: Running) -> None:
    reply = await server.post("/v1/chat/completions", a_chat(deferred=True))

    assert reply.status == 200
    assert reply.json == {
        "id": reply.json["id"],
        "request_id": reply.json["id"],
        "object": "chat.completion",
        "status": "pending",
        "created": reply.json["created"],
        "model": "m",
        "choices": [],
    }
    assert isinstance(reply.json["created"], int)


async def test_prefer_respond_async_defers_with_202_and_a_place_to_look(server: Running) -> None:
    reply = await server.post("/v1/chat/completions", a_chat(), prefer="respond-async")

    assert reply.status == 202
    assert reply.headers["location"] == f"/v1/requests/{reply.json['id']}"
    assert reply.headers["preference-applied"] == "respond-async"
    assert reply.json["choices"] == []


async def test_return_representation_answers_with_the_request(server: Running) -> None:
    reply = await server.post("/v1/chat/completions", a_chat(deferred=True), prefer="return=representation")

    assert reply.status == 200
    assert (reply.json["object"], reply.json["position"]) == ("request", 1)
    assert reply.headers["preference-applied"] == "return=representation"


async def test_our_members_never_reach_the_upstream_and_the_rest_does_byte_for_byte(server: Running) -> None:
    body = (
        b'{"deferred":true, "service_tier":"flex", "raincheck":{"metadata":{"a":"b"}}, "model":"m",'
        b'"messages": [ {"role":"user","content":"\\u00e9 1.0"} ], "seed": 1.50, "stream":false}'
    )

    reply = await server.post("/v1/embeddings", body)
    await server.ended(reply.json["id"])

    assert server.upstream.requests[0].body == (
        b'{"model":"m","messages":[ {"role":"user","content":"\\u00e9 1.0"} ],"seed":1.50,"stream":false}'
    )


async def test_options_come_from_the_body_or_from_headers(server: Running) -> None:
    in_an_hour = int(seconds(now())) + 3600
    options = {"metadata": {"team": "blue"}, "not_before": in_an_hour, "deadline": in_an_hour + 1, "max_attempts": 2}
    by_body = await server.defer(raincheck=options, service_tier="flex")
    reply = await server.post(
        "/v1/chat/completions",
        a_chat(deferred=True, service_tier="flex"),
        raincheck_metadata='{"team": "blue"}',
        raincheck_not_before=str(in_an_hour),
        raincheck_deadline=str(in_an_hour + 1),
        raincheck_max_attempts="2",
    )

    shown = [(await server.get(f"/v1/requests/{id_}")).json for id_ in (by_body, reply.json["id"])]

    for request in shown:
        assert request["metadata"] == {"team": "blue"}
        assert (request["not_before"], request["deadline"]) == (in_an_hour, in_an_hour + 1)
        assert (request["max_attempts"], request["service_tier"]) == (2, "flex")


async def test_times_may_be_rfc_3339(server: Running) -> None:
    moment = datetime.fromtimestamp(int(seconds(now())) + 3600, timezone(timedelta(hours=2)))
    request_id = await server.defer(raincheck={"not_before": moment.isoformat()})

    assert (await server.get(f"/v1/requests/{request_id}")).json["not_before"] == moment.timestamp()


async def test_g1_nothing_is_answered_200_when_the_store_cannot_write(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1: accepted is durable; what is not durable is not accepted."""

    async def broken(_: object) -> object:
        raise StoreUnavailable(retry_after=5)

    monkeypatch.setattr(server.edge.store.requests, "submit", broken)

    reply = await server.post("/v1/chat/completions", a_chat(deferred=True))

    assert (reply.status, reply.error["code"]) == (503, "store_unavailable")
    assert reply.headers["retry-after"] == "5"


async def test_a_server_that_is_stopping_takes_nothing_new_but_is_still_read(server: Running) -> None:
    request_id = await server.defer()
    server.app.stopping.set()

    refused = await server.post("/v1/chat/completions", a_chat(deferred=True))

    assert (refused.status, refused.error["code"]) == (503, "stopping")
    assert (await server.get(f"/v1/requests/{request_id}")).status == 200
    assert (await server.get("/health/ready")).status == 503


async def test_g9_the_same_key_and_body_is_the_same_request(server: Running) -> None:
    first, again = [
        await server.post("/v1/chat/completions", a_chat(deferred=True), idempotency_key="k") for _ in range(2)
    ]

    assert first.json["id"] == again.json["id"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


async def test_g9_keys_of_two_tenants_do_not_meet(server: Running) -> None:
    keys = [await server.key("one"), await server.key("two")]

    first, second = [
        await server.post(
            "/v1/chat/completions", a_chat(deferred=True), idempotency_key="k", authorization=f"Bearer {key}"
        )
        for key in keys
    ]

    assert first.json["id"] != second.json["id"]


@pytest.mark.parametrize(
    ("tier", "priority"),
    [("priority", Priority.PRIORITY), ("auto", Priority.DEFAULT), ("flex", Priority.FLEX), (None, Priority.DEFAULT)],
)
async def test_the_service_tier_sets_the_priority(server: Running, tier: str | None, priority: Priority) -> None:
    request_id = await server.defer(service_tier=tier)

    assert (await server.edge.store.requests.get("default", request_id)).priority is priority


async def test_a_body_larger_than_the_keys_cap_is_refused(server: Running) -> None:
    await server.tenant("small", max_body_bytes=50)
    key = await server.key("small")

    reply = await server.post("/v1/chat/completions", a_chat(), authorization=f"Bearer {key}")

    assert (reply.status, reply.error["code"]) == (413, "request_too_large")
    assert "50" in reply.error["message"]


async def test_many_at_once_are_all_recorded(server: Running) -> None:
    ids = await asyncio.gather(*(server.defer(content=f"number {number}") for number in range(50)))

    assert len(set(ids)) == 50
    assert (await server.get("/v1/requests?limit=100")).json["has_more"] is False


async def test_without_a_shortcut_the_router_finds_the_same_handlers(tmp_path: Path) -> None:
    async with running_server(tmp_path, cors_origins=("https://app.example",)) as server:
        request_id = await server.defer()
        shown = await server.ended(request_id)
        broken = await server.post("/v1/chat/completions", b"{")

    assert shown["status"] == "completed"
    assert broken.error["code"] == "invalid_request"

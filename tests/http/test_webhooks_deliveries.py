"""/v1/webhook_deliveries: the log, and sending again."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from raincheck.http.webhooks import deliveries as routes
from tests.http.webhooks import DELIVERIES, bearer, register, sending
from tests.receivers import Receiver, status
from tests.server import Json, Running


async def told(server: Running, receiver: Receiver, *, key: str | None = None, **headers: str) -> str:
    """The id of a request whose end was delivered."""
    reply = await server.post(
        "/v1/chat/completions",
        {"model": "m", "messages": [{"role": "user", "content": "x"}], "deferred": True},
        raincheck_webhook_url=receiver.at(),
        **bearer(key),
        **headers,
    )
    request_id: str = reply.json["id"]
    await receiver.wait(where=lambda each: each.data["id"] == request_id)
    return request_id


async def log_of(server: Running, query: str = "", **headers: str) -> list[Json]:
    reply = await server.get(f"{DELIVERIES}?{query}", **headers)
    assert reply.status == 200, reply.body
    return reply.json["data"]


async def until(server: Running, query: str, good: Callable[[list[Json]], bool], **headers: str) -> list[Json]:
    """The log, once it is good: what came of an attempt stands there soon after the receiver has answered."""
    async with asyncio.timeout(20):
        while not good(log := await log_of(server, query, **headers)):
            pass
    return log


async def arrived(server: Running, request_id: str, **headers: str) -> Json:
    """The one delivery about a request, once it stands in the log that it has arrived."""
    query = f"object_id={request_id}&status=delivered"
    [delivery] = await until(server, query, lambda log: len(log) == 1, **headers)
    return delivery


async def test_a_delivery_with_every_member_there_is(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        receiver.script("/hook", status(200, b"thanks"))
        request_id = await told(server, receiver)
        delivery = await arrived(server, request_id)
        one = (await server.get(f"{DELIVERIES}/{delivery['id']}")).json

    [sent] = receiver.received
    [attempt] = one.pop("attempts")
    assert one == delivery
    assert sent.headers["raincheck-delivery"] == delivery["id"]
    assert delivery == {
        "id": delivery["id"],
        "object": "webhook_delivery",
        "event_id": sent.id,
        "event_type": "chat.completion.completed",
        "object_id": request_id,
        "endpoint_id": None,
        "url": receiver.at(),
        "status": "delivered",
        "attempt": 1,
        "created_at": delivery["created_at"],
        "next_attempt_at": None,
        "sending": False,
        "test": False,
        "ended_at": delivery["ended_at"],
        "status_code": 200,
        "error": None,
        "receiver": {"failures": 0, "next_try_at": None},
    }
    assert delivery["created_at"] <= attempt.pop("started_at") <= delivery["ended_at"]
    assert attempt.pop("duration_ms") > 0
    assert attempt == {"number": 1, "status_code": 200, "error_code": None, "error": None, "response": "thanks"}


async def test_one_that_failed_says_why_and_when_it_is_tried_again(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        receiver.script("/hook", status(503, b"busy", retry_after="100"))
        request_id = await told(server, receiver)
        [delivery] = await until(server, f"object_id={request_id}", lambda log: log[0]["error"] is not None)
        [attempt] = (await server.get(f"{DELIVERIES}/{delivery['id']}")).json["attempts"]

    assert (delivery["status"], delivery["attempt"], delivery["status_code"]) == ("pending", 1, 503)
    assert delivery["next_attempt_at"] >= delivery["created_at"] + 100
    assert (attempt["error_code"], attempt["response"]) == ("status", "busy")


async def test_the_log_is_read_by_its_filters_and_in_pages(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        endpoint = await register(server, receiver.at("/all"), event_types=["*"])
        ids = [await told(server, receiver) for _ in range(3)]
        await receiver.wait(6)
        await until(server, "status=delivered", lambda log: len(log) == 6)

        of_endpoint = await log_of(server, f"endpoint_id={endpoint['id']}")
        middle = await log_of(server, f"object_id={ids[1]}")
        since = await log_of(server, f"since={middle[0]['created_at']}")
        page = (await server.get(f"{DELIVERIES}?limit=4")).json
        rest = (await server.get(f"{DELIVERIES}?limit=4&after={page['last_id']}")).json
        nothing = await log_of(server, "status=failed")

    assert [each["object_id"] for each in of_endpoint] == ids[::-1]
    assert [each["url"] for each in of_endpoint] == [receiver.at("/all")] * 3
    assert len(middle) == 2
    assert middle[0]["event_id"] == middle[1]["event_id"]
    assert {each["object_id"] for each in since} >= {ids[1], ids[2]}
    assert ids[0] not in {each["object_id"] for each in since}
    assert (page["has_more"], rest["has_more"], nothing) == (True, False, [])
    assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
    assert len({each["id"] for each in page["data"] + rest["data"]}) == 6


async def test_one_is_sent_again_with_the_same_event_id(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        request_id = await told(server, receiver)
        delivery = await arrived(server, request_id)
        again = await server.post(f"{DELIVERIES}/{delivery['id']}/redeliver")
        first, second = await receiver.wait(2)
        await arrived(server, request_id)
        one = (await server.get(f"{DELIVERIES}/{delivery['id']}")).json

    assert (again.status, again.json["id"], again.json["status"]) == (200, delivery["id"], "pending")
    assert first.id == second.id == delivery["event_id"]
    assert len(one["attempts"]) == 2


@pytest.mark.slow("a score of deliveries")
async def test_all_that_failed_since_a_time_are_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "AT_ONCE", 2)
    async with sending(tmp_path) as server, Receiver() as receiver:
        endpoint = await register(server, receiver.at("/gone"), event_types=["*"])
        receiver.script("/hook", *[status(410)] * 4)
        failed = [await told(server, receiver) for _ in range(4)]
        for request_id in failed:
            await until(server, f"object_id={request_id}&status=failed", bool)
        good = await told(server, receiver)
        [oldest] = await log_of(server, f"object_id={failed[0]}&status=failed")
        [second] = await log_of(server, f"object_id={failed[1]}&status=failed")
        await until(server, "status=delivered", lambda log: len(log) == 6)

        before = len(receiver.on("/hook"))
        later = await server.post(f"{DELIVERIES}/redeliver", {"since": second["created_at"]})
        all_of_them = await server.post(f"{DELIVERIES}/redeliver", {"since": 0, "until": oldest["created_at"] + 0.001})
        await receiver.wait(before + 4, path="/hook")
        none = await server.post(f"{DELIVERIES}/redeliver", {"since": 0, "endpoint_id": endpoint["id"]})
        too = await server.post(
            f"{DELIVERIES}/redeliver", {"since": 0, "endpoint_id": endpoint["id"], "delivered_too": True}
        )
        await receiver.wait(10, path="/gone")

    assert later.json == {"object": "webhook_redelivery", "count": 3}
    assert (all_of_them.json["count"], none.json["count"], too.json["count"]) == (1, 0, 5)
    repeated = [each.data["id"] for each in receiver.on("/hook")[before:]]
    assert sorted(repeated) == sorted(failed)
    assert good not in repeated


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ({"since": "soon"}, "since"),
        ({"since": -1}, "since"),
        ({"since": 0, "until": 1e300}, "until"),
        ({"since": 0, "all": True}, None),
        ({"since": 0, "delivered_too": "yes"}, "delivered_too"),
    ],
)
async def test_a_call_to_send_many_again_that_makes_no_sense_is_refused(
    server: Running, body: Json, param: str | None
) -> None:
    reply = await server.post(f"{DELIVERIES}/redeliver", body)

    assert (reply.status, reply.error["param"]) == (400, param)


@pytest.mark.parametrize(
    "query", ["status=lost", "limit=0", "limit=101", "since=soon", "after=", "tempo=5", "endpoint=we_1"]
)
async def test_a_list_that_cannot_be_is_refused(server: Running, query: str) -> None:
    reply = await server.get(f"{DELIVERIES}?{query}")

    assert (reply.status, reply.error["param"]) == (400, query.partition("=")[0])


async def test_g8_another_tenants_deliveries_are_unknown(tmp_path: Path) -> None:
    async with sending(tmp_path) as server, Receiver() as receiver:
        own, stranger = [await server.key(tenant) for tenant in ("t", "else")]
        reader = bearer(await server.key("t", "read"))
        request_id = await told(server, receiver, key=own)
        delivery = await arrived(server, request_id, **bearer(own))
        endpoint = await register(server, receiver.at(), key=own)
        where, as_stranger = f"{DELIVERIES}/{delivery['id']}", bearer(stranger)
        replies = [
            await server.get(where, **as_stranger),
            await server.post(f"{where}/redeliver", **as_stranger),
            await server.get(f"{DELIVERIES}?after={delivery['id']}", **as_stranger),
            await server.post(f"{DELIVERIES}/redeliver", {"since": 0, "endpoint_id": endpoint["id"]}, **as_stranger),
        ]
        listed = await log_of(server, f"object_id={request_id}", **as_stranger)
        many = await server.post(f"{DELIVERIES}/redeliver", {"since": 0, "delivered_too": True}, **as_stranger)
        refused = await server.post(f"{where}/redeliver", **reader)
        read = await server.get(where, **reader)

    assert {reply.status for reply in replies} == {404}
    assert (listed, many.json["count"]) == ([], 0)
    assert (refused.status, read.status) == (403, 200)
    assert len(receiver.received) == 1

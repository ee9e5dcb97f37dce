"""/v1/requests: reading, waiting, listing, cancelling, requeueing, forgetting."""

import asyncio
from pathlib import Path

import pytest

from raincheck.core.clock import now, seconds
from tests.scripted import error, text
from tests.server import Running, a_chat, running_server


async def test_the_whole_object_of_a_completed_request(server: Running) -> None:
    request_id = await server.defer(raincheck={"metadata": {"k": "v"}, "webhook_url": "https://hooks.invalid/hook"})

    request = await server.ended(request_id)

    attempts = request.pop("attempts")
    times = [request.pop(name) for name in ("created_at", "started_at", "ended_at", "purge_at")]
    result = request.pop("result")
    assert request == {
        "id": request_id,
        "object": "request",
        "status": "completed",
        "operation": "chat.completion",
        "model": "m",
        "queue": "m",
        "service_tier": "default",
        "not_before": None,
        "deadline": None,
        "position": None,
        "position_estimated": False,
        "eta_seconds": None,
        "waiting_for": None,
        "progress": request["progress"],
        "progress_message": None,
        "attempt": 1,
        "max_attempts": 5,
        "metadata": {"k": "v"},
        "webhook_url": "https://hooks.invalid/hook",
        "webhook_events": [],
        "include_result": False,
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
        "result_status": 200,
        "result_url": None,
        "result_size": request["result_size"],
        "attachments": [],
        "error": None,
    }
    assert times == sorted(times)
    assert result["choices"][0]["message"]["content"] == "Hello from the script."
    assert [(one["number"], one["upstream"], one["outcome"]) for one in attempts] == [(1, "up", "succeeded")]


async def test_a_failed_request_tells_each_attempt_and_the_last_error(server: Running) -> None:
    server.upstream.script(error(500, "boom"))
    request = await server.ended(await server.defer(raincheck={"max_attempts": 1}))

    assert request["status"] == "failed"
    assert request["error"]["upstream"]["status"] == 500
    assert request["attempts"][0]["error"]["upstream"]["body"]["error"]["message"] == "boom"
    assert request["result"] is None


async def test_pending_requests_know_their_position_and_why_they_wait(tmp_path: Path) -> None:
    async with running_server(tmp_path, places=1) as server:
        server.upstream.always(text(before=asyncio.Event()))
        await server.defer()
        await server.upstream.received()
        second, third = [await server.defer() for _ in range(2)]

        shown = [(await server.get(f"/v1/requests/{id_}")).json for id_ in (second, third)]

    assert [request["position"] for request in shown] == [1, 2]
    assert shown[0]["waiting_for"] == {"reason": "position", "until": None, "message": "it is next"}
    assert shown[1]["waiting_for"]["message"] == "1 request is ahead"


async def test_a_scheduled_request_says_until_when(server: Running) -> None:
    in_an_hour = int(seconds(now())) + 3600

    request = (await server.get(f"/v1/requests/{await server.defer(raincheck={'not_before': in_an_hour})}")).json

    assert request["waiting_for"]["reason"] == "scheduled"
    assert request["waiting_for"]["until"] == request["not_before"] == in_an_hour


async def test_a_paused_queue_says_so(server: Running) -> None:
    until = now() + 3_600_000_000
    await server.defer()
    await server.edge.store.registry.pause("queue", "m", until=until, reason="maintenance")

    request = (await server.get(f"/v1/requests/{await server.defer()}")).json

    assert request["waiting_for"] == {"reason": "paused", "until": seconds(until), "message": "maintenance"}


async def test_a_rate_limit_of_the_upstream_is_the_reason(server: Running) -> None:
    server.upstream.script(error(429, "slow down", retry_after="100"))
    request_id = await server.defer()
    await server.upstream.received()

    async with asyncio.timeout(5):
        while (request := (await server.get(f"/v1/requests/{request_id}")).json)["status"] != "pending":
            await asyncio.sleep(0.01)

    assert request["waiting_for"]["reason"] == "rate_limited"
    assert request["waiting_for"]["until"] > seconds(now()) + 90


async def test_an_upstream_that_is_down_is_the_reason(server: Running) -> None:
    [member] = server.edge.catalogue.members
    await server.upstream.close()
    server.edge.catalogue.mark_down(member, "connection refused")

    request = (await server.get(f"/v1/requests/{await server.defer()}")).json

    assert request["waiting_for"]["reason"] == "upstream_down"
    assert "connection refused" in request["waiting_for"]["message"]


async def test_waiting_ends_as_soon_as_the_request_does(server: Running) -> None:
    before = asyncio.Event()
    server.upstream.script(text(before=before))
    request_id = await server.defer()
    waiting = asyncio.create_task(server.get(f"/v1/requests/{request_id}", prefer="wait=50"))
    await server.upstream.received()
    assert not waiting.done()
    before.set()

    async with asyncio.timeout(5):
        reply = await waiting

    assert reply.json["status"] == "completed"
    assert reply.headers["preference-applied"] == "wait=50"


async def test_a_preference_to_wait_is_clamped_and_nonsense_is_ignored(server: Running) -> None:
    request_id = await server.defer()
    await server.ended(request_id)

    applied = [
        (await server.get(f"/v1/requests/{request_id}", prefer=prefer)).headers["preference-applied"]
        for prefer in ("wait=1e9", "wait=-5", "wait=soon", "wait=inf")
    ]

    assert applied == ["wait=60", "wait=0", "wait=0", "wait=0"]


async def test_waiting_with_since_ends_when_the_status_moves(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()

    async with asyncio.timeout(5):
        reply = await server.get(f"/v1/requests/{request_id}?wait=50&since=pending")

    assert reply.json["status"] == "processing"


async def test_waiting_ends_before_the_client_gives_up(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()

    async with asyncio.timeout(5):
        reply = await server.get(f"/v1/requests/{request_id}?wait=50", x_stainless_read_timeout="1.1")

    assert reply.json["ended_at"] is None


async def test_a_client_that_hangs_up_leaves_no_waiter_behind(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"GET /v1/requests/{request_id}?wait=50 HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    async with asyncio.timeout(5):
        while not server.edge.live.waiting(request_id):
            await asyncio.sleep(0.005)
        writer.close()
        while server.edge.live.waiting(request_id):
            await asyncio.sleep(0.005)
    assert await reader.read() == b""


async def test_progress_is_shown_while_it_runs(server: Running) -> None:
    more = asyncio.Event()
    server.upstream.script(text("one two three", pause=0.02))
    request_id = await server.defer(max_tokens=100)
    more.set()
    await server.ended(request_id)

    assert (await server.get(f"/v1/requests/{request_id}")).json["progress"] is not None


async def test_the_list_is_filtered_and_paged(server: Running) -> None:
    red = [await server.defer(raincheck={"metadata": {"colour": "red"}}) for _ in range(3)]
    await server.defer()
    for request_id in red:
        await server.ended(request_id)

    first = (await server.get("/v1/requests?metadata[colour]=red&limit=2&status=completed")).json
    rest = (await server.get(f"/v1/requests?metadata[colour]=red&limit=2&after={first['last_id']}")).json

    assert [item["id"] for item in first["data"] + rest["data"]] == red[::-1]
    assert (first["object"], first["has_more"], rest["has_more"]) == ("list", True, False)
    assert first["first_id"] == red[2]
    assert not {"result", "attempts", "position", "eta_seconds", "waiting_for"} & set(first["data"][0])


async def test_the_list_goes_on_in_the_order_that_was_asked_for(server: Running) -> None:
    ordered = [await server.defer() for _ in range(4)]

    async def walk(order: str) -> list[str]:
        found, after = list[str](), ""
        while True:
            page = (await server.get(f"/v1/requests?limit=3&order={order}{after}")).json
            found += [item["id"] for item in page["data"]]
            if not page["has_more"]:
                return found
            after = f"&after={page['last_id']}"

    assert (await walk("asc"), await walk("desc")) == (ordered, ordered[::-1])
    refused = await server.get("/v1/requests?order=newest")
    assert (refused.status, refused.error["param"]) == (400, "order")


async def test_the_list_is_filtered_by_model_and_time(server: Running) -> None:
    await server.defer()
    moment = seconds(now()) + 1

    async def count(query: str) -> int:
        return len((await server.get(f"/v1/requests?{query}")).json["data"])

    assert await count(f"created_after={moment}") == 0
    assert await count(f"created_before={moment}&model=m&queue=m&operation=chat.completion") == 1
    assert await count("model=other") == 0


async def test_g5_a_cancelled_request_stops_upstream_and_cancelling_again_changes_nothing(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()
    call = await server.upstream.received()

    first = await server.post(f"/v1/requests/{request_id}/cancel")
    again = await server.post(f"/v1/requests/{request_id}/cancel")

    async with asyncio.timeout(2):
        await call.left.wait()
    assert first.json["status"] == again.json["status"] == "cancelled"
    assert first.json["ended_at"] == again.json["ended_at"]


async def test_what_has_ended_otherwise_cannot_be_cancelled(server: Running) -> None:
    request_id = await server.defer()
    await server.ended(request_id)

    reply = await server.post(f"/v1/requests/{request_id}/cancel")

    assert (reply.status, reply.error["code"]) == (409, "already_ended")
    assert reply.headers["x-should-retry"] == "false"


async def test_a_failed_request_is_requeued_as_a_new_one(server: Running) -> None:
    server.upstream.script(error(400, "no"))
    request_id = await server.defer()
    await server.ended(request_id)

    copy = await server.post(f"/v1/requests/{request_id}/requeue")

    assert copy.status == 200
    assert copy.json["id"] != request_id
    assert (await server.ended(copy.json["id"]))["status"] == "completed"
    assert (await server.post(f"/v1/requests/{copy.json['id']}/requeue")).error["code"] == "not_requeueable"


async def test_an_ended_request_can_be_forgotten(server: Running) -> None:
    request_id = await server.defer()
    await server.ended(request_id)

    reply = await server.call("DELETE", f"/v1/requests/{request_id}")

    assert reply.json == {"id": request_id, "object": "request.deleted", "deleted": True}
    assert (await server.get(f"/v1/requests/{request_id}")).status == 404


async def test_a_request_under_way_cannot_be_forgotten(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()

    reply = await server.call("DELETE", f"/v1/requests/{request_id}")

    assert (reply.status, reply.error["code"]) == (409, "not_ended")


async def test_the_result_alone_is_the_upstreams_bytes(server: Running) -> None:
    reply = await server.post("/v1/embeddings", {"model": "m", "input": "x"}, prefer="respond-async")
    assert (reply.status, reply.json["operation"]) == (202, "embedding")

    result = await server.get(f"/v1/requests/{reply.json['id']}/result?wait=10")

    assert result.json["data"][0]["embedding"] == [0.5, -0.25]
    assert result.headers["content-type"] == "application/json"


async def test_the_result_is_202_with_the_request_until_it_is_there(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))

    result = await server.get(f"/v1/requests/{await server.defer()}/result")

    assert (result.status, result.json["object"]) == (202, "request")


async def test_the_result_shows_the_request_as_it_stands_after_the_wait(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()
    await server.upstream.received()
    [fence] = [notes.fence for notes in [server.edge.live.notes(request_id)] if notes]
    asking = asyncio.create_task(server.get(f"/v1/requests/{request_id}/result?wait=60"))
    async with asyncio.timeout(5):
        while not server.edge.live.waiting(request_id):
            await asyncio.sleep(0.005)
    server.edge.live.progress(fence, 0.5, "half")
    server.edge.live.close()

    result = await asking

    assert (result.status, result.json["status"], result.json["progress"]) == (202, "processing", 0.5)


async def test_a_model_that_nobody_serves_any_more_is_the_reason(server: Running) -> None:
    """An upstream that has listed nothing yet is asked for any name; what it lists in the end may not have it."""
    [member] = server.edge.catalogue.members
    member.listed = None
    server.edge.catalogue.mark_down(member, "connection refused")
    request_id = await server.defer(model="ghost")
    while_down = (await server.get(f"/v1/requests/{request_id}")).json["waiting_for"]
    member.listed = frozenset({"m"})
    server.edge.catalogue.mark_up(member)
    listed = (await server.get(f"/v1/requests/{request_id}")).json["waiting_for"]

    assert while_down["reason"] == "upstream_down"
    assert (listed["reason"], "'ghost'" in listed["message"]) == ("not_served", True)


async def test_g8_another_tenants_id_answers_exactly_like_an_unknown_one(server: Running) -> None:
    """G8, for every route that takes an id: equal but for the id that was asked for and the call's own."""
    mine, theirs = await server.key("mine"), await server.key("theirs")
    reply = await server.post("/v1/chat/completions", a_chat(deferred=True), authorization=f"Bearer {theirs}")
    request_id = reply.json["id"]
    unknown = "req_" + "0" * (len(request_id) - 4)
    routes = [
        ("GET", "/v1/requests/{}"),
        ("GET", "/v1/requests/{}/result"),
        ("GET", "/v1/requests/{}/events"),
        ("GET", "/v1/chat/deferred-completion/{}"),
        ("GET", "/xai/v1/chat/deferred-completion/{}"),
        ("POST", "/v1/requests/{}/cancel"),
        ("POST", "/v1/requests/{}/requeue"),
        ("DELETE", "/v1/requests/{}"),
        ("GET", "/v1/requests?after={}"),
    ]
    for method, route in routes:
        answers = [
            await server.call(method, route.format(id_), headers={"authorization": f"Bearer {mine}"})
            for id_ in (request_id, unknown)
        ]
        for answer in answers:
            del answer.headers["x-request-id"]
        assert answers[0].status == answers[1].status == 404, route
        assert answers[0].body.replace(request_id.encode(), unknown.encode()) == answers[1].body
        assert answers[0].headers == answers[1].headers

    listed = await server.get("/v1/requests", authorization=f"Bearer {mine}")
    assert listed.json["data"] == []


@pytest.mark.parametrize("path", ["cancel", "requeue"])
async def test_nothing_changes_by_get(server: Running, path: str) -> None:
    request_id = await server.defer()

    assert (await server.get(f"/v1/requests/{request_id}/{path}")).status == 405

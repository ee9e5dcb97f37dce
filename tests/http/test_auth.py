"""API keys over a real socket."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from raincheck.core.clock import SECOND
from raincheck.http.edge import Edge
from raincheck.intake.gate import TRUST_FOR, Gate
from tests.scripted import text
from tests.server import Running, a_chat, running_server
from tests.store.builders import FakeClock


async def test_with_no_key_made_a_loopback_server_is_open_whatever_is_sent(server: Running) -> None:
    assert (await server.get("/v1/models")).status == 200
    assert (await server.get("/v1/models", authorization="Bearer anything")).status == 200


async def test_once_a_key_exists_one_is_needed(server: Running) -> None:
    await server.key()

    missing = await server.get("/v1/models")
    wrong = await server.get("/v1/models", authorization="Bearer rc_wrong")
    other_kind = await server.get("/v1/models", authorization="Basic cmM6cmM=")

    assert (missing.status, missing.error["code"]) == (401, "api_key_missing")
    assert (wrong.status, wrong.error["code"]) == (401, "api_key_invalid")
    assert other_kind.error["code"] == "api_key_missing"
    assert missing.headers["www-authenticate"] == "Bearer"
    assert "raincheck keys create" in wrong.error["message"]


async def test_a_key_without_the_scope_is_refused(server: Running) -> None:
    reader = await server.key("t", "read")

    refused = await server.post("/v1/chat/completions", a_chat(), authorization=f"Bearer {reader}")

    assert (refused.status, refused.error["code"]) == (403, "scope_missing")
    assert (await server.get("/v1/requests", authorization=f"Bearer {reader}")).status == 200


async def test_a_revoked_key_dies_within_two_seconds(tmp_path: Path) -> None:
    clock = FakeClock()

    def with_clock(edge: Edge) -> Edge:
        return replace(edge, gate=Gate(edge.store.registry, clock.now, loopback=True))

    async with running_server(tmp_path, change=with_clock) as server:
        secret = await server.key()
        before = await server.get("/v1/models", authorization=f"Bearer {secret}")
        [key] = await server.edge.store.registry.keys()
        await server.edge.store.registry.revoke_key(key.id)
        clock.advance(seconds=TRUST_FOR / SECOND)
        after = await server.get("/v1/models", authorization=f"Bearer {secret}")
        open_again = await server.get("/v1/models")

    assert before.status == 200
    assert (after.status, after.error["code"]) == (401, "api_key_invalid")
    assert open_again.status == 401


async def test_health_needs_no_key_and_metrics_do(server: Running) -> None:
    await server.key()

    assert (await server.get("/health/live")).status == 200
    assert (await server.get("/health/ready")).status == 200
    assert (await server.get("/metrics")).status == 401


SEEN_BY_A_WRITER = {"id", "object", "status", "created_at", "model"}
"""Of the request object, by a key that may not read."""


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/rerank", "/xai/v1/chat/completions"])
async def test_a_key_that_may_only_write_learns_no_result_by_repeating_a_submit(server: Running, path: str) -> None:
    reader, writer = await server.key("t"), await server.key("t", "write")
    asked = a_chat(raincheck={"metadata": {"team": "blue"}})
    headers = {"idempotency_key": "k", "prefer": "respond-async, return=representation, wait=5"}
    first = await server.post(path, asked, authorization=f"Bearer {writer}", **headers)
    await server.ended(first.json["id"], authorization=f"Bearer {reader}")

    again = await server.post(path, asked, authorization=f"Bearer {writer}", **headers)
    read = await server.post(path, asked, authorization=f"Bearer {reader}", **headers)

    assert (again.headers["idempotency-replayed"], again.json["status"]) == ("true", "completed")
    assert first.json.keys() == again.json.keys() == SEEN_BY_A_WRITER
    assert (read.json["id"], read.json["metadata"]) == (first.json["id"], {"team": "blue"})


async def test_a_key_that_may_only_write_cancels_and_requeues_what_it_cannot_read(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    writer = await server.key("t", "write")
    headers = {"authorization": f"Bearer {writer}", "prefer": "respond-async"}
    made = await server.post("/v1/rerank", a_chat(raincheck={"metadata": {"team": "blue"}}), **headers)

    cancelled = await server.post(f"/v1/requests/{made.json['id']}/cancel", **headers)
    requeued = await server.post(f"/v1/requests/{made.json['id']}/requeue", **headers)

    assert (cancelled.status, cancelled.json["status"], requeued.status) == (200, "cancelled", 200)
    assert made.json.keys() == cancelled.json.keys() == requeued.json.keys() == SEEN_BY_A_WRITER


@pytest.mark.parametrize("path", ["?wait=20", "/events"])
async def test_a_key_that_is_revoked_while_it_waits_is_told_nothing_more(tmp_path: Path, path: str) -> None:
    clock, before = FakeClock(), asyncio.Event()

    def with_clock(edge: Edge) -> Edge:
        return replace(edge, gate=Gate(edge.store.registry, clock.now, loopback=True))

    async with running_server(tmp_path, change=with_clock) as server:
        server.upstream.always(text(before=before))
        secret = await server.key()
        bearer = {"authorization": f"Bearer {secret}"}
        submitted = await server.post("/v1/chat/completions", a_chat(deferred=True), **bearer)
        request_id = submitted.json["id"]
        await server.upstream.received()
        waiting = asyncio.create_task(server.get(f"/v1/requests/{request_id}{path}", **bearer))
        async with asyncio.timeout(5):
            while not server.edge.live.waiting(request_id):
                await asyncio.sleep(0.005)
        [key] = await server.edge.store.registry.keys()
        await server.edge.store.registry.revoke_key(key.id)
        clock.advance(seconds=TRUST_FOR / SECOND)
        before.set()
        reply = await waiting

    assert b'"completed"' not in reply.body
    assert reply.status == (200 if path == "/events" else 401)

"""API keys over a real socket."""

from dataclasses import replace
from pathlib import Path

from raincheck.core.clock import SECOND
from raincheck.http.edge import Edge
from raincheck.intake.gate import TRUST_FOR, Gate
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

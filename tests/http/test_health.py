"""/health and /metrics."""

from typing import Any

import apsw
import pytest

from raincheck.core.settings import sqlite_path
from raincheck.http import health
from tests.server import Running
from tests.store.sqlite.test_disk import full_disk


async def test_a_healthy_server_is_ready_and_names_its_upstreams(server: Running) -> None:
    reply = await server.get("/health/ready")

    assert reply.status == 200
    upstream = {"name": "up", "up": True, "models": ["m"], "down_since": None, "reason": None}
    assert reply.json == {"status": "ok", "store": "ok", "upstreams": [upstream]}


async def test_an_upstream_that_is_down_is_reported_and_does_not_matter(server: Running) -> None:
    [member] = server.edge.catalogue.members
    await server.upstream.close()
    server.edge.catalogue.mark_down(member, "connection refused")

    reply = await server.get("/health/ready")

    assert reply.status == 200
    assert reply.json["upstreams"][0]["reason"] == "connection refused"
    assert reply.json["upstreams"][0]["up"] is False


async def test_a_store_that_cannot_be_used_is_not_ready(server: Running) -> None:
    with full_disk(0):
        full = await server.get("/health/ready")
    again = await server.get("/health/ready")

    assert (full.status, full.json["status"]) == (503, "unavailable")
    assert "Nothing was accepted" in full.json["store"]
    assert again.status == 200


async def test_a_store_that_hangs_is_told_before_those_who_ask_give_up(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CHECKED_WITHIN", 0.05)
    other: Any = apsw.Connection(str(sqlite_path(server.app.settings.store_url)))
    other.set_busy_timeout(5_000)
    other.execute("begin immediate")
    hung = await server.get("/health/ready")
    other.execute("rollback")
    other.close()

    assert (hung.status, hung.json["store"]) == (503, "The store has not answered within 0.05 seconds.")
    monkeypatch.undo()
    assert (await server.get("/health/ready")).status == 200


async def test_metrics_are_prometheus_text(server: Running) -> None:
    reply = await server.get("/metrics")

    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert b"# TYPE" in reply.body

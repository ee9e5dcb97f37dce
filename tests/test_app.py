"""The server as a whole: what stops it before it starts, and what must not stop it."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raincheck.app import Role, keep_going, running
from raincheck.core.clock import HOUR, SECOND, now
from raincheck.core.errors import SettingsInvalid
from raincheck.core.model import Limits, Worker
from raincheck.core.settings import Settings, UpstreamSettings
from raincheck.core.status import Status
from raincheck.http.app import create_probes
from raincheck.store.protocol import Registry
from tests.logs import logged
from tests.receivers import Receiver
from tests.scripted import ScriptedUpstream, text
from tests.server import a_chat, running_server


async def test_a_server_that_must_not_be_bound_starts_no_upstream(tmp_path: Path) -> None:
    """The embedded model's weights would be pulled for nothing."""
    nobody = UpstreamSettings(name="up", kind="python", handler="no.such:handler", models=("m",))
    settings = Settings(store_url=f"sqlite:///{tmp_path / 'it.db'}", host="0.0.0.0", upstreams=(nobody,))
    with pytest.raises(SettingsInvalid, match="Refusing to listen"):
        async with running(settings):
            pass


@pytest.mark.slow("starts a PostgreSQL")
async def test_a_clock_that_is_not_the_databases_is_told_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from raincheck.store.postgres import clocks
    from tests.store.postgres.databases import databases

    url = await databases().lend()
    with logged() as events:
        async with running_server(tmp_path, store_url=url):
            assert [each for each in events if each["event"] == "clock.off"] == []
        monkeypatch.setattr(clocks, "now", lambda: now() + HOUR)
        async with running_server(tmp_path, store_url=url):
            [told] = [each for each in events if each["event"] == "clock.off"]
    databases().give_back(url)
    assert told["behind"] == pytest.approx(-3600, abs=1)


async def test_a_loop_goes_on_after_a_fault_of_its_own() -> None:
    rounds = list[int]()

    async def loop() -> None:
        rounds.append(1)
        if len(rounds) == 1:
            raise KeyError("a bug")

    with logged() as events:
        await keep_going("chore", loop, again_after=0)
    assert len(rounds) == 2
    assert [(each["event"], each["loop"], each["log_level"]) for each in events] == [
        ("server.loop_crashed", "chore", "error")
    ]


async def test_a_loop_can_be_cancelled() -> None:
    task = asyncio.create_task(keep_going("chore", asyncio.Event().wait))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_the_server_is_told_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with running_server(tmp_path):
            raise ZeroDivisionError


FUNCTION = UpstreamSettings(name="py", kind="python", handler="tests.test_app:shout", models=("loud", "louder-*"))


def shout(payload: dict[str, Any]) -> dict[str, Any]:
    return {"said": payload["messages"][0]["content"].upper()}


# --- limits


def limited(store: Path, base_url: str, **limits: Any) -> Settings:
    up = UpstreamSettings(name="up", base_url=base_url, **limits)
    return Settings(
        store_url=f"sqlite:///{store}", grace=0, upstreams=(up, FUNCTION), queue_limits={"m": Limits(rpm=5)}
    )


async def test_configured_limits_are_taken_over_into_the_store(tmp_path: Path) -> None:
    """G7: of a server they hold over all workers; a function has its places in each."""
    async with ScriptedUpstream() as upstream:
        settings = limited(tmp_path / "it.db", upstream.base_url, max_concurrency="auto", tpm=100)
        async with running(settings) as app:
            [queue] = await app.store.registry.throttles("queue")
            [server] = await app.store.registry.throttles("upstream")
            assert (queue.name, queue.limits) == ("m", Limits(rpm=5))
            assert (server.name, server.limits) == ("up", Limits(max_concurrency="auto", tpm=100))
        async with running(limited(tmp_path / "it.db", upstream.base_url, max_concurrency=3)) as app:
            [server] = await app.store.registry.throttles("upstream")
            assert (server.limits, server.level) == (Limits(max_concurrency=3), None)


async def test_who_does_not_work_sets_no_limits(tmp_path: Path) -> None:
    """It may know less of the upstreams than the workers do."""
    settings = limited(tmp_path / "it.db", "http://127.0.0.1:9/v1")
    async with running(settings, Role.DESK) as app:
        assert await app.store.registry.throttles("upstream") == []


# --- roles


def functional(store: Path) -> Settings:
    return Settings(store_url=f"sqlite:///{store}", grace=0, upstreams=(FUNCTION,))


async def test_without_a_worker_requests_are_accepted_and_left_pending(tmp_path: Path) -> None:
    async with running_server(tmp_path, role=Role.DESK, beside=[FUNCTION]) as server:
        ids = [await server.defer(model=model) for model in ("m", "loud", "louder-still")]
        assert (await server.post("/v1/chat/completions", a_chat("Hi"))).status == 200
        assert server.upstream.count == 1
        for id_ in ids:
            assert (await server.get(f"/v1/requests/{id_}")).json["status"] == Status.PENDING
        assert await server.app.store.registry.workers() == []
    async with running_server(tmp_path, beside=[FUNCTION]) as server:
        for id_ in ids:
            assert (await server.ended(id_))["status"] == Status.COMPLETED


@pytest.mark.parametrize("upstream", [FUNCTION, UpstreamSettings(name="local", kind="local")], ids=["python", "local"])
async def test_what_runs_in_workers_is_known_without_being_started(tmp_path: Path, upstream: UpstreamSettings) -> None:
    model = {"python": "loud", "local": "smollm2-135m"}[upstream.kind]
    nothing_there = replace(upstream, handler="no.such:handler")
    async with running_server(tmp_path, role=Role.DESK, upstreams=(nothing_there,)) as server:
        listed = (await server.get("/v1/models")).json["data"]
        assert model in [each["id"] for each in listed]
        refused = await server.post("/v1/chat/completions", a_chat(model=model))
        assert refused.status == 400
        assert "deferred" in refused.error["message"]


async def test_a_worker_of_its_own_needs_a_store_to_share(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match="PostgreSQL"):
        async with running(functional(tmp_path / "it.db"), Role.WORKER):
            pass
    assert not (tmp_path / "it.db").exists()


async def test_a_worker_shows_that_it_is_there_and_leaves_when_it_stops(tmp_path: Path) -> None:
    settings = functional(tmp_path / "it.db")
    async with running(settings) as app:
        worker = await seen(app.store.registry)
        assert worker.name == app.dispatcher.worker
        assert worker.name.startswith(f"{worker.host}-{worker.pid}-")
    async with running(settings, Role.DESK) as app:
        assert await app.store.registry.workers() == []


async def seen(registry: Registry) -> Worker:
    async with asyncio.timeout(5):
        while not (workers := await registry.workers()):
            await asyncio.sleep(0.01)
    [worker] = workers
    return worker


async def test_a_workers_port_answers_how_it_is_and_nothing_else(tmp_path: Path) -> None:
    async with running_server(tmp_path, create=create_probes) as worker:
        assert (await worker.get("/health/live")).status == 200
        assert (await worker.get("/health/ready")).json["store"] == "ok"
        assert b"raincheck_claimed" in (await worker.get("/metrics")).body
        unknown = await worker.get("/v1/requests")
        assert (unknown.status, "/schema" in unknown.json["error"]["message"]) == (404, False)
        assert (await worker.post("/v1/chat/completions", a_chat())).status == 404
        await worker.key()
    async with running_server(tmp_path, create=create_probes) as worker:
        assert (await worker.get("/health/ready")).status == 200
        assert (await worker.get("/metrics")).status == 401


# --- webhooks


async def test_who_does_not_work_sends_no_webhooks(tmp_path: Path) -> None:
    """They wait for a worker (G6)."""
    async with Receiver() as receiver:
        async with running_server(tmp_path, role=Role.DESK, webhook_hosts=(receiver.host,)) as server:
            id_ = await server.defer(raincheck={"webhook_url": receiver.at()})
            assert (await server.post(f"/v1/requests/{id_}/cancel")).status == 200
            assert await server.app.store.deliveries.next_due() is not None
        assert receiver.received == []
        async with running_server(tmp_path, webhook_hosts=(receiver.host,)):
            [told] = await receiver.wait()
    assert (told.data["id"], told.type) == (id_, "chat.completion.cancelled")


async def test_what_ends_while_the_server_stops_is_told_of_before_it_has_stopped(tmp_path: Path) -> None:
    """G6, as long as the grace period lasts."""
    async with (
        Receiver() as receiver,
        running_server(tmp_path, grace=10 * SECOND, webhook_hosts=(receiver.host,)) as server,
    ):
        let_go = asyncio.Event()
        server.upstream.script(text(before=let_go))
        await server.defer(raincheck={"webhook_url": receiver.at()})
        async with asyncio.timeout(5):
            while not server.upstream.count:
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(server.app.stop())
        await server.app.stopping.wait()
        let_go.set()
        await stopping
        [told] = receiver.received
    assert told.type == "chat.completion.completed"

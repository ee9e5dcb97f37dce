"""A server that takes calls and a worker that answers them, each in a process of its own, over one PostgreSQL."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import aiohttp
import pytest

from raincheck.intake.retrieve import LOOK_AGAIN
from tests.stories import calls
from tests.stories.cluster import Cluster, a_cluster
from tests.stories.processes import RAINCHECK, Process, free_port, start

DELAY = 1.5
"""Seconds the upstream takes for an answer."""


@pytest.mark.slow("starts PostgreSQL and three processes, and waits for their answers")
async def test_what_one_process_accepts_another_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """G5 across machines: a cancel here stops the call there within 2 s."""
    async with a_cluster(tmp_path, apis=1, workers=0, delay=DELAY) as cluster, aiohttp.ClientSession() as http:
        first = await submit(http, cluster, "first")
        assert (await get(http, f"{cluster.api()}/requests/{first}"))["status"] == "pending"
        refused = await post(http, f"{cluster.api()}/requests/{first}/requeue")
        assert refused["error"]["code"] == "not_requeueable"

        port = free_port()
        worker = await a_worker(cluster, port)
        name = json.loads(worker.first_line)["worker"]
        assert (await get(http, f"{cluster.api()}/requests/{first}?wait=20"))["status"] == "completed"

        began = perf_counter()
        second = await submit(http, cluster, "second")
        assert (await get(http, f"{cluster.api()}/requests/{second}?wait=20"))["status"] == "completed"
        took = perf_counter() - began
        assert DELAY <= took < LOOK_AGAIN - 1  # Told, and not found by looking.

        third = await submit(http, cluster, "third")
        await until(lambda: the_call(cluster, "third") is not None)
        cancelled = monotonic()
        assert (await post(http, f"{cluster.api()}/requests/{third}/cancel"))["status"] == "cancelled"
        await until(lambda: (call := the_call(cluster, "third")) is not None and call.ended < float("inf"))
        call = the_call(cluster, "third")
        assert call is not None
        assert not call.answered
        assert call.ended - cancelled < 2

        assert (await get(http, f"http://127.0.0.1:{port}/health/ready"))["status"] == "ok"
        async with http.get(f"http://127.0.0.1:{port}/metrics") as page:
            assert 'raincheck_claimed_total{queue="m"} 3.0' in await page.text()
        assert cluster.database.psql("select name from worker") == name
        assert await worker.terminate() == 0
        assert cluster.database.psql("select count(*) from worker") == "0"
    with capsys.disabled():
        print(
            f"\nan answer of {DELAY} s was handed over by another process after {took:.2f} s; "
            f"a call was cut off there {1_000 * (call.ended - cancelled):.0f} ms after its cancel began"
        )


@pytest.mark.slow("starts PostgreSQL and three processes, and stops PostgreSQL for some seconds")
async def test_work_under_way_outlives_an_outage_of_the_database(tmp_path: Path) -> None:
    """G3, G4: the call goes on, its outcome is kept and recorded afterwards, and nobody needs a restart."""
    async with a_cluster(tmp_path, apis=1, workers=0, delay=DELAY) as cluster, aiohttp.ClientSession() as http:
        worker = await a_worker(cluster, free_port())
        request_id = await submit(http, cluster, "patience")
        await until(lambda: the_call(cluster, "patience") is not None)
        await asyncio.to_thread(cluster.database.stop)
        assert (await post(http, f"{cluster.api()}/chat/completions", a_body("now")))["error"]["code"] == (
            "store_unavailable"
        )
        await asyncio.sleep(2 * DELAY)
        await asyncio.to_thread(cluster.database.start)
        request = await get(http, f"{cluster.api()}/requests/{request_id}?wait=20")
        assert (request["status"], request["attempt"]) == ("completed", 1)
        after = await submit(http, cluster, "afterwards")
        assert (await get(http, f"{cluster.api()}/requests/{after}?wait=20"))["status"] == "completed"
        assert [call.content for call in cluster.calls()] == ["patience", "afterwards"]
        assert await worker.terminate() == 0
        log = (tmp_path / "worker.log").read_text()
        assert log.count('"event": "store.down"') == log.count('"event": "store.up"') == 1


async def a_worker(cluster: Cluster, port: int) -> Process:
    command = [RAINCHECK, "work", "--json", "--store", cluster.url, "--upstream", cluster.upstream]
    command += ["--port", str(port)]
    return await start(command, cwd=cluster.folder, log=cluster.folder / "worker.log")


async def submit(http: aiohttp.ClientSession, cluster: Cluster, content: str) -> str:
    return (await post(http, f"{cluster.api()}/chat/completions", a_body(content)))["id"]


def a_body(content: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], "deferred": True}


async def get(http: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    async with http.get(url) as reply:
        return await reply.json()


async def post(http: aiohttp.ClientSession, url: str, body: object = None) -> dict[str, Any]:
    async with http.post(url, json=body) as reply:
        return await reply.json()


def the_call(cluster: Cluster, content: str) -> calls.Call | None:
    return next((call for call in cluster.calls() if call.content == content), None)


async def until(wanted: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not wanted():
            await asyncio.sleep(0.01)

"""SIGTERM: nothing new is started, running work may finish, the rest is given back untried."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.stories.processes import Server, an_upstream, free_port

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "deferred": True}


@pytest.mark.slow("starts and stops real servers")
async def test_running_work_finishes_and_the_rest_is_given_back(tmp_path: Path) -> None:
    async with an_upstream(tmp_path, delay=1.0) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port(), ["--max-concurrency", "2"])
        process = await server.start()
        ids: list[str] = []
        for _ in range(4):
            async with http.post(f"{server.base_url}/chat/completions", json=ASK) as reply:
                ids.append((await reply.json())["id"])
        async with http.get(f"{server.base_url}/requests/{ids[1]}?wait=30&since=pending") as reply:
            assert (await reply.json())["status"] == "processing"
        stopping = asyncio.create_task(process.terminate())
        async with asyncio.timeout(10):
            while (await _answer(http, f"{server.base_url}/requests/{ids[1]}"))[1]["status"] != "completed":
                await asyncio.sleep(0.02)  # reads go on while work finishes
        assert await stopping == 0

        process = await server.start()
        ends = [await _ended(http, server, id_) for id_ in ids]
        assert [end["status"] for end in ends] == ["completed"] * 4
        assert [end["attempt"] for end in ends] == [1] * 4
        assert await process.terminate() == 0


@pytest.mark.slow("starts and stops a real server")
async def test_work_beyond_the_grace_period_keeps_its_attempt(tmp_path: Path) -> None:
    (tmp_path / "raincheck.toml").write_text('grace = "0s"\n')
    async with an_upstream(tmp_path, delay=600) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()
        async with http.post(f"{server.base_url}/chat/completions", json=ASK) as reply:
            id_ = (await reply.json())["id"]
        async with http.get(f"{server.base_url}/requests/{id_}?wait=30&since=pending") as reply:
            assert (await reply.json())["attempt"] == 1
        assert await process.terminate() == 0
        process = await server.start()
        async with http.get(f"{server.base_url}/requests/{id_}?wait=30&since=pending") as reply:
            again = await reply.json()
        assert (again["status"], again["attempt"]) == ("processing", 1)
        assert [attempt["outcome"] for attempt in again["attempts"]] == ["released"]
        await process.kill()


@pytest.mark.slow("starts and stops a real server")
async def test_who_waits_for_news_is_answered_when_the_server_stops(tmp_path: Path) -> None:
    async with an_upstream(tmp_path, delay=2) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()
        async with http.post(f"{server.base_url}/chat/completions", json=ASK) as reply:
            id_ = (await reply.json())["id"]
        async with http.get(f"{server.base_url}/requests/{id_}?wait=30&since=pending") as reply:
            assert (await reply.json())["status"] == "processing"
        by_id = asyncio.create_task(_answer(http, f"{server.base_url}/requests/{id_}?wait=60"))
        deferred = asyncio.create_task(_answer(http, f"{server.base_url}/chat/deferred-completion/{id_}?wait=60"))
        await asyncio.sleep(0.1)  # Both are written; even one that comes later would have to be answered like this.
        assert await process.terminate() == 0
        assert (await by_id)[0] == 200
        assert (await by_id)[1]["status"] == "processing"
        assert (await deferred)[0] == 202
        assert "Traceback" not in (tmp_path / "server.log").read_text()


@pytest.mark.slow("starts and stops a real server")
async def test_a_call_that_is_passed_through_is_finished_and_a_new_one_refused(tmp_path: Path) -> None:
    async with an_upstream(tmp_path, delay=2) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()
        call = {**ASK, "deferred": False}
        running = asyncio.create_task(_answer(http, f"{server.base_url}/chat/completions", call))
        async with asyncio.timeout(10):
            while not await _seen(http, upstream):
                await asyncio.sleep(0.02)
        stopping = asyncio.create_task(process.terminate())
        async with asyncio.timeout(10):
            while (await _answer(http, server.base_url.removesuffix("/v1") + "/health/ready"))[0] == 200:
                await asyncio.sleep(0.02)
        status, refused = await _answer(http, f"{server.base_url}/chat/completions", call)
        assert (status, refused["error"]["code"]) == (503, "stopping")
        assert (await running)[0] == 200
        assert await stopping == 0


async def _answer(http: aiohttp.ClientSession, url: str, body: object = None) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an answer; a POST when there is a body."""
    async with http.request("GET" if body is None else "POST", url, json=body) as reply:
        return reply.status, json.loads(await reply.read())


async def _seen(http: aiohttp.ClientSession, upstream: str) -> int:
    _, log = await _answer(http, upstream.removesuffix("/v1") + "/__log")
    return sum(log["by_content"].values())


async def _ended(http: aiohttp.ClientSession, server: Server, request_id: str) -> dict[str, object]:
    async with http.get(f"{server.base_url}/requests/{request_id}?wait=30") as reply:
        return json.loads(await reply.read())

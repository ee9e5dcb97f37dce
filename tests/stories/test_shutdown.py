"""SIGTERM: nothing new is started, running work may finish, the rest is given back untried."""

import asyncio
import json
from pathlib import Path

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
        async with http.get(f"{server.base_url}/requests/{ids[1]}?wait=30") as reply:
            assert (await reply.json())["status"] == "completed"  # reads go on while work finishes
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


async def _ended(http: aiohttp.ClientSession, server: Server, request_id: str) -> dict[str, object]:
    async with http.get(f"{server.base_url}/requests/{request_id}?wait=30") as reply:
        return json.loads(await reply.read())

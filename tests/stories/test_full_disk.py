"""G1: a full disk is answered with 503, never with a false 2xx, and nothing accepted is lost."""

import asyncio
import resource
from pathlib import Path
from time import perf_counter

import aiohttp
import pytest

from tests.stories.processes import Server, an_upstream, free_port


@pytest.mark.slow("runs a real server into a file size limit")
async def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    async with an_upstream(tmp_path) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()
        accepted: list[str] = []

        async def submit() -> int:
            content = f"{len(accepted)} " + "x" * 20_000
            ask = {"model": "m", "messages": [{"role": "user", "content": content}], "deferred": True}
            async with http.post(f"{server.base_url}/chat/completions", json=ask) as reply:
                body = await reply.json()
                if reply.status == 200:
                    accepted.append(body["id"])
                else:
                    assert body["error"]["code"] == "store_unavailable"
                    assert "Nothing was accepted" in body["error"]["message"]
                    assert reply.headers["retry-after"]
                return reply.status

        assert await submit() == 200
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        while await submit() == 200:
            pass
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        assert await submit() == 503
        await _until_ready_answers(503, http, server)
        async with http.get(f"{server.base_url}/requests/{accepted[0]}") as reply:
            assert reply.status == 200  # reading still works
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await submit() == 200
        await _until_ready_answers(200, http, server)
        for id_ in accepted:
            async with http.get(f"{server.base_url}/requests/{id_}?wait=30") as reply:
                assert (await reply.json())["status"] == "completed"
        assert await process.terminate() == 0


@pytest.mark.slow("stops a real server whose disk is full")
async def test_a_full_disk_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    """G1: what could not be recorded is not claimed to be; it is done again after the restart."""
    (tmp_path / "raincheck.toml").write_text('grace = "3s"\n')
    async with an_upstream(tmp_path, delay=1.0) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()
        ask = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "deferred": True}
        async with http.post(f"{server.base_url}/chat/completions", json=ask) as reply:
            id_ = (await reply.json())["id"]
        async with http.get(f"{server.base_url}/requests/{id_}?wait=30&since=pending") as reply:
            assert (await reply.json())["status"] == "processing"
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        started = perf_counter()
        async with asyncio.timeout(20):
            assert await process.terminate() == 0
        assert perf_counter() - started < 10
        process = await server.start()
        async with http.get(f"{server.base_url}/requests/{id_}?wait=30") as reply:
            ended = await reply.json()
        assert ended["status"] == "completed"
        assert [attempt["outcome"] for attempt in ended["attempts"]] == ["lapsed", "succeeded"]
        assert await process.terminate() == 0


async def _until_ready_answers(status: int, http: aiohttp.ClientSession, server: Server) -> None:
    url = server.base_url.removesuffix("/v1") + "/health/ready"
    async with asyncio.timeout(10):
        while True:
            async with http.get(url) as reply:
                if reply.status == status:
                    return
            await asyncio.sleep(0.1)

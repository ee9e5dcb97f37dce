"""G1: a full disk is answered with 503, never with a false 2xx, and nothing accepted is lost."""

import resource
from pathlib import Path

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
                    assert "disk is full" in body["error"]["message"] or "cannot be written" in body["error"]["message"]
                    assert reply.headers["retry-after"]
                return reply.status

        assert await submit() == 200
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
        while await submit() == 200:
            pass
        assert await submit() == 503
        async with http.get(f"{server.base_url}/requests/{accepted[0]}") as reply:
            assert reply.status == 200  # reading still works
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert await submit() == 200
        for id_ in accepted:
            async with http.get(f"{server.base_url}/requests/{id_}?wait=30") as reply:
                assert (await reply.json())["status"] == "completed"
        assert await process.terminate() == 0

"""G1, G3, G4: what was accepted survives any number of kills, and little is done twice."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest
from openai import AsyncOpenAI

from tests.stories.processes import Server, an_upstream, free_port

REQUESTS, KILLS = 300, 5


@pytest.mark.slow("kills and restarts a server five times")
async def test_300_requests_survive_five_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with an_upstream(tmp_path, delay=0.2) as upstream, aiohttp.ClientSession() as http:
        server = Server(tmp_path, upstream, free_port())
        process = await server.start()
        async with AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=5) as client:
            accepted = await asyncio.gather(*(_submit(client, number) for number in range(REQUESTS)))
            for kill in range(1, KILLS + 1):
                await _until_completed(http, server, kill * REQUESTS // (KILLS + 1))
                await process.kill()
                process = await server.start()
            await _until_completed(http, server, REQUESTS)
            ends = await asyncio.gather(*(_status(http, server, id_) for id_ in accepted))
        await process.terminate()
        async with http.get(upstream.removesuffix("/v1") + "/__log") as reply:
            seen = Counter[str]((await reply.json())["by_content"])
    duplicates = sum(seen.values()) - len(seen)
    with capsys.disabled():
        print(
            f"\n{len(accepted)} accepted, {KILLS} kills: {Counter(ends)['completed']} completed, "
            f"{sum(seen.values())} attempts at the upstream ({duplicates} repeated)"
        )
    assert len(set(accepted)) == REQUESTS
    assert Counter(ends) == {"completed": REQUESTS}
    assert set(seen) == {f"question {number}" for number in range(REQUESTS)}
    # Only what was running when the process died is done again.
    assert duplicates <= KILLS * 32


async def _submit(client: AsyncOpenAI, number: int) -> str:
    completion = await client.chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": f"question {number}"}],
        extra_body={"deferred": True},
    )
    return completion.id


async def _until_completed(http: aiohttp.ClientSession, server: Server, count: int) -> None:
    async with asyncio.timeout(60):
        while await _completed(http, server) < count:
            await asyncio.sleep(0.02)


async def _completed(http: aiohttp.ClientSession, server: Server) -> int:
    total, after = 0, ""
    while True:
        async with http.get(f"{server.base_url}/requests?status=completed&limit=100{after}") as reply:
            page = await reply.json()
        total += len(page["data"])
        if not page["has_more"]:
            return total
        after = f"&after={page['last_id']}"


async def _status(http: aiohttp.ClientSession, server: Server, request_id: str) -> str:
    async with http.get(f"{server.base_url}/requests/{request_id}") as reply:
        return (await reply.json())["status"]

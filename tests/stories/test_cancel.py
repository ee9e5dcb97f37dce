"""G5: cancelling a long generation frees the engine."""

import asyncio
from pathlib import Path
from time import perf_counter

import aiohttp
import pytest

from tests.stories.processes import Server, free_port


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.slow("runs the embedded model")
async def test_a_cancelled_generation_frees_its_slot_within_two_seconds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(tmp_path, None, free_port())
    process = await server.start()
    connector = aiohttp.UnixConnector(str(_engine_socket(process.pid)))
    async with aiohttp.ClientSession() as http, aiohttp.ClientSession(connector=connector) as engine:
        story = {
            "model": "smollm2-135m",
            "messages": [{"role": "user", "content": "Tell a very long story."}],
            "max_tokens": 3000,
            "ignore_eos": True,
            "deferred": True,
        }
        async with http.post(f"{server.base_url}/chat/completions", json=story) as reply:
            request_id = (await reply.json())["id"]
        async with asyncio.timeout(30):
            while await _busy_slots(engine) == 0:
                await asyncio.sleep(0.02)
        async with http.post(f"{server.base_url}/requests/{request_id}/cancel") as reply:
            assert (await reply.json())["status"] == "cancelled"
        cancelled = perf_counter()
        async with asyncio.timeout(2):
            while await _busy_slots(engine):
                await asyncio.sleep(0.005)
        took = perf_counter() - cancelled
    with capsys.disabled():
        print(f"\nthe engine's slot was free {took * 1000:.0f} ms after cancel had returned")
    assert await process.terminate() == 0


async def _busy_slots(engine: aiohttp.ClientSession) -> int:
    async with engine.get("http://localhost/slots") as reply:
        return sum(slot["is_processing"] for slot in await reply.json())


def _engine_socket(server_pid: int) -> Path:
    """The Unix socket of the model's process, from the command line of the server's child."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (folder / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if parent == server_pid and "raincheck.upstream.local.child" in words:
            return next(Path(word) for word in words if word.endswith(".sock"))
    raise AssertionError("the server has no model process")

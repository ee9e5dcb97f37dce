"""The tour of the xai-sdk as its users take it: the unmodified package, a fresh server, an upstream that can all of it.

The upstream is a process of its own; videos are drawn by the preview renderer.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.stories.processes import HOUSE, RAINCHECK, Server, free_port, start

TOUR = HOUSE / "examples" / "xai" / "tour.py"
CONFIG = """
[[upstream]]
name = "able"
base_url = "{url}"

[[upstream]]
name = "preview"
kind = "preview"
max_concurrency = 2
"""


@pytest.mark.slow("draws four videos, in processes of their own")
async def test_the_tour_of_the_sdk(tmp_path: Path) -> None:
    """G1, G5 over gRPC: every call of the SDK that is claimed, blocking and with asyncio."""
    async with a_server(tmp_path) as (server, key, port):
        told = await tour(server, key, port)
    said = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    assert said["key"].strip() == "tour"
    assert "able" in said["models"]
    assert "DEFERRED" not in told
    assert said["deferred"].split() == ["You", "asked:", "What", "is", "rain?", "REASON_STOP", "12"]
    assert said["calls"].strip() == "forecast {'city': 'Lisbon'}"
    assert said["structured"].strip() == "Weather(city='Lisbon', degrees=21, sky='clear')"
    assert "FAILED_PRECONDITION" not in told
    assert "\nfailed: INVALID_ARGUMENT I was told to fail.\n" in told
    assert "\ncancelled: CANCELLED " in told
    assert said["wrong key"].strip().startswith("UNAUTHENTICATED ")
    assert said["extended"].strip() == "1 s to 3 s"
    assert "\nbatch: ['What is fog?', 'What is rain?', 'fail'] 2 1\n" in told
    assert said["file"].strip().endswith("2 requests")
    assert "\nfiles: 1 True\n" in told
    assert said["batches"].count("to be cancelled") == 1


@asynccontextmanager
async def a_server(folder: Path) -> AsyncGenerator[tuple[Server, str, int]]:
    """A server with a gRPC port and a key, before an able upstream."""
    upstream = await start([sys.executable, "-m", "tests.able"], cwd=folder, log=folder / "able.log")
    config = folder / "raincheck.toml"
    config.write_text(CONFIG.format(url=upstream.first_line.split()[-1]))
    made = await asyncio.create_subprocess_exec(
        RAINCHECK, "keys", "create", "tour", "--json", cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    port = free_port()
    server = Server(folder, None, free_port(), ("--grpc-port", str(port)))
    key = json.loads((await made.communicate())[0])["key"]
    process = await server.start()
    try:
        yield server, key, port
    finally:
        await process.terminate()
        await upstream.kill()


async def tour(server: Server, key: str, port: int) -> str:
    """What the tour says."""
    environment = {
        **os.environ,
        "RAINCHECK_GRPC": f"localhost:{port}",
        "RAINCHECK_BASE_URL": server.base_url,
        "RAINCHECK_API_KEY": key,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        TOUR,
        "able",
        "preview",
        cwd=server.folder,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    told = (await process.communicate())[0].decode()
    assert process.returncode == 0, told
    return told

"""Every example runs as a user would run it, against a real server with the embedded upstreams behind it."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stories.processes import HOUSE, Server, free_port

# Handlers are no clients: they are served, in tests/upstream/test_python.py and tests/dispatch/test_handlers.py.
CLIENTS = sorted(path.name for path in (HOUSE / "examples").glob("*.py") if not path.stem.endswith("handler"))

pytestmark = [
    pytest.mark.model,
    pytest.mark.xdist_group("model"),
    pytest.mark.slow("runs the embedded model"),
    pytest.mark.asyncio(loop_scope="module"),
]


BATCHES = sorted(path.name for path in (HOUSE / "examples" / "batches").glob("*.py"))
VIDEOS = sorted(path.name for path in (HOUSE / "examples" / "videos").glob("*.py"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server]:
    """With what the examples ask for: the embedded model, and the renderer under the name that the guide uses."""
    config = ("--config", str(HOUSE / "examples" / "raincheck.toml"))
    server = Server(tmp_path_factory.mktemp("examples"), None, free_port(), config)
    process = await server.start()
    yield server
    await process.terminate()


@pytest.mark.parametrize("example", CLIENTS)
async def test_the_example_runs(server: Server, example: str) -> None:
    assert (await run(server, HOUSE / "examples" / example)).strip()


@pytest.mark.parametrize("example", VIDEOS)
async def test_the_example_with_videos_runs(server: Server, example: str) -> None:
    assert (await run(server, HOUSE / "examples" / "videos" / example)).strip()


@pytest.mark.slow("a few questions to the embedded model each")
@pytest.mark.parametrize("example", BATCHES)
async def test_the_example_with_batches_runs(server: Server, example: str) -> None:
    assert (await run(server, HOUSE / "examples" / "batches" / example)).strip()


async def run(server: Server, example: Path) -> str:
    """What it prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        example,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "RAINCHECK_BASE_URL": server.base_url},
        cwd=Path(server.folder),
    )
    async with asyncio.timeout(120):
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()

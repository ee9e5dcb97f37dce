"""Every example runs as a user would run it, against a real server with the embedded model behind it."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.stories.processes import HOUSE, Server, free_port

# handler.py is no client: it is served, and tests/upstream/test_python.py does that.
CLIENTS = sorted(path.name for path in (HOUSE / "examples").glob("*.py") if path.name != "handler.py")

pytestmark = [
    pytest.mark.model,
    pytest.mark.xdist_group("model"),
    pytest.mark.slow("runs the embedded model"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server]:
    server = Server(tmp_path_factory.mktemp("examples"), None, free_port())
    process = await server.start()
    yield server
    await process.terminate()


@pytest.mark.parametrize("example", CLIENTS)
async def test_the_example_runs(server: Server, example: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        HOUSE / "examples" / example,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "RAINCHECK_BASE_URL": server.base_url},
        cwd=Path(server.folder),
    )
    async with asyncio.timeout(120):
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    assert stdout.strip()

"""A running server per test; most tests need nothing else."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.server import Running, running_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path) as running:
        yield running

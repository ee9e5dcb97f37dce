"""No story leaves a process behind, however it ends."""

from collections.abc import AsyncGenerator

import pytest_asyncio

from tests.stories.processes import STARTED


@pytest_asyncio.fixture(autouse=True)
async def _nothing_is_left_running() -> AsyncGenerator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    while STARTED:
        await STARTED.pop().kill()

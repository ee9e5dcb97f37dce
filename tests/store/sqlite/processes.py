"""Runs `child` in a process of its own."""

import sys
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[3]


@asynccontextmanager
async def child(command: str, path: Path) -> AsyncGenerator[Process]:
    """The process, once its store is open; killed at the end if it still runs."""
    arguments = ("-m", "tests.store.sqlite.child", command, str(path))
    process = await create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    try:
        assert await line(process) == "open"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def line(process: Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode().strip()

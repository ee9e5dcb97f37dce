"""Real processes for stories: the server as users start it, and a scripted upstream beside it."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

RAINCHECK = Path(sys.executable).with_name("raincheck")
HOUSE = Path(__file__).parents[2]
STARTED: "list[Process]" = []
"""What this test has started, for `conftest.py` to end."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Process:
    """A child process whose first line of output said that it is ready."""

    process: asyncio.subprocess.Process
    first_line: str

    @property
    def pid(self) -> int:
        return self.process.pid

    async def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()

    async def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return await self.process.wait()


async def start(
    command: Sequence[str | Path], *, cwd: Path, log: Path, environment: Mapping[str, str] | None = None
) -> Process:
    """Start a command and wait for its first line on stdout; stderr goes to `log`."""
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *map(str, command),
            cwd=cwd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env={**os.environ, "PYTHONPATH": str(HOUSE), **(environment or {})},
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
    except TimeoutError:
        process.kill()
        raise
    if not line:
        await process.wait()
        raise AssertionError(f"{command[0]} ended with {process.returncode}:\n{log.read_text()}")
    started = Process(process, line.decode())
    STARTED.append(started)
    return started


@asynccontextmanager
async def an_upstream(folder: Path, *, delay: float = 0.0) -> AsyncGenerator[str]:
    """A scripted upstream in a process of its own, which logs to `calls.jsonl`; its base URL."""
    command = [sys.executable, "-m", "tests.scripted", "--port", "0", "--models", "m", "--delay", str(delay)]
    command += ["--json-log", str(folder / "calls.jsonl")]
    upstream = await start(command, cwd=folder, log=folder / "upstream.log")
    try:
        yield upstream.first_line.split()[-1]
    finally:
        await upstream.kill()


@dataclass
class Server:
    """`raincheck serve` on a free port and a store in `folder`, to be started and killed at will."""

    folder: Path
    upstream: str | None
    """None: the embedded model."""
    port: int
    options: Sequence[str] = ()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def start(self) -> Process:
        upstream = ["--upstream", self.upstream] if self.upstream else []
        command = [RAINCHECK, "serve", "--json", "--port", str(self.port), *upstream, *self.options]
        process = await start(command, cwd=self.folder, log=self.folder / "server.log")
        assert json.loads(process.first_line)["url"]
        return process

"""A fresh `raincheck serve` on both of its ports, with a key, a scripted model and the preview renderer behind it."""

import json
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import run

from tests.stories.processes import RAINCHECK, Server, free_port, start


@dataclass(frozen=True)
class Desk:
    """Where a client finds the server, and with which key."""

    url: str
    grpc_host: str
    key: str
    folder: Path


@asynccontextmanager
async def a_desk(folder: Path) -> AsyncGenerator[Desk]:
    """Started in an empty folder, ended with the context."""
    upstream = await start([sys.executable, "-m", "tests.clients.upstream"], cwd=folder, log=folder / "upstream.log")
    grpc_port = free_port()
    try:
        (folder / "raincheck.toml").write_text(_configuration(upstream.first_line.split()[-1]))
        made = run(
            [RAINCHECK, "keys", "create", "clients", "--json"], cwd=folder, check=True, capture_output=True, text=True
        )
        key = json.loads(made.stdout)["key"]
        server = Server(folder, None, free_port(), ("--grpc-port", str(grpc_port)))
        process = await server.start()
        try:
            yield Desk(server.base_url.removesuffix("/v1"), f"localhost:{grpc_port}", key, folder)
        finally:
            await process.terminate()
    finally:
        await upstream.kill()


def _configuration(upstream: str) -> str:
    return f"""
# Its receivers are on this machine.
[webhooks]
allow = ["127.0.0.1"]

[[upstream]]
name = "script"
base_url = "{upstream}"

[[upstream]]
name = "preview"
kind = "preview"
max_concurrency = 2
"""

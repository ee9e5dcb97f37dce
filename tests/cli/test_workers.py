"""`raincheck workers`: who does the work."""

import asyncio
import os
from pathlib import Path

from raincheck import __version__
from raincheck.core.clock import now
from raincheck.core.model import Worker
from tests.cli.desk import run, run_at
from tests.server import running_server


async def test_a_running_server_is_a_worker_with_its_host_pid_and_version(tmp_path: Path):
    store = ["--store", f"sqlite:///{tmp_path / 'raincheck.db'}"]
    async with running_server(tmp_path) as server:
        found: list[dict[str, object]] = []
        async with asyncio.timeout(5):
            while not found:
                found = (await run_at(server, "workers", "--json", *store)).json
        [row] = (await run_at(server, "workers", *store)).lines
    [worker] = found
    assert (worker["object"], worker["pid"], worker["version"]) == ("worker", os.getpid(), __version__)
    assert worker["running"] == 0
    assert row.split("\t")[:4] == [worker["name"], worker["host"], str(os.getpid()), __version__]
    assert row.split("\t")[5].endswith(" ago")


async def test_nobody_at_work_is_said(tmp_path: Path):
    async with running_server(tmp_path) as server:
        await server.app.store.registry.put_worker(
            Worker(name="w", host="h", pid=1, version="0", started_at=now(), seen_at=now())
        )
        await server.app.store.registry.drop_worker("w")
    ended = await asyncio.to_thread(run, "workers", "--store", f"sqlite:///{tmp_path / 'raincheck.db'}")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "no workers\n")

"""G2: a worker that slept through its lease cannot overwrite the one that took over."""

import os
import signal
import sys
from pathlib import Path

import pytest

from raincheck.core.clock import SECOND, now
from raincheck.core.status import Status
from raincheck.store.sqlite import open_store
from tests.dispatch.engine import an_engine
from tests.stories.processes import Process, start


@pytest.mark.slow("starts two worker processes and lets a lease of 0.3 s lapse")
async def test_a_late_write_is_refused(tmp_path: Path) -> None:
    async with an_engine(tmp_path, [], started=False) as engine:
        id_ = await engine.submit(queue="m")
    path = tmp_path / "raincheck.db"

    async def a_worker(name: str, lease_for: int) -> Process:
        command = [sys.executable, "-m", "tests.stories.zombie", path, name, str(lease_for)]
        return await start(command, cwd=tmp_path, log=tmp_path / "worker.log")

    zombie = await a_worker("zombie", SECOND * 3 // 10)
    assert zombie.first_line == "claimed 1\n"
    os.kill(zombie.pid, signal.SIGSTOP)
    async with open_store(path, clock=now, own=False) as store:
        while (await store.leases.next_due() or 0) > now():
            pass
    owner = await a_worker("owner", 60 * SECOND)
    assert owner.first_line == "claimed 2\n"
    assert await said(owner) == "written"
    os.kill(zombie.pid, signal.SIGCONT)
    assert await said(zombie) == "refused"

    async with open_store(path, clock=now) as store:
        result = await store.requests.result("t", id_)
        assert result is not None
        assert result.body == b'"owner"'
        assert (await store.requests.get("t", id_)).status is Status.COMPLETED
        assert len(await store.upkeep.events("t", id_)) == 1


async def said(worker: Process) -> str:
    """Tell a worker to finish; what it says about it."""
    stdout, _ = await worker.process.communicate(b"go\n")
    return stdout.decode().strip()

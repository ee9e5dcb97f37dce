"""G4, G5: a job at another server outlives the worker that began it, is begun once, and stops when it is cancelled.

`python -m tests.stories.test_reattach` tells of a job of 60 s whose server is killed at 20 s.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.stories.processes import Process, Server, free_port, start

CONFIGURATION = """
lease = "{lease}s"

[[upstream]]
name = "pool"
kind = "videos"
base_url = "{base_url}"
models = ["m"]
"""
STOPPED_WITHIN = 2.0
"""Seconds (G5)."""


@pytest.mark.slow("kills a server in the middle of a job of 5 s")
async def test_a_job_outlives_a_kill_and_is_begun_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """G4"""
    seen = await killed(tmp_path, seconds=5.0, kill_after=1.5, lease=1)
    with capsys.disabled():
        print(f"\n{seen}")


@pytest.mark.slow("waits for jobs of 2 s")
async def test_a_job_that_vanished_is_submitted_anew_and_its_attempts_say_so(tmp_path: Path) -> None:
    """G4"""
    async with _a_pool(tmp_path, seconds=2.0, lease=60) as pool:
        video_id = await pool.submit()
        await pool.until(lambda: len(pool.jobs("begun")) == 1)
        async with pool.http.post(f"{pool.base_url.removesuffix('/v1')}/__forget") as reply:
            assert reply.status == 200
        await pool.ended(video_id)
        assert len(pool.jobs("begun")) == 2
        first, second = (await pool.request(video_id))["attempts"]
    assert (first["error"]["code"], second["error"]) == ("remote_job_lost", None)
    assert "submitted anew" in first["error"]["message"]


@pytest.mark.slow("starts two processes")
async def test_a_cancel_stops_the_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """G5"""
    async with _a_pool(tmp_path, seconds=600.0, lease=60) as pool:
        video_id = await pool.submit()
        await pool.recorded(video_id)
        took = await pool.cancelled(video_id)
    with capsys.disabled():
        print(f"\nthe job was stopped {1000 * took:.0f} ms after cancel had returned")


@pytest.mark.slow("kills a server and starts it again")
async def test_a_cancel_stops_the_job_of_a_worker_that_is_dead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """G5: here the lease of the dead one goes on, so nobody has found the job again."""
    async with _a_pool(tmp_path, seconds=600.0, lease=60) as pool:
        video_id = await pool.submit()
        await pool.recorded(video_id)
        await pool.kill()
        await pool.start()
        took = await pool.cancelled(video_id)
    with capsys.disabled():
        print(f"\nthe job of a dead worker was stopped {1000 * took:.0f} ms after cancel had returned")


async def killed(folder: Path, *, seconds: float, kill_after: float, lease: int) -> str:
    """The story of one job whose server is killed; what was seen, in a sentence."""
    async with _a_pool(folder, seconds=seconds, lease=lease) as pool:
        video_id = await pool.submit()
        await pool.recorded(video_id)
        await asyncio.sleep(kill_after)
        await pool.kill()
        await pool.start()
        video = await pool.ended(video_id, within=seconds + 30)
        collected = monotonic()
        async with pool.http.get(video["data"][0]["url"]) as reply:
            assert (reply.status, reply.content_type) == (200, "video/mp4")
            film = await reply.read()
        assert (len(pool.jobs("begun")), len(pool.jobs("cancelled")), len(pool.jobs("deleted"))) == (1, 0, 0)
        attempts = len((await pool.request(video_id))["attempts"])
        began, ended = pool.jobs("begun")[0]["at"], pool.jobs("ended")[0]["at"]
    assert film[4:8] == b"ftyp"
    return (
        f"a job of {ended - began:.1f} s, its server killed after {kill_after:.1f} s: begun once, {attempts} attempts, "
        f"completed {collected - ended:.2f} s after it was first seen done, {len(film)} bytes"
    )


@dataclass
class _Pool:
    """A scripted server of videos, and a `raincheck serve` that uses it."""

    server: Server
    base_url: str
    log: Path
    http: aiohttp.ClientSession
    processes: list[Process] = field(default_factory=list[Process])

    async def start(self) -> None:
        self.processes.append(await self.server.start())

    async def kill(self) -> None:
        await self.processes.pop().kill()

    def jobs(self, event: str) -> list[dict[str, Any]]:
        lines = [msgspec.json.decode(line) for line in self.log.read_bytes().splitlines()]
        return [line for line in lines if line["event"] == event]

    async def submit(self) -> str:
        body = {"model": "m", "prompt": "a cat"}
        async with self.http.post(f"{self.server.base_url}/videos/generations", json=body) as reply:
            assert reply.status == 200, await reply.text()
            return (await reply.json())["id"]

    async def request(self, video_id: str) -> dict[str, Any]:
        async with self.http.get(f"{self.server.base_url}/requests/{video_id}") as reply:
            return await reply.json()

    async def recorded(self, video_id: str) -> None:
        """The job has been begun, and its progress reported, which comes after its id is on disk."""
        async with asyncio.timeout(20):
            while (await self.request(video_id))["progress"] is None:
                await asyncio.sleep(0.02)
        assert len(self.jobs("begun")) == 1

    async def ended(self, video_id: str, *, within: float = 30) -> dict[str, Any]:
        async with asyncio.timeout(within):
            while True:
                async with self.http.get(f"{self.server.base_url}/videos/{video_id}") as reply:
                    video = await reply.json()
                if video["status"] not in ("pending", "processing"):
                    assert video["status"] == "completed", video
                    return video
                await asyncio.sleep(0.02)

    async def cancelled(self, video_id: str) -> float:
        """Cancel, and the seconds until the job was stopped."""
        async with self.http.post(f"{self.server.base_url}/videos/{video_id}/cancel") as reply:
            assert (await reply.json())["status"] == "cancelled"
        at = monotonic()
        async with asyncio.timeout(STOPPED_WITHIN):
            while not self.jobs("cancelled"):
                await asyncio.sleep(0.005)
        return monotonic() - at

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not true():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def _a_pool(folder: Path, *, seconds: float, lease: int) -> AsyncGenerator[_Pool]:
    log = folder / "jobs.jsonl"
    command = [sys.executable, "-m", "tests.scripted_videos", "--seconds", str(seconds), "--json-log", log]
    upstream = await start(command, cwd=folder, log=folder / "upstream.log")
    base_url = upstream.first_line.split()[-1]
    (folder / "raincheck.toml").write_text(CONFIGURATION.format(lease=lease, base_url=base_url))
    async with aiohttp.ClientSession() as http:
        pool = _Pool(Server(folder, None, free_port()), base_url, log, http)
        await pool.start()
        yield pool
        for process in pool.processes:
            assert await process.terminate() == 0
    await upstream.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="raincheck-reattach-") as name:
        print(asyncio.run(killed(Path(name), seconds=60.0, kill_after=20.0, lease=10)))

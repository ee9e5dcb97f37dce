"""Several API and worker processes over one PostgreSQL and one upstream that keeps a log, killed and restarted at will.

`python -m tests.stories.cluster --requests 5000 --seconds 120` tells the long story that `test_cluster.py` tells short.
"""

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp

from tests.store.postgres.server import PostgresServer
from tests.stories import calls
from tests.stories.processes import RAINCHECK, Process, an_upstream, free_port, start

LEASE = 5.0
"""Seconds: short, so that a short story sees leases lapse."""
SUBMITTERS = 16


@dataclass
class Cluster:
    """What runs, by name; each can be killed and started again under the same name."""

    folder: Path
    upstream: str
    database: PostgresServer
    url: str
    options: Sequence[str] = ()
    ports: dict[str, int] = field(default_factory=dict[str, int])
    running: dict[str, Process] = field(default_factory=dict[str, Process])

    async def start(self, name: str) -> None:
        """An API process when the name begins with `api`, else a worker."""
        common = ["--store", self.url, "--upstream", self.upstream, *self.options]
        if name.startswith("api"):
            port = self.ports.setdefault(name, free_port())
            command = [RAINCHECK, "serve", "--no-worker", "--json", "--port", str(port), *common]
        else:
            command = [RAINCHECK, "work", "--json", *common]
        self.running[name] = await start(
            command,
            cwd=self.folder,
            log=self.folder / f"{name}.log",
            environment={"RAINCHECK_LEASE": f"{LEASE:g}s", "RAINCHECK_GRACE": "5s"},
        )

    async def kill(self, name: str) -> None:
        await self.running.pop(name).kill()

    def api(self) -> str:
        """The base URL of an API process, any of them."""
        return f"http://127.0.0.1:{random.choice(list(self.ports.values()))}/v1"

    def calls(self) -> list[calls.Call]:
        return calls.read(self.folder / "calls.jsonl")


@asynccontextmanager
async def a_cluster(
    folder: Path,
    *,
    apis: int = 2,
    workers: int = 3,
    delay: float = 0.6,
    durable: bool = False,
    options: Sequence[str] = (),
    configuration: str = "",
) -> AsyncGenerator[Cluster]:
    """A running cluster on a new database."""
    (folder / "raincheck.toml").write_text(configuration)
    async with an_upstream(folder, delay=delay) as upstream:
        with PostgresServer(durable=durable) as database:
            cluster = Cluster(folder, upstream, database, database.url(), options)
            names = [f"api-{n}" for n in range(apis)] + [f"worker-{n}" for n in range(workers)]
            try:
                await asyncio.gather(*map(cluster.start, names))
                yield cluster
                await asyncio.gather(*(process.terminate() for process in cluster.running.values()))
            finally:
                for process in cluster.running.values():
                    await process.kill()


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it all."""

    accepted: int
    ends: Counter[str]
    events: int
    """Rows in the outbox; one per end."""
    finished_twice: int
    kills: int
    restarts: int
    attempts: int
    repeated: int
    taken_up: list[float]
    refused: int
    """Submits that were refused or broke off, and were sent again under the same idempotency key."""

    def __str__(self) -> str:
        ends = ", ".join(f"{count} {status}" for status, count in sorted(self.ends.items()))
        again = sorted(self.taken_up) or [0.0]
        return (
            f"{self.accepted} accepted = {ends}; {self.events} events, {self.finished_twice} finished twice; "
            f"{self.kills} kills, {self.restarts} restarts of PostgreSQL, {self.refused} submits sent again; "
            f"{self.attempts} attempts at the upstream, {self.repeated} repeated; "
            f"from a cut-off call to its repetition {median(again):.1f} s (p50), {again[-1]:.1f} s (max), "
            f"with leases of {LEASE:g} s"
        )


async def tell(cluster: Cluster, *, requests: int, seconds: float, restarts: int, seed: int) -> Told:
    """Submit over half of the time, kill at random through all of it, wait for the ends and count them."""
    chance = random.Random(seed)
    accepted: set[str] = set()
    sent_again: list[int] = []
    numbers = iter(range(requests))
    pause = SUBMITTERS * seconds / 2 / requests

    async def submit_some(http: aiohttp.ClientSession) -> None:
        for number in numbers:
            request_id, again = await _submit(http, cluster, number)
            accepted.add(request_id)
            sent_again.append(again)
            await asyncio.sleep(pause)

    timeout = aiohttp.ClientTimeout(total=20)
    async with aiohttp.ClientSession(timeout=timeout) as http, asyncio.TaskGroup() as group:
        for _ in range(SUBMITTERS):
            group.create_task(submit_some(http))
        killing = group.create_task(_kill_at_random(cluster, seconds, restarts, chance))
    await _until_all_ended(cluster, within=60 + 4 * LEASE)
    return await _count(cluster, accepted, killing.result(), restarts, sum(sent_again))


async def _submit(http: aiohttp.ClientSession, cluster: Cluster, number: int) -> tuple[str, int]:
    """The id of an accepted request, and how often it had to be sent again."""
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": f"question {number}"}],
        "deferred": True,
        # Some may not be tried twice, and some not for long: all four ends are to be seen.
        "raincheck": {"max_attempts": 1 if number % 10 == 1 else 20}
        | ({"expires_in": 0.3} if number % 25 == 2 else {}),
    }
    again = 0
    while True:
        base_url = cluster.api()
        try:
            headers = {"Idempotency-Key": f"number-{number}"}
            async with http.post(f"{base_url}/chat/completions", json=body, headers=headers) as reply:
                if reply.status == 200:
                    request_id = (await reply.json())["id"]
                    break
                assert reply.status == 503, await reply.text()
                assert "Retry-After" in reply.headers
        except (aiohttp.ClientError, TimeoutError):
            pass
        again += 1
        await asyncio.sleep(0.2)
    if number % 20 == 3:
        await _cancel(http, cluster, request_id)
    return request_id, again


async def _cancel(http: aiohttp.ClientSession, cluster: Cluster, request_id: str) -> None:
    while True:
        try:
            async with http.post(f"{cluster.api()}/requests/{request_id}/cancel") as reply:
                if reply.status in {200, 409}:
                    return
        except (aiohttp.ClientError, TimeoutError):
            pass
        await asyncio.sleep(0.2)


async def _kill_at_random(cluster: Cluster, seconds: float, restarts: int, chance: random.Random) -> int:
    """Kill one process every second or two and start it again, PostgreSQL so many times in between; the kills."""
    began = asyncio.get_running_loop().time()
    restart_at = [began + seconds * (number + 1) / (restarts + 1) for number in range(restarts)]
    kills = 0

    async def start_again(name: str, after: float) -> None:
        await asyncio.sleep(after)
        while True:
            try:
                return await cluster.start(name)
            except AssertionError:  # PostgreSQL was away: what cannot start ends, and a supervisor starts it again.
                await asyncio.sleep(0.5)

    async with asyncio.TaskGroup() as group:
        while (now := asyncio.get_running_loop().time()) < began + seconds:
            if restart_at and now >= restart_at[0]:
                restart_at.pop(0)
                await asyncio.to_thread(cluster.database.restart)
            elif len(cluster.running) > 2:
                name = chance.choice(sorted(cluster.running))
                await cluster.kill(name)
                group.create_task(start_again(name, chance.uniform(0.0, 1.0)))
                kills += 1
            await asyncio.sleep(chance.uniform(0.5, 2.5))
    return kills


async def _until_all_ended(cluster: Cluster, *, within: float) -> None:
    async with asyncio.timeout(within):
        while await _ask(cluster, "select count(*) from request where ended_at is null") != ["0"]:
            await asyncio.sleep(0.2)


async def _ask(cluster: Cluster, sql: str) -> list[str]:
    """The rows of a query, past Raincheck."""
    return (await asyncio.to_thread(cluster.database.psql, sql)).splitlines()


async def _count(cluster: Cluster, accepted: set[str], kills: int, restarts: int, sent_again: int) -> Told:
    recorded = dict(row.split("|") for row in await _ask(cluster, "select id, status from request"))
    assert set(recorded) == accepted, "what was accepted and what was recorded differ"
    [events] = await _ask(cluster, "select count(*) from event")
    ends = "select seq from attempt where outcome in ('succeeded', 'failed', 'expired')"
    twice = await _ask(cluster, f"{ends} group by seq having count(*) > 1")
    seen = cluster.calls()
    return Told(
        accepted=len(accepted),
        ends=Counter(recorded.values()),
        events=int(events),
        finished_twice=len(twice),
        kills=kills,
        restarts=restarts,
        attempts=len(seen),
        repeated=len(seen) - len({call.content for call in seen}),
        taken_up=calls.taken_up_again(seen),
        refused=sent_again,
    )


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.stories.cluster", description=__doc__)
    parser.add_argument("--requests", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--restarts", type=int, default=2, help="of PostgreSQL")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="raincheck-cluster-") as folder:
        async with a_cluster(Path(folder), durable=True) as cluster:
            print(
                await tell(
                    cluster, requests=given.requests, seconds=given.seconds, restarts=given.restarts, seed=given.seed
                )
            )


if __name__ == "__main__":
    asyncio.run(_main())

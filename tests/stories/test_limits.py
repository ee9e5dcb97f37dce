"""G7: limits hold over all workers, as the upstream itself saw it.

`python -m tests.stories.test_limits` tells it over three and a half minutes, so that many sliding minutes are seen.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.stories import calls
from tests.stories.cluster import Cluster, a_cluster

MOST_AT_ONCE, PER_MINUTE = 7, 120
CONFIGURATION = f'[queue."m"]\nmax_concurrency = {MOST_AT_ONCE}\nrpm = {PER_MINUTE}\n'


@pytest.mark.slow("watches an upstream for 15 s")
async def test_three_workers_together_keep_to_the_limits_of_a_queue(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = await watch(tmp_path, requests=300, seconds=15)
    with capsys.disabled():
        print(f"\n{told(seen)}")
    # The first minute's budget is used, and by seven at a time.
    assert len(seen) == PER_MINUTE
    assert calls.most_at_once(seen) == MOST_AT_ONCE


async def watch(folder: Path, *, requests: int, seconds: float) -> list[calls.Call]:
    """What the upstream saw of so many requests, given to three workers at once, within the time."""
    async with a_cluster(folder, apis=1, workers=3, delay=0.3, configuration=CONFIGURATION) as cluster:
        async with aiohttp.ClientSession() as http:
            await asyncio.gather(*(_submit(http, cluster, number) for number in range(requests)))
        await asyncio.sleep(seconds)
        return cluster.calls()


async def _submit(http: aiohttp.ClientSession, cluster: Cluster, number: int) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}], "deferred": True}
    async with http.post(f"{cluster.api()}/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()


def told(seen: list[calls.Call]) -> str:
    return (
        f"{len(seen)} calls; at most {calls.most_at_once(seen)} at once (limit {MOST_AT_ONCE}) and "
        f"{calls.most_within(seen, 60.0)} within any 60 s (limit {PER_MINUTE})"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="raincheck-limits-") as name:
        print(told(asyncio.run(watch(Path(name), requests=700, seconds=float((sys.argv[1:] or [210])[0])))))

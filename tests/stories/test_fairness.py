"""A crowd delays nobody: in the order in which the upstream itself was called.

`python -m tests.stories.test_fairness` tells it with a crowd of 100,000.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import pytest

from raincheck.core.clock import now
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store.builders import a_request, claimed, success
from tests.stories import calls
from tests.stories.processes import Server, an_upstream, free_port

NEWCOMERS = 10
WEIGHTS = {"three": 3.0, "one": 1.0}


@pytest.mark.slow("fills a store with 5,000 requests and starts a server on it")
async def test_ten_of_a_newcomer_start_among_the_next_25_behind_a_crowd(tmp_path: Path) -> None:
    assert await newcomers_places(tmp_path, crowd=5_000) <= 25


@pytest.mark.slow("fills a store with 4,000 requests and starts a server on it")
async def test_weights_of_three_to_one_give_three_to_one(tmp_path: Path) -> None:
    share = await share_of_three(tmp_path, each=2_000, starts=1_000)
    assert share == pytest.approx(3.0, rel=0.05)


async def newcomers_places(folder: Path, *, crowd: int) -> int:
    """How many calls it took until all of the newcomer's had begun, with a crowd that came before them."""

    async def fill(store: Store) -> None:
        await _submit(store, "crowd", crowd)
        # The crowd's first are done already: the newcomer comes in the middle of it.
        await store.leases.finish([success(lease) for lease in await claimed(store, 500, queue="m")])
        await _submit(store, "newcomer", NEWCOMERS)

    tenants = await _starts(folder, fill, at_least=100)
    return max(place for place, tenant in enumerate(tenants, 1) if tenant == "newcomer")


async def share_of_three(folder: Path, *, each: int, starts: int) -> float:
    """How many of the heavier tenant's calls began for one of the lighter one's."""

    async def fill(store: Store) -> None:
        for tenant, weight in WEIGHTS.items():
            await _submit(store, tenant, each, weight=weight)

    shares = Counter((await _starts(folder, fill, at_least=starts))[:starts])
    return shares["three"] / shares["one"]


async def _submit(store: Store, tenant: str, count: int, **changes: float) -> None:
    for start in range(0, count, 1_000):
        bodies = (
            b'{"model":"m","messages":[{"role":"user","content":"%b %d"}]}' % (tenant.encode(), number)
            for number in range(start, min(start + 1_000, count))
        )
        await store.requests.submit([a_request(queue="m", tenant=tenant, payload=body, **changes) for body in bodies])


async def _starts(folder: Path, fill: Callable[[Store], Awaitable[None]], *, at_least: int) -> Sequence[str]:
    """Whose calls began at the upstream, in order, once a server is started on a store that was filled before."""
    async with open_store(folder / "raincheck.db", clock=now) as store:
        await fill(store)
    async with an_upstream(folder, delay=0.02) as upstream:
        server = Server(folder, upstream, free_port())
        process = await server.start()
        log = folder / "calls.jsonl"
        async with asyncio.timeout(60):
            while log.read_bytes().count(b'"began"') < at_least:
                await asyncio.sleep(0.05)
        await process.kill()
    return [call.content.split()[0] for call in calls.read(log)]


async def _main(crowd: int) -> None:
    with tempfile.TemporaryDirectory(prefix="raincheck-fair-") as name:
        print(f"behind {crowd:,}, all {NEWCOMERS} had begun after {await newcomers_places(Path(name), crowd=crowd)}")
    with tempfile.TemporaryDirectory(prefix="raincheck-fair-") as name:
        print(f"weights of 3:1 gave {await share_of_three(Path(name), each=4_000, starts=4_000):.2f}:1")


if __name__ == "__main__":
    asyncio.run(_main(int((sys.argv[1:] or [100_000])[0])))

"""G6, G7: several workers tell of what has ended, each event once, and all of them together spare a receiver."""

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.receivers import Delivered, Receiver, Scripted, delayed
from tests.server import a_chat
from tests.stories.cluster import Cluster, a_cluster

PLACES = 3
CONFIGURATION = f'[webhooks]\nallow = ["127.0.0.1"]\nmax_concurrency = {PLACES}\n'
ENDS = 60


class Doorkeeper:
    """Counts who is inside at once."""

    def __init__(self, inner: Scripted) -> None:
        self._inner = inner
        self._inside = 0
        self.most = 0

    async def answer(self, delivered: Delivered, transport: asyncio.Transport) -> None:
        self._inside += 1
        self.most = max(self.most, self._inside)
        try:
            await self._inner(delivered, transport)
        finally:
            self._inside -= 1


@pytest.mark.slow("starts a PostgreSQL, a server and three workers")
async def test_three_workers_deliver_each_event_once_and_never_too_many_at_once(tmp_path: Path) -> None:
    """G7: what one receiver is given at once holds over all workers."""
    door = Doorkeeper(delayed(0.03))
    async with (
        Receiver() as receiver,
        a_cluster(tmp_path, apis=1, workers=3, delay=0, configuration=CONFIGURATION) as cluster,
        aiohttp.ClientSession() as http,
    ):
        receiver.always("/hook", door.answer)
        ids = await asyncio.gather(*(_defer(http, cluster, receiver.at()) for _ in range(ENDS)))
        await receiver.wait(ENDS)
        await _until_all_noted(http, cluster)
    told = Counter(each.data["id"] for each in receiver.received)
    assert told.keys() == set(ids)
    # No worker died, so nothing was repeated.
    assert set(told.values()) == {1}
    assert 1 < door.most <= PLACES


async def _defer(http: aiohttp.ClientSession, cluster: Cluster, hook: str) -> str:
    body = a_chat(deferred=True, raincheck={"webhook_url": hook})
    async with http.post(f"{cluster.api()}/chat/completions", json=body) as reply:
        assert reply.status == 200, await reply.text()
        return (await reply.json())["id"]


async def _until_all_noted(http: aiohttp.ClientSession, cluster: Cluster) -> None:
    async with asyncio.timeout(20):
        while True:
            async with http.get(f"{cluster.api()}/webhook_deliveries?status=pending") as reply:
                if not (await reply.json())["data"]:
                    return
            await asyncio.sleep(0.05)

"""G6: a dead receiver, one that refuses and one that is slow do not delay a healthy one.

`python -m tests.stories.test_webhooks_isolation` measures it with 5,000 events for each.
"""

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import quantiles
from time import monotonic

import aiohttp
import pytest

from tests.receivers import Answer, Delivered, Receiver, delayed, never, status
from tests.server import a_chat
from tests.stories.processes import Server, an_upstream, free_port

BAD: dict[str, Answer] = {"/dead": never, "/refusing": status(500), "/slow": delayed(2)}
PACE = 100
"""Requests handed in a second."""
PLACES = 8
"""What one receiver is given at once, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Run:
    """What receivers saw of so many events."""

    delays: list[float]
    """Of the healthy one, in milliseconds, from the end to its arrival, sorted."""
    came: Counter[str]
    """Deliveries by path."""
    seconds: float

    @property
    def p50(self) -> float:
        return quantiles(self.delays, n=100)[49]

    @property
    def p99(self) -> float:
        return quantiles(self.delays, n=100)[98]

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f} ms, p99 {self.p99:.1f} ms, in {self.seconds:.0f} s; deliveries: {dict(self.came)}"


@pytest.mark.slow("starts a server and ends 200 requests on it")
async def test_a_healthy_receiver_is_told_of_all_while_a_dead_one_holds_on_to_what_it_has(tmp_path: Path) -> None:
    """G6: in isolation."""
    run = await a_run(tmp_path, events=200, beside=BAD)
    assert run.came["/healthy"] == 200
    # The dead one has not let go of its first few, and got no others: all else it is to have waits in the store.
    assert 1 <= run.came["/dead"] <= PLACES
    assert 1 <= run.came["/slow"] <= PLACES * (run.seconds // 2 + 2)
    # After some failures in a row it is left alone for a while.
    assert 1 <= run.came["/refusing"] <= 2 * PLACES


async def a_run(folder: Path, *, events: int, beside: Mapping[str, Answer]) -> Run:
    """End so many requests at an even pace, with a healthy endpoint and these beside it."""
    folder.mkdir(exist_ok=True)
    (folder / "raincheck.toml").write_text('[webhooks]\nallow = ["127.0.0.1"]\n', encoding="utf-8")
    async with an_upstream(folder) as upstream, Receiver() as receiver, aiohttp.ClientSession() as http:
        server = Server(folder, upstream, free_port())
        process = await server.start()
        for path in ("/healthy", *beside):
            await _subscribe(http, server, receiver.at(path))
        for path, answer in beside.items():
            receiver.always(path, answer)
        begun = monotonic()
        await _submit(http, server, events)
        healthy = await receiver.wait(events, path="/healthy", timeout=60)
        seconds = monotonic() - begun
        await process.kill()
    delays = sorted(_delay(each) for each in healthy)
    return Run(delays, Counter(each.path for each in receiver.received), seconds)


async def _subscribe(http: aiohttp.ClientSession, server: Server, url: str) -> None:
    body = {"name": "one of several", "url": url, "event_types": ["chat.completion.completed"]}
    async with http.post(f"{server.base_url}/webhook_endpoints", json=body) as reply:
        assert reply.status == 200, await reply.text()


async def _submit(http: aiohttp.ClientSession, server: Server, events: int) -> None:
    begun = monotonic()
    async with asyncio.TaskGroup() as submits:
        for number in range(events):
            await asyncio.sleep(max(0.0, begun + number / PACE - monotonic()))
            submits.create_task(_defer(http, server))


async def _defer(http: aiohttp.ClientSession, server: Server) -> None:
    async with http.post(f"{server.base_url}/chat/completions", json=a_chat(deferred=True)) as reply:
        assert reply.status == 200, await reply.text()


def _delay(delivered: Delivered) -> float:
    """In milliseconds."""
    ended_at = datetime.fromisoformat(delivered.json["timestamp"]).timestamp()
    return delivered.at / 1_000 - ended_at * 1_000


async def main(events: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        alone = await a_run(Path(folder) / "alone", events=events, beside={})
        print(f"alone: {alone}")
        beside = await a_run(Path(folder) / "beside", events=events, beside=BAD)
        print(f"beside {', '.join(BAD)}: {beside}")
    print(f"ratio of p99: {beside.p99 / alone.p99:.2f}, of p50: {beside.p50 / alone.p50:.2f}")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000))

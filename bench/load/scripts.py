"""Jobs on the bare protocol: the same calls again and again, and long-polls held open."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter
from typing import Any

from bench.load.raw import Connection, Script, connect, play

BURST = 100
_held: list[Connection] = []


@dataclass(slots=True)
class Tally:
    """How much was done before the time was over."""

    until: float
    count: int = 0


async def repeat(port: int, requests: Sequence[str], connections: int, seconds: float) -> dict[str, Any]:
    """Send these requests again and again; each must be answered with 200."""
    tally = Tally(perf_counter() + seconds)
    sent = [request.encode() for request in requests]
    await play(port, [_repeat(islice(cycle(sent), start, None), tally) for start in range(connections)])
    return {"per_second": tally.count / seconds}


def _repeat(requests: Iterator[bytes], tally: Tally) -> Script:
    for request in requests:
        status, body = yield request
        if status != 200:
            raise RuntimeError(f"answered {status}: {body[:500]!r}")
        if perf_counter() > tally.until:
            return
        tally.count += 1


async def hold(port: int, requests: Sequence[str], connections: int) -> dict[str, Any]:
    """Open long-polls and leave them open until this process ends; returns how many still wait after a second."""
    sent = cycle(request.encode() for request in requests)
    for _ in range(0, connections, BURST):
        opened = await connect(port, [_once(next(sent)) for _ in range(BURST)])
        for connection in opened:
            connection.start()
        _held.extend(opened)
    await asyncio.sleep(1)
    return {"waiting": sum(not connection.over.done() for connection in _held)}


def _once(request: bytes) -> Script:
    yield request

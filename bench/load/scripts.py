"""Jobs on the bare protocol: the same calls again and again, a direct and a deferred call in turn, long-polls held."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from time import perf_counter
from typing import Any

import msgspec

from bench.calls import DIRECT, SUBMIT, get
from bench.load.raw import Connection, Reply, Script, connect, play

_held: list[Connection] = []
BURST = 100


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
        _check((yield request))
        if perf_counter() > tally.until:
            return
        tally.count += 1


async def pairs(direct_port: int, port: int, count: int) -> dict[str, Any]:
    """Call directly and by a deferred request, in turn, one at a time; both in milliseconds."""
    direct, deferred = Timed(), Timed()
    for _ in range(count):
        await play(direct_port, [_direct(direct)])
        await play(port, [_deferred(deferred)])
    return {"direct": direct.milliseconds, "deferred": deferred.milliseconds}


async def hold(port: int, requests: Sequence[str], connections: int) -> dict[str, Any]:
    """Open long-polls and leave them open until this process ends; returns how many were still open after a while."""
    sent = cycle(request.encode() for request in requests)
    for _ in range(0, connections, BURST):
        opened = await connect(port, [_once(next(sent)) for _ in range(BURST)])
        for connection in opened:
            connection.start()
        _held.extend(opened)
    await asyncio.sleep(1)
    return {"open": sum(not connection.over.done() for connection in _held)}


def _once(request: bytes) -> Script:
    yield request


def _check(reply: Reply) -> bytes:
    status, body = reply
    if status != 200:
        raise RuntimeError(f"answered {status}: {body[:500]!r}")
    return body

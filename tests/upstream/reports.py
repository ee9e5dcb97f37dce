"""What upstream tests are built from: work to hand in, and a report that keeps what it is told."""

import asyncio
from typing import Any

import msgspec

from raincheck.upstream.protocol import Bench, Work
from raincheck.upstream.python.direct import NoBench


def some_work(
    *, operation: str = "chat.completion", path: str = "/chat/completions", at: Bench | None = None, **payload: Any
) -> Work:
    """An attempt with this payload; without a bench, it cannot work with files."""
    return Work(
        request_id="req_1",
        operation=operation,
        path=path,
        bench=at or NoBench(),
        model=payload.setdefault("model", "m"),
        payload=msgspec.json.encode(payload),
        attempt=1,
    )


class KeptReport:
    """A report that keeps everything, and wakes whoever waits for the first word."""

    def __init__(self) -> None:
        self.progresses: list[tuple[float | None, str | None]] = []
        self.deltas: list[Any] = []
        self.remotes: list[str | None] = []
        self.said_something = asyncio.Event()

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self.progresses.append((fraction, message))
        self.said_something.set()

    def delta(self, data: bytes) -> None:
        self.deltas.append(msgspec.json.decode(data))
        self.said_something.set()

    async def remote(self, remote_id: str | None) -> None:
        self.remotes.append(remote_id)
        self.said_something.set()

    async def stray(self, remote_id: str) -> None:
        raise AssertionError(f"{remote_id} was begun for nothing")

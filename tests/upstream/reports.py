"""What upstream tests are built from: work to hand in, and a report that keeps what it is told."""

import asyncio
from typing import Any

import msgspec

from raincheck.upstream.protocol import Work


def some_work(**payload: Any) -> Work:
    """An attempt with this payload."""
    return Work(
        request_id="req_1",
        operation="chat.completion",
        path="/chat/completions",
        model=payload.setdefault("model", "m"),
        payload=msgspec.json.encode(payload),
        attempt=1,
    )


class KeptReport:
    """A report that keeps everything, and wakes whoever waits for the first word."""

    def __init__(self) -> None:
        self.progresses: list[tuple[float | None, str | None]] = []
        self.deltas: list[Any] = []
        self.remotes: list[str] = []
        self.said_something = asyncio.Event()

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self.progresses.append((fraction, message))
        self.said_something.set()

    def delta(self, data: bytes) -> None:
        self.deltas.append(msgspec.json.decode(data))
        self.said_something.set()

    async def remote(self, remote_id: str) -> None:
        self.remotes.append(remote_id)
        self.said_something.set()

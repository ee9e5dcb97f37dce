"""Job: one call at a time over two open connections, directly and by a deferred request in turn, each timed."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import msgspec

from bench.calls import DIRECT, SUBMIT, get


async def pairs(direct_port: int, port: int, count: int) -> dict[str, Any]:
    """How long each call took, in milliseconds, both sides in the same order."""
    direct = Line(*await asyncio.open_connection("127.0.0.1", direct_port))
    deferring = Line(*await asyncio.open_connection("127.0.0.1", port))
    times: dict[str, Any] = {"direct": [], "deferred": []}
    for _ in range(count):
        began = perf_counter()
        await direct.call(DIRECT)
        called = perf_counter()
        ticket = msgspec.json.decode(await deferring.call(SUBMIT))
        await deferring.call(get(f"/v1/chat/deferred-completion/{ticket['id']}?wait=30"))
        times["direct"].append((called - began) * 1000)
        times["deferred"].append((perf_counter() - called) * 1000)
    direct.writer.close()
    deferring.writer.close()
    return times


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def call(self, request: bytes) -> bytes:
        """The body of a 200."""
        self.writer.write(request)
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await self.reader.readexactly(length)
        if not head.startswith(b"http/1.1 200"):
            raise RuntimeError(f"answered {head[:20]!r}: {body[:500]!r}")
        return body

"""How a child process of the bench speaks to its parent: JSON lines out, JSON lines in, and gone when the parent is."""

import asyncio
import sys
from typing import Any

import msgspec


def say(**facts: Any) -> None:
    """One line to the parent."""
    sys.stdout.buffer.write(msgspec.json.encode(facts) + b"\n")
    sys.stdout.buffer.flush()


async def ears() -> asyncio.StreamReader:
    """What the parent says, line by line; at its end, the parent is gone or wants no more."""
    reader = asyncio.StreamReader(limit=64 << 20)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader

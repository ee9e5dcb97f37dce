"""Job: the same call again and again over gRPC, on as many connections as asked for."""

import asyncio
from base64 import b64decode
from collections.abc import Sequence
from itertools import cycle
from time import perf_counter
from typing import Any

import grpc.aio


async def repeat(port: int, method: str, messages: Sequence[str], connections: int, seconds: float) -> dict[str, Any]:
    """Send these messages (serialized, in base64) again and again, one call at a time per connection; calls per
    second. Raises grpc.aio.AioRpcError when one is refused."""
    sent = cycle([b64decode(message) for message in messages])
    until = perf_counter() + seconds
    count = 0

    async def caller() -> None:
        nonlocal count
        # Channels to one address share a connection unless told not to.
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            make: Any = channel.unary_unary
            call = make(method)
            while perf_counter() <= until:
                await call(next(sent))
                count += 1

    async with asyncio.TaskGroup() as callers:
        for _ in range(connections):
            callers.create_task(caller())
    return {"per_second": count / seconds}

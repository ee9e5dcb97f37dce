"""Takes a call to the store or the object store, waits out an outage, hands on what the call answered."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from raincheck.core.errors import StoreUnavailable

RETRY_STORE_AFTER = 0.5
"""Seconds between tries."""

T = TypeVar("T")


async def endured(call: Callable[[], Awaitable[T]]) -> T:
    """Make the call as often as it takes."""
    while True:
        try:
            return await call()
        except StoreUnavailable:
            await asyncio.sleep(RETRY_STORE_AFTER)

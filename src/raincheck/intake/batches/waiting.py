"""Takes a batch's record, hands on a later one: when it has come as far as somebody waits for, or the time is over."""

import asyncio
from collections.abc import Callable

from raincheck.core.batches import Batch, BatchStatus
from raincheck.intake.retrieve import LOOK_AGAIN
from raincheck.live import Live, Watch
from raincheck.store.protocol import Batches

VALIDATED_WITHIN = 20.0
"""Seconds for which the answer to a creation waits for the check of its file: pollers take 0 requests for the end."""

CANCELLED_WITHIN = 1.0
"""The same for the answer to a cancellation: what was not fed yet counts as cancelled once the batch has ended."""


async def until(
    done: Callable[[Batch], bool], watch: Watch, batch: Batch, *, seconds: float, batches: Batches, live: Live
) -> Batch:
    """The record when it is `done`, or the time is over, or the server stops; the watch was open before it was read."""
    now = asyncio.get_running_loop().time
    give_up = now() + seconds
    while True:
        left = 0.0 if live.closed else give_up - now()
        if done(batch) or left <= 0:
            return batch
        await watch.news(min(left, LOOK_AGAIN))
        batch = await batches.get(batch.tenant, batch.id)


def checked(batch: Batch) -> bool:
    """Whether the file it was made from has been read, or refused."""
    return batch.status is not BatchStatus.VALIDATING


def ended(batch: Batch) -> bool:
    """Whether all of it has an end."""
    return batch.status.final

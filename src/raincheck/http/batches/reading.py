"""Takes the id of a batch, hands on its record, at once or when it has moved on; and as much of it as may be shown."""

import asyncio
from collections.abc import Callable

import msgspec
from msgspec import structs

from raincheck.core.batches import Batch, BatchDialect, BatchStatus, Counts, Usage
from raincheck.core.model import Tenant
from raincheck.http.auth import caller, may_read
from raincheck.http.batches.as_openai import openai
from raincheck.http.batches.as_xai import xai
from raincheck.http.batches.ids import dialect_of
from raincheck.http.batches.video_calls import EdgeVideos
from raincheck.http.edge import Call, edge_of
from raincheck.http.presence import while_present
from raincheck.http.waiting import Wait
from raincheck.intake.batches.unfed import Source
from raincheck.intake.retrieve import LOOK_AGAIN
from raincheck.live import Watch

VALIDATED_WITHIN = 20.0
"""Seconds for which the answer to a creation waits for the check of its file: pollers take 0 requests for the end."""


def batch_id(call: Call) -> str:
    return call.scope["path_params"]["batch_id"]


async def read(call: Call, tenant: Tenant, wait: Wait) -> Batch:
    """The record of the batch that the path names; with a wait, once it has ended or the time is over. Raises NotFound,
    ClientGone."""
    edge, name = edge_of(call), batch_id(call)
    if wait.seconds <= 0:
        return await edge.store.batches.get(tenant.name, name)
    with edge.live.watch(name) as watch:
        batch = await edge.store.batches.get(tenant.name, name)
        if batch.status.final:
            return batch
        waiting = _until(call, watch, batch, lambda each: each.status.final, wait.seconds)
        batch = await while_present(call.receive, waiting)
    await caller(call, "read")
    return batch


async def validated(call: Call, watch: Watch, batch: Batch) -> Batch:
    """The record of a new batch once its file has been checked, or when that takes long."""
    if batch.status is not BatchStatus.VALIDATING:
        return batch
    checked = _until(call, watch, batch, lambda each: each.status is not BatchStatus.VALIDATING, VALIDATED_WITHIN)
    return await while_present(call.receive, checked)


async def _until(call: Call, watch: Watch, batch: Batch, done: Callable[[Batch], bool], seconds: float) -> Batch:
    """The record when it is `done`, or the time is over, or the server stops; the watch was open before it was read."""
    edge, now = edge_of(call), asyncio.get_running_loop().time
    give_up = now() + seconds
    while True:
        left = 0.0 if edge.live.closed else give_up - now()
        if done(batch) or left <= 0:
            return batch
        await watch.news(min(left, LOOK_AGAIN))
        batch = await edge.store.batches.get(batch.tenant, batch.id)


async def shown(call: Call, batch: Batch) -> bytes:
    """What a caller who has just written to a batch may see of it, in the words of its id."""
    return batch_json(batch if await may_read(call) else _receipt(batch), spoken(call, batch))


def spoken(call: Call, batch: Batch) -> BatchDialect:
    """Whose words the answer uses: the path's, else the id's."""
    return BatchDialect.XAI if call.scope["path"].startswith("/xai/") else dialect_of(batch.id)


def batch_json(batch: Batch, dialect: BatchDialect) -> bytes:
    return msgspec.json.encode(xai(batch) if dialect is BatchDialect.XAI else openai(batch))


def source_of(call: Call) -> Source:
    """Where lines are read that have not become requests."""
    edge = edge_of(call)
    return Source(edge.objects, EdgeVideos(edge), edge.settings.max_body_bytes)


def _receipt(batch: Batch) -> Batch:
    """A batch as it is shown to a key that may only write: what it said itself, and where that stands."""
    return structs.replace(
        batch, counts=Counts(), usage=Usage(), errors=(), model=None, output_file_id=None, error_file_id=None
    )

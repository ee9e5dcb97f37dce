"""Takes the id of a batch, hands on its record, at once or when it has moved on; and as much of it as may be shown."""

from collections.abc import Callable

import msgspec

from raincheck.core.batches import Batch, BatchDialect
from raincheck.core.model import Tenant
from raincheck.http.auth import caller, may_read
from raincheck.http.batches.as_openai import openai
from raincheck.http.batches.as_xai import xai
from raincheck.http.edge import Call, edge_of
from raincheck.http.presence import while_present
from raincheck.http.waiting import Wait
from raincheck.intake.batches.creating import receipt
from raincheck.intake.batches.ids import dialect_of
from raincheck.intake.batches.unfed import Source
from raincheck.intake.batches.waiting import VALIDATED_WITHIN, checked, until
from raincheck.live import Watch


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
        batch = await _until(call, watch, batch, lambda each: each.status.final, wait.seconds)
    await caller(call, "read")
    return batch


async def validated(call: Call, watch: Watch, batch: Batch) -> Batch:
    """The record of a new batch once its file has been checked, or when that takes long."""
    return batch if checked(batch) else await _until(call, watch, batch, checked, VALIDATED_WITHIN)


async def _until(call: Call, watch: Watch, batch: Batch, done: Callable[[Batch], bool], seconds: float) -> Batch:
    edge = edge_of(call)
    later = until(done, watch, batch, seconds=seconds, batches=edge.store.batches, live=edge.live)
    return await while_present(call.receive, later)


async def shown(call: Call, batch: Batch) -> bytes:
    """What a caller who has just written to a batch may see of it, in the words of its id."""
    return batch_json(batch if await may_read(call) else receipt(batch), spoken(call, batch))


def spoken(call: Call, batch: Batch) -> BatchDialect:
    """Whose words the answer uses: the path's, else the id's."""
    return BatchDialect.XAI if call.scope["path"].startswith("/xai/") else dialect_of(batch.id)


def batch_json(batch: Batch, dialect: BatchDialect) -> bytes:
    return msgspec.json.encode(xai(batch) if dialect is BatchDialect.XAI else openai(batch))


def source_of(call: Call) -> Source:
    """Where lines are read that have not become requests."""
    edge = edge_of(call)
    return Source(edge.objects, edge.videos, edge.settings.max_body_bytes)

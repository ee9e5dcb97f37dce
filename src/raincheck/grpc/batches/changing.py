"""Takes calls that make a batch, add to it or end it, hands on its record once that is on disk (G1)."""

from hashlib import sha256

from google.protobuf.empty_pb2 import Empty

from raincheck.core.batches import ENDED_BY_CANCEL, Batch, BatchDialect
from raincheck.core.model import Tenant
from raincheck.grpc.batches.answering import told
from raincheck.grpc.batches.asking import added_body
from raincheck.grpc.call import Call
from raincheck.grpc.protos import batch_pb2
from raincheck.grpc.recording import may_read
from raincheck.intake.batches import adding
from raincheck.intake.batches.creating import Plan, Repetition, check_options, receipt
from raincheck.intake.batches.creating import create as record
from raincheck.intake.batches.ids import fresh_id
from raincheck.intake.batches.line import Lines
from raincheck.intake.batches.waiting import CANCELLED_WITHIN, VALIDATED_WITHIN, checked, ended, until


async def create(call: Call, message: batch_pb2.CreateBatchRequest) -> batch_pb2.Batch:
    """A new batch: an open one, or one of a file, which is answered once that has been checked."""
    tenant = await call.writer()
    return await _shown(call, await _created(call, tenant, _plan(call, message)))


async def add(call: Call, message: batch_pb2.AddBatchRequestsRequest) -> Empty:
    """More requests for a batch, all of them or none.

    A call that the client's gRPC library sends again by itself adds nothing to what the first has (G9); the message is
    what tells that they are the same, since ids that it does not say are made anew for each.
    """
    edge, tenant = call.edge, await call.writer()
    # Before anything is understood or kept for it.
    await edge.store.batches.get(tenant.name, message.batch_id)
    lines = Lines(endpoint=None, xai=False, videos=edge.videos, catalogue=edge.catalogue)
    added = await adding.understand(await added_body(call, tenant, message), lines)
    await adding.add(
        added,
        tenant.name,
        message.batch_id,
        fingerprint=sha256(message.SerializeToString(deterministic=True)).digest(),
        is_retry=call.retry > 0,
        batches=edge.store.batches,
        inbox=edge.inbox,
    )
    return Empty()


async def cancel(call: Call, message: batch_pb2.CancelBatchRequest) -> batch_pb2.Batch:
    """Feed nothing more of a batch and end what is under way; results that are there stay."""
    edge, tenant = call.edge, await call.caller("write")
    with edge.live.watch(message.batch_id) as watch:
        batch = await edge.store.batches.cancel(tenant.name, message.batch_id, limit=ENDED_BY_CANCEL)
        patience = min(CANCELLED_WITHIN, call.patience)
        batch = await until(ended, watch, batch, seconds=patience, batches=edge.store.batches, live=edge.live)
    return await _shown(call, batch)


async def _created(call: Call, tenant: Tenant, plan: Plan) -> Batch:
    edge, new_id = call.edge, fresh_id(BatchDialect.XAI)
    # Open before it is recorded, the watch hears of the file's check however soon that is done.
    with edge.live.watch(new_id) as watch:
        created = await record(
            plan,
            tenant.name,
            Repetition(client_retry=call.retry),
            new_id=new_id,
            batches=edge.store.batches,
            files=edge.store.files,
            objects=edge.objects,
            now=edge.clock(),
            webhook_hosts=edge.settings.webhook_hosts,
        )
        if created.repeated:
            return created.batch
        patience = min(VALIDATED_WITHIN, call.patience)
        return await until(checked, watch, created.batch, seconds=patience, batches=edge.store.batches, live=edge.live)


def _plan(call: Call, message: batch_pb2.CreateBatchRequest) -> Plan:
    options = call.options
    check_options(options)
    return Plan(
        dialect=BatchDialect.XAI,
        name=message.name,
        input_file_id=message.input_file_id or None,
        metadata=options.metadata,
        webhook_url=options.webhook_url,
        webhook_events=options.webhook_events,
    )


async def _shown(call: Call, batch: Batch) -> batch_pb2.Batch:
    """What a caller who has just written to a batch may see of it."""
    return told(batch if await may_read(call) else receipt(batch))

"""The transaction that records a new batch, or finds the one that it repeats (G9)."""

from typing import NamedTuple

from raincheck.core.batches import Batch, BatchStatus, CreatedBatch, NewBatch
from raincheck.core.errors import AttachmentGone, BadInput, IdempotencyConflict
from raincheck.store import rows
from raincheck.store.arriving import seen_key
from raincheck.store.postgres import holders
from raincheck.store.postgres.batch_parts import put_part
from raincheck.store.postgres.database import Database, Row, Transaction
from raincheck.store.postgres.texts import holds, tellable
from raincheck.store.rows import BATCH


class _InTheWay(NamedTuple):
    """A batch that has the key and is not what is asked for: it has to give it up."""

    seq: int


async def create(database: Database, new: NewBatch) -> CreatedBatch:
    """See `protocol.Batches`.

    An earlier batch gives up its key in a transaction of its own: nobody holds a batch that others may be waiting for
    while it asks for bodies.
    """
    if not (_writable(new) and tellable(new.metadata)):
        raise BadInput("The batch has a NUL or half a surrogate pair where neither can be kept; remove it.")
    key = _key(new)
    while True:
        answer = await database.write(lambda tx: _create(tx, new, key))
        if isinstance(answer, CreatedBatch):
            return answer
        in_the_way = answer.seq
        await database.write(lambda tx, seq=in_the_way: _free(tx, seq))


async def repeated(database: Database, new: NewBatch) -> Batch | None:
    """See `protocol.Batches`."""
    if new.fingerprint is None or not _writable(new):
        return None
    found = await database.write(lambda tx: _seen_before(tx, new))
    return found.batch if isinstance(found, CreatedBatch) else None


def _writable(new: NewBatch) -> bool:
    return holds(
        new.id,
        new.tenant,
        new.name,
        new.endpoint,
        new.completion_window,
        new.webhook_url,
        *new.webhook_events,
        new.input_file_id,
        new.idempotency_key,
    )


def _key(new: NewBatch) -> str | None:
    """What a repetition of it will be recognised by."""
    remembered = new.idempotency_key is not None or new.repeat_until is not None
    return seen_key(new) if new.fingerprint is not None and remembered else None


async def _create(tx: Transaction, new: NewBatch, key: str | None) -> CreatedBatch | _InTheWay:
    if new.fingerprint is not None and (found := await _seen_before(tx, new)) is not None:
        return found
    row = await _insert(tx, new, key)
    if row is None:
        # Taken since that look, by one that has been committed meanwhile.
        return await _seen_before(tx, new) or _InTheWay(0)
    if new.body is not None:
        if new.body.blob is not None and not await holders.there(tx, [new.body.blob]):
            raise AttachmentGone
        await put_part(tx, row["seq"], 1, None, new.body)
    tx.batches.add(new.id)
    return CreatedBatch(rows.batch(row))


async def _seen_before(tx: Transaction, new: NewBatch) -> CreatedBatch | _InTheWay | None:
    """What has the key of this batch, if anything has. Raises IdempotencyConflict."""
    row = await tx.one(
        f"""select {BATCH}, seq, fingerprint, repeat_until <= moment($3) as over
              from batch where tenant = $1 and repeat_key = $2""",  # noqa: S608 - columns of ours
        new.tenant,
        seen_key(new),
        tx.at,
    )
    if row is None:
        return None
    if row["over"]:
        return _InTheWay(row["seq"])
    if row["fingerprint"] != new.fingerprint:
        raise IdempotencyConflict
    if new.idempotency_key is None and not new.is_retry:
        # Said again on purpose: from now on this one is what a retry means.
        return _InTheWay(row["seq"])
    return CreatedBatch(rows.batch(row), repeated=True)


async def _free(tx: Transaction, seq: int) -> None:
    await tx.run("update batch set repeat_key = null, fingerprint = null, repeat_until = null where seq = $1", seq)


async def _insert(tx: Transaction, new: NewBatch, key: str | None) -> Row | None:
    """None when another has the key."""
    sealed = new.body is not None
    return await tx.one(
        f"""insert into batch (id, tenant, dialect, name, endpoint, status, sealed, completion_window, metadata,
                               webhook_url, input_file_id, output_expires_after, created_at, in_progress_at, expires_at,
                               due_at, repeat_key, fingerprint, repeat_until, webhook_events)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, case when $7 then null else moment($14) end,
                    $15, case when $7 then moment($14) else $15 end, $16, $17, $18, $19)
            on conflict (tenant, repeat_key) where repeat_key is not null do nothing
        returning {BATCH}, seq""",  # noqa: S608 - columns of ours
        new.id,
        new.tenant,
        new.dialect,
        new.name,
        new.endpoint,
        BatchStatus.VALIDATING if sealed else BatchStatus.IN_PROGRESS,
        sealed,
        new.completion_window,
        rows.metadata_text(new.metadata),
        new.webhook_url,
        new.input_file_id,
        new.output_expires_after,
        new.created_at,
        tx.at,
        new.expires_at,
        key,
        None if key is None else new.fingerprint,
        None if key is None or new.idempotency_key is not None else new.repeat_until,
        rows.words_text(new.webhook_events),
    )

"""What the front desk does with batches, in SQLite."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from raincheck.core.batches import (
    MOST_READ,
    Batch,
    BatchDialect,
    BatchPage,
    BatchStatus,
    Body,
    CreatedBatch,
    NewBatch,
    NewPart,
    Pace,
    Part,
    Row,
)
from raincheck.core.errors import AlreadyEnded, AttachmentGone, BatchClosed, DuplicateLine, IdempotencyConflict
from raincheck.core.events import Event
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.arriving import PartKey, part_key, repeats, seen_key
from raincheck.store.sqlite import batch_rows
from raincheck.store.sqlite.batch_leases import SqliteBatchLeases, end_open, find_batch, more_unfed
from raincheck.store.sqlite.database import Transaction
from raincheck.store.sqlite.holders import hold, is_there


class SqliteBatches(SqliteBatchLeases):
    """See `protocol.Batches`."""

    async def create(self, new: NewBatch) -> CreatedBatch:
        def write(tx: Transaction) -> CreatedBatch:
            if (before := _seen_before(tx, new)) is not None:
                return CreatedBatch(find_batch(tx, before), repeated=True)
            if new.body is not None:
                _refuse_gone(tx, new.body)
            seq = _insert(tx, new)
            if new.body is not None:
                _insert_part(tx, seq, Part(position=0, first_line=1, lines=None, body=new.body))
            tx.batches.add(new.id)
            return CreatedBatch(find_batch(tx, seq))

        return await self._database.write(write)

    async def repeated(self, new: NewBatch) -> Batch | None:
        def look(tx: Transaction) -> Batch | None:
            before = _seen_before(tx, new)
            return None if before is None else find_batch(tx, before)

        return await self._database.write(look)

    async def get(self, tenant: str, batch_id: str) -> Batch:
        row = self._database.one(
            f"select {rows.BATCH} from batch where id = ? and tenant = ?",  # noqa: S608 - words of ours
            batch_id,
            tenant,
        )
        if row is None:
            raise rows.unknown_batch(batch_id)
        return rows.batch(row)

    async def add(self, tenant: str, batch_id: str, part: NewPart) -> Batch:
        def write(tx: Transaction) -> Batch:
            row = tx.one(
                """select seq, not sealed and status = 'in_progress' and expires_at > ?, total
                     from batch where id = ? and tenant = ?""",
                tx.now,
                batch_id,
                tenant,
            )
            if row is None:
                raise rows.unknown_batch(batch_id)
            seq, open_, total = row
            key = part_key(part, tx.now)
            before = None if key is None else _latest(tx, seq, key)
            if before is None or not repeats(part):
                if not open_:
                    raise BatchClosed
                _refuse_duplicates(tx, seq, part.names)
                _refuse_gone(tx, part.body)
                _add(tx, seq, total, part, None if key is None else key.fresh(before))
                tx.batches.add(batch_id)
            return find_batch(tx, seq)

        return await self._database.write(write)

    async def cancel(self, tenant: str, batch_id: str, *, limit: int) -> Batch:
        def write(tx: Transaction) -> Batch:
            row = tx.one("select seq, status, ends_as from batch where id = ? and tenant = ?", batch_id, tenant)
            if row is None:
                raise rows.unknown_batch(batch_id)
            seq, status, ends_as = row
            match BatchStatus(status):
                case BatchStatus.VALIDATING | BatchStatus.IN_PROGRESS:
                    # The lease is void with it: what is fed after this would be nobody's to end.
                    tx.run(
                        """update batch
                              set status = 'finalizing', ends_as = 'cancelled', finalizing_at = ?1, due_at = ?1,
                                  worker = null
                            where seq = ?2""",
                        (tx.now, seq),
                    )
                    tx.batches.add(batch_id)
                case BatchStatus.FINALIZING if ends_as == BatchStatus.CANCELLED:
                    pass
                case BatchStatus.CANCELLED:
                    return find_batch(tx, seq)
                case _:
                    raise AlreadyEnded(f"The batch has already ended as {ends_as or status}; an end is final.")
            end_open(tx, seq, Status.CANCELLED, limit=limit, keep_for=self._retention)
            return find_batch(tx, seq)

        return await self._database.write(write)

    async def parts(self, tenant: str, batch_id: str, *, start: int = 0, line: int = 0, limit: int) -> list[Part]:
        seq, _ = batch_rows.find(self._database, tenant, batch_id)
        found = await self._database.read_apart(
            """select position, first_line, lines, size, digest, blob, body
                 from batch_part
                where batch_seq = ?1
                  and position >= max(?2, coalesce((select position from batch_part
                                                     where batch_seq = ?1 and first_line <= ?3
                                                     order by first_line desc limit 1), 0))
                order by position limit ?4""",
            (seq, start, line, limit),
        )
        return [rows.part(row) for row in found]

    async def rows(self, tenant: str, batch_id: str, *, after: int = 0, limit: int) -> list[Row]:
        return await batch_rows.in_order(self._database, tenant, batch_id, after=after, limit=limit)

    async def results(
        self, tenant: str, batch_id: str, *, after: int = 0, limit: int, most_bytes: int = MOST_READ
    ) -> list[Row]:
        return await batch_rows.in_order(
            self._database, tenant, batch_id, after=after, limit=limit, most_bytes=most_bytes
        )

    async def ended(
        self, tenant: str, batch_id: str, *, after: int = 0, limit: int, most_bytes: int = MOST_READ
    ) -> list[Row]:
        return await batch_rows.as_ended(
            self._database, tenant, batch_id, after=after, limit=limit, most_bytes=most_bytes
        )

    async def row(self, tenant: str, batch_id: str, custom_id: str) -> Row | None:
        return await batch_rows.named(self._database, tenant, batch_id, custom_id)

    async def paces(self, queues: Sequence[str]) -> list[Pace]:
        found = self._database.all(
            """select q.name, (select coalesce(sum(f.pending), 0) from flow f where f.queue = q.name), q.service, q.pace
                 from json_each(?) wanted join queue q on q.name = wanted.value""",
            msgspec.json.encode(queues).decode(),
        )
        return [Pace(*row) for row in found]

    async def events(self, tenant: str, batch_id: str) -> list[Event]:
        found = self._database.all(
            """select e.id, e.tenant, e.type, e.created_at, e.webhook_url, null, b.id
                 from batch b join event e on e.batch_seq = b.seq
                where b.id = ? and b.tenant = ?""",
            batch_id,
            tenant,
        )
        return [Event(*row) for row in found]

    async def list(
        self, tenant: str, *, dialect: BatchDialect | None = None, after: str | None = None, limit: int = 20
    ) -> BatchPage:
        below = rows.MAX_SEQ if after is None else batch_rows.find(self._database, tenant, after)[0]
        # What is said of the dialect is left out where nothing is asked: either way there is an index.
        found = await self._database.read_apart(
            f"""select {rows.BATCH} from batch
                 where tenant = :tenant and {"" if dialect is None else "dialect = :dialect and"} seq < :below
                 order by seq desc limit :limit""",  # noqa: S608 - words of ours
            {"tenant": tenant, "dialect": dialect, "below": below, "limit": limit + 1},
        )
        return BatchPage([rows.batch(row) for row in found[:limit]], len(found) > limit)


def _seen_before(tx: Transaction, new: NewBatch) -> int | None:
    """The batch that this one repeats (G9). Raises IdempotencyConflict."""
    if new.fingerprint is None:
        return None
    row = tx.one(
        """select seq, fingerprint from batch
            where tenant = ? and repeat_key = ? and (repeat_until is null or repeat_until > ?)""",
        new.tenant,
        seen_key(new),
        tx.now,
    )
    if row is None:
        return None
    seq, fingerprint = row
    if fingerprint != new.fingerprint:
        raise IdempotencyConflict
    return seq if new.idempotency_key is not None or new.is_retry else None


def _insert(tx: Transaction, new: NewBatch) -> int:
    remembered = new.fingerprint is not None and (new.idempotency_key is not None or new.repeat_until is not None)
    repeat_key = seen_key(new) if remembered else None
    if repeat_key is not None:
        # Said again on purpose, or too late to be a retry: from now on this one is what a retry means.
        tx.run(
            """update batch set repeat_key = null, fingerprint = null, repeat_until = null
                where tenant = ? and repeat_key = ?""",
            (new.tenant, repeat_key),
        )
    sealed = new.body is not None
    return tx.insert(
        """insert into batch (id, tenant, dialect, name, endpoint, status, sealed, completion_window, metadata,
                              webhook_url, webhook_events, input_file_id, output_expires_after, created_at,
                              in_progress_at, expires_at, due_at, repeat_key, fingerprint, repeat_until)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
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
        rows.words_text(new.webhook_events),
        new.input_file_id,
        new.output_expires_after,
        new.created_at,
        None if sealed else tx.now,
        new.expires_at,
        tx.now if sealed else new.expires_at,
        repeat_key,
        new.fingerprint if remembered else None,
        new.repeat_until if remembered and new.idempotency_key is None else None,
    )


def _insert_part(tx: Transaction, seq: int, part: Part, repeat_key: str | None = None) -> None:
    body = part.body
    tx.run(
        """insert into batch_part (batch_seq, position, first_line, lines, size, digest, blob, body, repeat_key)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(seq, part.position, part.first_line, part.lines),
            *(body.size, body.digest, body.blob, body.text, repeat_key),
        ),
    )
    if body.blob is not None:
        hold(tx, body.blob)


def _refuse_gone(tx: Transaction, body: Body) -> None:
    if body.blob is not None and not is_there(tx, body.blob):
        raise AttachmentGone


def _latest(tx: Transaction, seq: int, key: PartKey) -> str | None:
    """The latest key of what was added before and these lines may repeat."""
    [(before,)] = tx.all(
        "select max(repeat_key) from batch_part where batch_seq = ? and repeat_key between ? and ?",
        seq,
        key.least,
        key.most,
    )
    return before


def _refuse_duplicates(tx: Transaction, seq: int, names: Sequence[str]) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    there = tx.one(
        """select value from json_each(?)
            where exists (select 1 from batch_row where batch_seq = ? and custom_id = value) limit 1""",
        msgspec.json.encode(names).decode(),
        seq,
    )
    name = there[0] if there is not None else twice
    if name is not None:
        raise DuplicateLine(f"The batch has a request {name!r} already; give each an id of its own.")


def _add(tx: Transaction, seq: int, total: int, part: NewPart, key: str | None) -> None:
    [(position,)] = tx.all("select coalesce(max(position), -1) + 1 from batch_part where batch_seq = ?", seq)
    placed = Part(position=position, first_line=total + 1, lines=len(part.names), body=part.body)
    _insert_part(tx, seq, placed, key)
    tx.run(
        """insert into batch_row (batch_seq, line, custom_id)
           select ?, ? + key, value from json_each(?)""",
        (seq, placed.first_line, msgspec.json.encode(part.names).decode()),
    )
    more_unfed(tx, seq, part.queues)
    # Whoever feeds it just now keeps the lease, and finds out when it is given back.
    tx.run(
        "update batch set total = total + ?, due_at = case when worker is null then ? else due_at end where seq = ?",
        (len(part.names), tx.now, seq),
    )

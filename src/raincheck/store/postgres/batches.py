"""What the front desk does with batches, in PostgreSQL."""

from collections import Counter
from collections.abc import Sequence

from raincheck.core.batches import (
    MOST_READ,
    Batch,
    BatchDialect,
    BatchPage,
    BatchStatus,
    CreatedBatch,
    NewBatch,
    NewPart,
    Pace,
    Part,
    Row,
)
from raincheck.core.errors import AlreadyEnded, AttachmentGone, BadInput, BatchClosed, DuplicateLine
from raincheck.core.events import Event
from raincheck.store import rows
from raincheck.store.arriving import PartKey, part_key, repeats
from raincheck.store.postgres import batch_rows, creating, holders, tallies
from raincheck.store.postgres.batch_leases import PostgresBatchLeases, end_open
from raincheck.store.postgres.batch_parts import put_part
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.texts import holds
from raincheck.store.rows import BATCH


class PostgresBatches(PostgresBatchLeases):
    """See `protocol.Batches`."""

    async def create(self, new: NewBatch) -> CreatedBatch:
        return await creating.create(self._database, new)

    async def repeated(self, new: NewBatch) -> Batch | None:
        return await creating.repeated(self._database, new)

    async def get(self, tenant: str, batch_id: str) -> Batch:
        row = None
        if holds(tenant, batch_id):
            row = await self._database.one(
                f"select {BATCH} from batch where id = $1 and (tenant = $2) is true",  # noqa: S608 - columns of ours
                batch_id,
                tenant,
            )
        if row is None:
            raise rows.unknown_batch(batch_id)
        return rows.batch(row)

    async def add(self, tenant: str, batch_id: str, part: NewPart) -> Batch:
        if not holds(*part.names, *part.queues, part.idempotency_key):
            raise BadInput("A custom id or a model has a NUL or half a surrogate pair; remove it.")
        await batch_rows.find(self._database, tenant, batch_id)

        async def write(tx: Transaction) -> Batch:
            there = part.body.blob is None or bool(await holders.there(tx, [part.body.blob]))
            found = await tx.one(
                """select seq, not sealed and status = 'in_progress' and expires_at > moment($2), total,
                          moment($2)
                     from batch where id = $1 for update""",
                batch_id,
                tx.at,
            )
            if found is None:
                raise rows.unknown_batch(batch_id)
            seq, taking, total, now = found
            key = part_key(part, now)
            before = None if key is None else await _latest(tx, seq, key)
            if before is None or not repeats(part):
                if not taking:
                    raise BatchClosed
                await _list(tx, seq, total, part.names)
                if not there:
                    raise AttachmentGone
                await _add(tx, seq, total, part, None if key is None else key.fresh(before))
                tx.batches.add(batch_id)
            return await _record(tx, seq)

        return await self._database.write(write)

    async def cancel(self, tenant: str, batch_id: str, *, limit: int) -> Batch:
        seq, _ = await batch_rows.find(self._database, tenant, batch_id)

        async def write(tx: Transaction) -> Batch:
            # What is fed after this look is ended by `stop`.
            [seen] = await tx.all("select status, ends_as from batch where seq = $1", seq)
            if _refuse_ended(*seen):
                return await _record(tx, seq)
            await end_open(tx, seq, BatchStatus.CANCELLED, limit, self._retention)
            [locked] = await tx.all("select status, ends_as from batch where seq = $1 for update", seq)
            _refuse_ended(*locked)
            # The lease is void with it: what is fed after this would be nobody's to end.
            turned = await tx.one(
                """update batch
                      set status = 'finalizing', ends_as = 'cancelled', finalizing_at = moment($2), due_at = moment($2),
                          worker = null
                    where seq = $1 and status in ('validating', 'in_progress') returning 1""",
                seq,
                tx.at,
            )
            if turned:
                tx.batches.add(batch_id)
            await tallies.count(tx)
            return await _record(tx, seq)

        return await self._database.write(write)

    async def parts(self, tenant: str, batch_id: str, *, start: int = 0, line: int = 0, limit: int) -> list[Part]:
        seq, _ = await batch_rows.find(self._database, tenant, batch_id)
        found = await self._database.read_apart(
            """select position, first_line, lines, size, digest, blob, body
                 from batch_part
                where batch_seq = $1
                  and position >= greatest($2, (select position from batch_part
                                                 where batch_seq = $1 and first_line <= $3
                                                 order by first_line desc limit 1))
                order by position limit $4""",
            seq,
            start,
            line,
            limit,
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
        found = await self._database.all(
            """select q.name, (select coalesce(sum(f.pending), 0)::bigint from flow f where f.queue = q.name),
                      q.service, q.pace
                 from queue q where q.name = any($1::text[])""",
            [queue for queue in queues if holds(queue)],
        )
        return [Pace(*row) for row in found]

    async def events(self, tenant: str, batch_id: str) -> list[Event]:
        if not holds(tenant, batch_id):
            return []
        found = await self._database.all(
            """select e.id, e.tenant, e.type, e.created_at, e.webhook_url, null, b.id
                 from batch b join event e on e.batch_seq = b.seq
                where b.id = $1 and (b.tenant = $2) is true""",
            batch_id,
            tenant,
        )
        return [Event(*row) for row in found]

    async def list(
        self, tenant: str, *, dialect: BatchDialect | None = None, after: str | None = None, limit: int = 20
    ) -> BatchPage:
        below = rows.MAX_SEQ if after is None else (await batch_rows.find(self._database, tenant, after))[0]
        if not holds(tenant):
            return BatchPage([], has_more=False)
        # Rows are compared, because an equal tenant would leave the planner free to walk through everyone's.
        key, least, most = ("tenant, seq", "$1, 0", "$1, $2::bigint")
        if dialect is not None:
            key, least, most = ("tenant, dialect, seq", "$1, $4, 0", "$1, $4, $2::bigint")
        order = key.replace(",", " desc,")
        found = await self._database.read_apart(
            f"""select {BATCH} from batch
                 where ({key}) < ({most}) and ({key}) >= ({least}) and ($4::text is null or dialect = $4)
                 order by {order} desc limit $3""",  # noqa: S608 - words of ours
            tenant,
            below,
            limit + 1,
            dialect,
        )
        return BatchPage([rows.batch(row) for row in found[:limit]], len(found) > limit)


async def _record(tx: Transaction, seq: int) -> Batch:
    [row] = await tx.all(f"select {BATCH} from batch where seq = $1", seq)  # noqa: S608 - columns of ours
    return rows.batch(row)


def _refuse_ended(status: str, ends_as: str | None) -> bool:
    """Whether it has been cancelled, and that is all over. Raises AlreadyEnded for another end."""
    if BatchStatus(status) is BatchStatus.CANCELLED:
        return True
    if BatchStatus(status).final or ends_as not in {None, BatchStatus.CANCELLED}:
        raise AlreadyEnded(f"The batch has already ended as {ends_as or status}; an end is final.")
    return False


# --- adding


async def _latest(tx: Transaction, seq: int, key: PartKey) -> str | None:
    """The latest key of what was added before and these lines may repeat."""
    [(before,)] = await tx.all(
        "select max(repeat_key) from batch_part where batch_seq = $1 and repeat_key between $2 and $3",
        seq,
        key.least,
        key.most,
    )
    return before


async def _list(tx: Transaction, seq: int, total: int, names: Sequence[str]) -> None:
    """Write down the lines by name, behind the `total` that are there; the batch is locked.

    The unique index is the judge: a question asked before might be planned as a walk through the whole batch.
    """
    listed = await tx.all(
        """insert into batch_row (batch_seq, line, custom_id)
           select $1, $2 + number, name from unnest($3::text[]) with ordinality as n (name, number)
           on conflict (batch_seq, custom_id) do nothing returning custom_id""",
        seq,
        total,
        names,
    )
    if len(listed) < len(names):
        name = next((Counter(names) - Counter(name for (name,) in listed)).elements())
        raise DuplicateLine(f"The batch has a request {name!r} already; give each an id of its own.")


async def _add(tx: Transaction, seq: int, total: int, part: NewPart, key: str | None) -> None:
    """Keep the bodies of the lines that have just been listed, and count them; the batch is locked.

    Whoever feeds it just now keeps the lease, and finds out when it is given back.
    """
    await put_part(tx, seq, total + 1, len(part.names), part.body, repeat_key=key)
    await tx.run(
        """with waiting as (
               insert into batch_queue as q (batch_seq, queue, unfed)
               select $1, queue, lines from unnest($2::text[], $3::bigint[]) as n (queue, lines)
               on conflict (batch_seq, queue) do update set unfed = q.unfed + excluded.unfed
           )
           update batch set total = total + $4, due_at = case when worker is null then moment($5) else due_at end
            where seq = $1""",
        seq,
        list(part.queues),
        list(part.queues.values()),
        len(part.names),
        tx.at,
    )

"""What the front desk does with requests, in PostgreSQL."""

from collections.abc import Sequence
from itertools import islice

import msgspec

from raincheck.core.errors import (
    AlreadyEnded,
    NotEnded,
    NotRequeueable,
    RaincheckError,
    ResultGone,
)
from raincheck.core.model import (
    Attachment,
    Attempt,
    NewRequest,
    Page,
    Place,
    Priority,
    Query,
    Request,
    Result,
    Submitted,
)
from raincheck.core.operations import is_video
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.arriving import named_key
from raincheck.store.postgres import arrivals, holders, places
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.postgres.ends import Ending, Try, end, stopped, tried
from raincheck.store.postgres.texts import holds, tellable, unwritable, writable
from raincheck.store.rows import Open

Named = tuple[str, str]
"""A tenant and the id of a request."""


class PostgresRequests:
    """See `protocol.Requests`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention
        self._submits = database.gathered(_submit)
        self._cancels = database.gathered(self._cancel)

    async def submit(self, batch: Sequence[NewRequest]) -> list[Submitted | RaincheckError]:
        fit = [new for new in batch if writable(new)]
        answers = iter(await self._submits.add(fit) if fit else [])
        if len(fit) == len(batch):
            return list(answers)
        return [next(answers) if writable(new) else unwritable() for new in batch]

    # Point reads keep the plan of their first calls, so only one index may serve them: `is true` hides the tenant from
    # the indexes that begin with it.

    async def get(self, tenant: str, request_id: str) -> Request:
        _check_id(tenant, request_id)
        row = await self._database.one(
            "select * from record where id = $1 and (tenant = $2) is true", request_id, tenant
        )
        if row is None:
            raise rows.unknown(request_id)
        return rows.request(row)

    async def repeated(self, tenant: str, idempotency_key: str) -> Request | None:
        if not holds(tenant, idempotency_key):
            return None
        row = await self._database.one(
            "select r.* from seen s join record r on r.seq = s.request_seq where s.tenant = $1 and s.key = $2",
            tenant,
            named_key(idempotency_key),
        )
        return None if row is None else rows.request(row)

    async def place(self, tenant: str, request_id: str) -> Place | None:
        _check_id(tenant, request_id)
        return await places.find(self._database, tenant, request_id)

    async def attempts(self, tenant: str, request_id: str) -> list[Attempt]:
        _check_id(tenant, request_id)
        found = await self._database.all(
            """select a.number, a.upstream, a.started_at, a.ended_at, a.outcome, a.error
                 from request r join attempt a on a.seq = r.seq
                where r.id = $1 and (r.tenant = $2) is true order by a.fence""",
            request_id,
            tenant,
        )
        if not found:
            await self.get(tenant, request_id)  # No attempts, or no such request?
        return [
            Attempt(number, upstream, started_at, ended_at, outcome, rows.error(error))
            for number, upstream, started_at, ended_at, outcome, error in found
        ]

    async def result(self, tenant: str, request_id: str) -> Result | None:
        _check_id(tenant, request_id)
        row = await self._database.one(
            """select r.purged, t.status, t.content_type, t.body, t.blob, t.size,
                      (select json_agg(json_build_array(a.position, a.name, a.blob, a.content_type, a.size, a.digest))
                         from attachment a where a.seq = r.seq and a.role = 'output')
                 from request r left join result t on t.seq = r.seq
                where r.id = $1 and (r.tenant = $2) is true""",
            request_id,
            tenant,
        )
        if row is None:
            raise rows.unknown(request_id)
        purged, *found = row
        if purged:
            raise ResultGone
        return rows.result(found)

    async def results(self, tenant: str, request_ids: Sequence[str]) -> dict[str, Result]:
        found = await self._database.all(
            """select r.id, t.status, t.content_type, t.body, t.blob, t.size,
                      (select json_agg(json_build_array(a.position, a.name, a.blob, a.content_type, a.size, a.digest))
                         from attachment a where a.seq = r.seq and a.role = 'output')
                 from request r join result t on t.seq = r.seq
                where r.id = any($1::text[]) and (r.tenant = $2) is true""",
            [request_id for request_id in request_ids if holds(tenant, request_id)],
            tenant if holds(tenant) else "",
        )
        results = {request_id: rows.result(row) for request_id, *row in found}
        return {request_id: result for request_id, result in results.items() if result is not None}

    async def payloads(self, tenant: str, request_ids: Sequence[str]) -> dict[str, bytes]:
        found = await self._database.all(
            """select r.id, p.body from request r join payload p on p.seq = r.seq
                where r.id = any($1::text[]) and (r.tenant = $2) is true""",
            [request_id for request_id in request_ids if holds(tenant, request_id)],
            tenant if holds(tenant) else "",
        )
        return {row[0]: row[1] for row in found}

    async def attachments(self, tenant: str, request_id: str) -> list[Attachment]:
        _check_id(tenant, request_id)
        found = await self._database.all(
            """select a.role, a.name, a.blob, a.content_type, a.size, a.digest
                 from request r join attachment a on a.seq = r.seq
                where r.id = $1 and (r.tenant = $2) is true order by a.role, a.position""",
            request_id,
            tenant,
        )
        if not found:
            await self.get(tenant, request_id)  # No attachments, or no such request?
        return [Attachment(*row) for row in found]

    async def search(self, tenant: str, query: Query) -> Page:
        above, below = 0, rows.MAX_SEQ
        if query.after is not None:
            _check_id(tenant, query.after)
            row = await self._database.one(
                "select seq from request where id = $1 and (tenant = $2) is true", query.after, tenant
            )
            if row is None:
                raise rows.unknown(query.after)
            above, below = (row[0], rows.MAX_SEQ) if query.oldest_first else (0, row[0])
        if not holds(tenant, query.model, query.queue, query.operation) or not tellable(query.metadata):
            return Page([], has_more=False)
        values = (
            tenant,
            below,
            query.model,
            query.queue,
            query.operation,
            query.created_after,
            query.created_before,
            rows.metadata_text(query.metadata),
            query.limit + 1,
            query.status,
            above,
        )
        # Each status, and videos, have an index that makes them cheap at any size; rows are compared, because an equal
        # tenant would leave the planner free to walk through everyone's by their number. Metadata may hold a NUL, which
        # jsonb cannot.
        key, wanted = ("tenant", "$1") if query.status is None else ("tenant, status", "$1, $10")
        way = "asc" if query.oldest_first else "desc"
        order = ", ".join(f"{column} {way}" for column in (*key.split(", "), "seq"))
        family = "operation || '.' like 'video.%'" if is_video(f"{query.operation}.") else "true"
        found = await self._database.read_apart(
            rf"""select * from record
                where ({key}, seq) < ({wanted}, $2::bigint) and ({key}, seq) > ({wanted}, $11::bigint)
                  and ($10::text is null or status = $10) and {family}
                  and ($3::text is null or model = $3) and ($4::text is null or queue = $4)
                  and ($5::text is null or $5 in (operation, split_part(operation, '.', 1)))
                  and ($6::bigint is null or created_at >= $6) and ($7::bigint is null or created_at < $7)
                  and ($8::text is null or replace(metadata, '\u0000', '\uffff')::jsonb
                                           @> replace($8, '\u0000', '\uffff')::jsonb)
                order by {order} limit $9""",  # noqa: S608 - words of ours
            *values,
        )
        return Page([rows.request(row) for row in found[: query.limit]], len(found) > query.limit)

    async def cancel(self, tenant: str, request_id: str) -> Request:
        _check_id(tenant, request_id)
        return await self._cancels.add((tenant, request_id))

    async def _cancel(self, tx: Transaction, asked: Sequence[Named]) -> list[Request | RaincheckError]:
        found = await tx.all(
            """select r.seq, r.id, r.tenant, r.operation, r.webhook_url, r.queue, r.priority, r.status, r.fence,
                      r.attempt, r.claimed_at, r.upstream, r.tokens, r.batch_seq, r.line, r.webhook_events,
                      r.webhook_result
                 from unnest($1::text[], $2::text[]) as n (tenant, id)
                 join request r on r.id = n.id and r.tenant = n.tenant
                order by r.seq for update of r""",
            [tenant for tenant, _ in asked],
            [request_id for _, request_id in asked],
        )
        opened = {(request.tenant, request.id): request for request in (Open(*row) for row in found)}
        # From here on a claim's fence matches nothing: it is checked together with the status.
        running = [request for request in opened.values() if request.status == Status.PROCESSING]
        ending = [request for request in opened.values() if not Status(request.status).final]
        if running:
            await tried(tx, [Try(request, "cancelled") for request in running])
            await stopped(tx, running)
        if ending:
            await end(tx, [Ending(request, Status.CANCELLED, self._retention) for request in ending])
        after = await tx.all("select * from record where seq = any($1)", [request.seq for request in opened.values()])
        records = {(record.tenant, record.id): record for record in map(rows.request, after)}
        return [_cancelled(name, records.get(name)) for name in asked]

    async def requeue(self, tenant: str, request_id: str, *, new_id: str, max_pending: int | None = None) -> Request:
        _check_id(tenant, request_id)

        async def write(tx: Transaction) -> Request:
            new = await _copy(tx, tenant, request_id, new_id, max_pending)
            [answer] = await arrivals.record(tx, [new])
            if isinstance(answer, RaincheckError):
                raise answer
            return answer.request

        return await self._database.write(write)

    async def delete(self, tenant: str, request_id: str) -> None:
        _check_id(tenant, request_id)

        async def write(tx: Transaction) -> None:
            row = await tx.one(
                "select seq, status, batch_seq from request where id = $1 and tenant = $2 for update",
                request_id,
                tenant,
            )
            if row is None:
                raise rows.unknown(request_id)
            if not Status(row["status"]).final:
                raise NotEnded
            if row["batch_seq"] is not None and await tx.one(
                "select 1 from batch where seq = $1 and (ended_at is null) is true", row["batch_seq"]
            ):
                raise NotEnded("The request is a row of a batch that has not ended; delete it after that.")
            await forget(tx, [row["seq"]])

        await self._database.write(write)


async def forget_bodies(tx: Transaction, seqs: Sequence[int]) -> None:
    """Let go of everything about requests but their rows."""
    kept = await tx.all(
        """with payloads as (delete from payload where seq = any($1)),
                described as (delete from metadata where seq = any($1)),
                tries as (delete from attempt where seq = any($1)),
                results as (delete from result where seq = any($1) returning blob),
                files as (delete from attachment where seq = any($1) returning blob)
           select blob from results where blob is not null
           union all
           select blob from files""",
        seqs,
    )
    await holders.release(tx, [blob for (blob,) in kept])


async def forget(tx: Transaction, seqs: Sequence[int]) -> None:
    """Let go of requests, which the caller has locked, altogether, their events and idempotency keys included."""
    await tx.run(
        """delete from seen where (tenant, key) in (
               select tenant, key from seen where request_seq = any($1) order by tenant, key for update)""",
        seqs,
    )
    await forget_bodies(tx, seqs)
    await tx.run("delete from event where request_seq = any($1)", seqs)
    gone = await tx.all("delete from request where seq = any($1) returning batch_seq, line", seqs)
    if lines := [(batch_seq, line) for batch_seq, line in gone if batch_seq is not None]:
        # The row of the batch says on that there was this line. One that is locked is being forgotten itself.
        await tx.run(
            """with held as materialized (
                   select r.batch_seq, r.line
                     from unnest($1::bigint[], $2::bigint[]) as n (batch_seq, line)
                     join batch_row r on r.batch_seq = n.batch_seq and r.line = n.line
                      for update of r skip locked)
               update batch_row r set request_seq = null from held h
                where r.batch_seq = h.batch_seq and r.line = h.line""",
            [batch_seq for batch_seq, _ in lines],
            [line for _, line in lines],
        )


async def _submit(
    tx: Transaction, batches: Sequence[Sequence[NewRequest]]
) -> list[list[Submitted | RaincheckError] | RaincheckError]:
    answers = iter(await arrivals.record(tx, [new for batch in batches for new in batch]))
    return [list(islice(answers, len(batch))) for batch in batches]


def _check_id(tenant: str, request_id: str) -> None:
    """Raise NotFound for what no request can be called."""
    if not holds(tenant, request_id):
        raise rows.unknown(request_id)


def _cancelled(name: Named, record: Request | None) -> Request | RaincheckError:
    if record is None:
        return rows.unknown(name[1])
    if record.status is not Status.CANCELLED:
        return AlreadyEnded(f"The request has already ended as {record.status}; an end is final.")
    return record


async def _copy(tx: Transaction, tenant: str, request_id: str, new_id: str, max_pending: int | None) -> NewRequest:
    """What to submit for a request that is requeued."""
    row = await tx.one(
        """select r.queue, r.operation, r.path, r.model, r.status, r.priority, r.max_attempts, r.tokens, r.webhook_url,
                  r.webhook_events, r.webhook_result, f.weight, m.body as metadata, p.body as payload,
                  moment($3) as now, r.seq
             from request r
             left join payload p on p.seq = r.seq
             left join metadata m on m.seq = r.seq
             left join flow f on (f.queue, f.priority, f.tenant) = (r.queue, r.priority, r.tenant)
            where r.id = $1 and r.tenant = $2""",
        request_id,
        tenant,
        tx.at,
    )
    if row is None:
        raise rows.unknown(request_id)
    if row["status"] not in {Status.FAILED, Status.CANCELLED, Status.EXPIRED}:
        raise NotRequeueable(f"The request is {row['status']}; only a failed, cancelled or expired one is requeued.")
    if row["payload"] is None:
        raise ResultGone("The request's payload was purged when its retention ended; submit it again.")
    return NewRequest(
        id=new_id,
        tenant=tenant,
        queue=row["queue"],
        operation=row["operation"],
        path=row["path"],
        model=row["model"],
        payload=row["payload"],
        created_at=row["now"],
        priority=Priority(row["priority"]),
        weight=row["weight"] or 1.0,
        max_attempts=row["max_attempts"],
        tokens=row["tokens"],
        metadata=msgspec.json.decode(row["metadata"]) if row["metadata"] else {},
        webhook_url=row["webhook_url"],
        webhook_events=rows.words(row["webhook_events"]),
        webhook_result=row["webhook_result"],
        max_pending=max_pending,
        attachments=await _inputs(tx, row["seq"]),
    )


async def _inputs(tx: Transaction, seq: int) -> tuple[Attachment, ...]:
    found = await tx.all(
        """select role, name, blob, content_type, size, digest from attachment
            where seq = $1 and role = 'input' order by position""",
        seq,
    )
    return tuple(Attachment(*row) for row in found)

"""What the front desk does with requests, in SQLite."""

from collections.abc import Sequence

import msgspec

from raincheck.core.errors import (
    AlreadyEnded,
    IdempotencyConflict,
    NotEnded,
    NotRequeueable,
    QuotaExceeded,
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
from raincheck.store.arriving import as_submitted, later, named_key, over_quota, seen_key
from raincheck.store.sqlite import ends, holders, places
from raincheck.store.sqlite.arrivals import flow_of, next_tags
from raincheck.store.sqlite.database import Database, Source, Transaction


class SqliteRequests:
    """See `protocol.Requests`."""

    def __init__(self, database: Database, *, retention: int) -> None:
        self._database = database
        self._retention = retention

    async def submit(self, batch: Sequence[NewRequest]) -> list[Submitted | RaincheckError]:
        def write(tx: Transaction) -> list[Submitted | RaincheckError]:
            return [self._submit_one(tx, new) for new in batch]

        return await self._database.write(write)

    def _submit_one(self, tx: Transaction, new: NewRequest) -> Submitted | RaincheckError:
        if new.fingerprint is not None and (before := _seen_before(tx, new)) is not None:
            return before
        if (refused := _over_quota(tx, new) or holders.gone(tx, new.attachments)) is not None:
            return refused
        seq = self._insert(tx, new)
        if new.fingerprint is not None:
            _remember(tx, new, seq)
        return Submitted(as_submitted(new, due_at=later(new, tx.now)))

    def _insert(self, tx: Transaction, new: NewRequest) -> int:
        [tag] = next_tags(tx, flow_of(new))
        due_at = later(new, tx.now)
        seq = tx.insert(
            """insert into request (id, tenant, queue, operation, path, model, priority, tag, due_at, deadline,
                                    max_attempts, tokens, webhook_url, webhook_events, webhook_result, created_at)
               values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            new.id,
            new.tenant,
            new.queue,
            new.operation,
            new.path,
            new.model,
            int(new.priority),
            tag,
            due_at,
            new.deadline,
            new.max_attempts,
            new.tokens,
            new.webhook_url,
            rows.words_text(new.webhook_events),
            new.webhook_result,
            new.created_at,
        )
        tx.run("insert into payload (seq, body) values (?, ?)", (seq, new.payload))
        if new.metadata:
            tx.run("insert into metadata (seq, body) values (?, ?)", (seq, rows.metadata_text(new.metadata)))
        holders.attach(tx, seq, new.attachments)
        tx.ready.add(new.queue)
        tx.moved.append((new.id, Status.PENDING))
        return seq

    async def get(self, tenant: str, request_id: str) -> Request:
        return _get(self._database, tenant, request_id)

    async def repeated(self, tenant: str, idempotency_key: str) -> Request | None:
        row = self._database.one(
            "select r.* from seen s join record r on r.seq = s.request_seq where s.tenant = ? and s.key = ?",
            tenant,
            named_key(idempotency_key),
        )
        return None if row is None else rows.request(row)

    async def place(self, tenant: str, request_id: str) -> Place | None:
        return places.find(self._database, tenant, request_id)

    async def attempts(self, tenant: str, request_id: str) -> list[Attempt]:
        found = self._database.all(
            """select a.number, a.upstream, a.started_at, a.ended_at, a.outcome, a.error
                 from request r join attempt a on a.seq = r.seq
                where r.id = ? and r.tenant = ? order by a.fence""",
            request_id,
            tenant,
        )
        if not found:
            _get(self._database, tenant, request_id)  # No attempts, or no such request?
        return [
            Attempt(number, upstream, started_at, ended_at, outcome, rows.error(error))
            for number, upstream, started_at, ended_at, outcome, error in found
        ]

    async def result(self, tenant: str, request_id: str) -> Result | None:
        row = self._database.one(
            """select r.purged, t.status, t.content_type, t.body, t.blob, t.size,
                      (select json_group_array(json_array(position, name, blob, content_type, size, digest))
                         from attachment a where a.seq = r.seq and a.role = 'output')
                 from request r left join result t on t.seq = r.seq
                where r.id = ? and r.tenant = ?""",
            request_id,
            tenant,
        )
        if row is None:
            raise rows.unknown(request_id)
        if row[0]:
            raise ResultGone
        return rows.result(row[1:])

    async def results(self, tenant: str, request_ids: Sequence[str]) -> dict[str, Result]:
        found = await self._database.read_apart(
            """select r.id, t.status, t.content_type, t.body, t.blob, t.size,
                      (select json_group_array(json_array(position, name, blob, content_type, size, digest))
                         from attachment a where a.seq = r.seq and a.role = 'output')
                 from json_each(?) wanted join request r on r.id = wanted.value join result t on t.seq = r.seq
                where r.tenant = ?""",
            (msgspec.json.encode(request_ids).decode(), tenant),
        )
        return {row[0]: result for row in found if (result := rows.result(row[1:])) is not None}

    async def payloads(self, tenant: str, request_ids: Sequence[str]) -> dict[str, bytes]:
        found = await self._database.read_apart(
            """select r.id, p.body
                 from json_each(?) wanted join request r on r.id = wanted.value join payload p on p.seq = r.seq
                where r.tenant = ?""",
            (msgspec.json.encode(request_ids).decode(), tenant),
        )
        return dict(found)

    async def attachments(self, tenant: str, request_id: str) -> list[Attachment]:
        found = self._database.all(
            """select a.role, a.name, a.blob, a.content_type, a.size, a.digest
                 from request r join attachment a on a.seq = r.seq
                where r.id = ? and r.tenant = ? order by a.role, a.position""",
            request_id,
            tenant,
        )
        if not found:
            _get(self._database, tenant, request_id)  # No attachments, or no such request?
        return [Attachment(*row) for row in found]

    async def search(self, tenant: str, query: Query) -> Page:
        beyond = 0 if query.oldest_first else rows.MAX_SEQ
        if query.after is not None:
            row = self._database.one("select seq from request where id = ? and tenant = ?", query.after, tenant)
            if row is None:
                raise rows.unknown(query.after)
            beyond = row[0]
        values = {
            "tenant": tenant,
            "status": query.status,
            "model": query.model,
            "queue": query.queue,
            "operation": query.operation,
            "metadata": rows.metadata_text(query.metadata) or "{}",
            "created_after": query.created_after,
            "created_before": query.created_before,
            "beyond": beyond,
            "limit": query.limit + 1,
        }
        # What is said of status and videos is left out where nothing is asked: each has an index for it, which makes it
        # cheap at any size.
        narrowed = "" if query.status is None else "status = :status and"
        if is_video(f"{query.operation}."):
            narrowed += " substr(operation || '.', 1, 6) = 'video.' and"
        side, order = (">", "asc") if query.oldest_first else ("<", "desc")
        found = await self._database.read_apart(
            f"""select * from record
                where tenant = :tenant and {narrowed} seq {side} :beyond
                  and (:model is null or model = :model) and (:queue is null or queue = :queue)
                  and (:operation is null or operation = :operation
                       or substr(operation || '.', 1, instr(operation || '.', '.') - 1) = :operation)
                  and (:created_after is null or created_at >= :created_after)
                  and (:created_before is null or created_at < :created_before)
                  and not exists (select 1 from json_each(:metadata) wanted
                                   where not exists (select 1 from json_each(coalesce(metadata, '{{}}')) had
                                                      where had.key = wanted.key and had.value = wanted.value))
                order by seq {order} limit :limit""",  # noqa: S608 - words of ours
            values,
        )
        return Page([rows.request(row) for row in found[: query.limit]], len(found) > query.limit)

    async def cancel(self, tenant: str, request_id: str) -> Request:
        def write(tx: Transaction) -> None:
            row = tx.one(
                """select seq, id, tenant, operation, webhook_url, queue, priority, status, fence, attempt, claimed_at,
                          upstream, tokens, batch_seq, line, webhook_events, webhook_result
                     from request where id = ? and tenant = ?""",
                request_id,
                tenant,
            )
            if row is None:
                raise rows.unknown(request_id)
            request = rows.Open(*row)
            match Status(request.status):
                case Status.CANCELLED:
                    return
                case Status.PENDING:
                    pass
                case Status.PROCESSING:
                    # From here on the claim's fence matches nothing: it is checked together with the status.
                    ends.tried(tx, request, "cancelled")
                case _:
                    raise AlreadyEnded(f"The request has already ended as {request.status}; an end is final.")
            ends.end(tx, request, Status.CANCELLED, keep_for=self._retention)

        await self._database.write(write)
        return _get(self._database, tenant, request_id)

    async def requeue(self, tenant: str, request_id: str, *, new_id: str, max_pending: int | None = None) -> Request:
        def write(tx: Transaction) -> None:
            row = tx.one(
                """select r.queue, r.operation, r.path, r.model, r.status, r.priority, r.max_attempts, r.tokens,
                          r.webhook_url, r.webhook_events, r.webhook_result, f.weight, m.body, p.body, r.seq
                     from request r
                     left join payload p on p.seq = r.seq
                     left join metadata m on m.seq = r.seq
                     left join flow f on (f.queue, f.priority, f.tenant) = (r.queue, r.priority, r.tenant)
                    where r.id = ? and r.tenant = ?""",
                request_id,
                tenant,
            )
            if row is None:
                raise rows.unknown(request_id)
            queue, operation, path, model, status, priority, max_attempts, tokens, *rest = row
            webhook_url, webhook_events, webhook_result, weight, metadata, body, seq = rest
            if status not in {Status.FAILED, Status.CANCELLED, Status.EXPIRED}:
                raise NotRequeueable(f"The request is {status}; only a failed, cancelled or expired one is requeued.")
            if body is None:
                raise ResultGone("The request's payload was purged when its retention ended; submit it again.")
            new = NewRequest(
                id=new_id,
                tenant=tenant,
                queue=queue,
                operation=operation,
                path=path,
                model=model,
                payload=body,
                created_at=tx.now,
                priority=Priority(priority),
                weight=weight or 1.0,
                max_attempts=max_attempts,
                tokens=tokens,
                metadata=msgspec.json.decode(metadata) if metadata else {},
                webhook_url=webhook_url,
                webhook_events=rows.words(webhook_events),
                webhook_result=bool(webhook_result),
                max_pending=max_pending,
                attachments=holders.inputs(tx, seq),
            )
            if (refused := _over_quota(tx, new) or holders.gone(tx, new.attachments)) is not None:
                raise refused
            self._insert(tx, new)

        await self._database.write(write)
        return _get(self._database, tenant, new_id)

    async def delete(self, tenant: str, request_id: str) -> None:
        def write(tx: Transaction) -> None:
            row = tx.one(
                """select r.seq, r.ended_at is not null, b.due_at is null
                     from request r left join batch b on b.seq = r.batch_seq
                    where r.id = ? and r.tenant = ?""",
                request_id,
                tenant,
            )
            if row is None:
                raise rows.unknown(request_id)
            seq, ended, batch_ended = row
            if not ended:
                raise NotEnded
            if not batch_ended:
                raise NotEnded("The request is a row of a batch that has not ended; delete it after that.")
            forget(tx, seq)

        await self._database.write(write)


def forget_bodies(tx: Transaction, seq: int) -> None:
    """Let go of everything about a request but its row."""
    tx.run("delete from payload where seq = ?", (seq,))
    tx.run("delete from metadata where seq = ?", (seq,))
    kept = tx.all("delete from result where seq = ? returning blob", seq)
    kept += tx.all("delete from attachment where seq = ? returning blob", seq)
    holders.release(tx, [blob for (blob,) in kept if blob is not None])
    tx.run("delete from attempt where seq = ?", (seq,))


def forget(tx: Transaction, seq: int) -> None:
    """Let go of a request altogether, its event and idempotency key included."""
    forget_bodies(tx, seq)
    tx.run("delete from event where request_seq = ?", (seq,))
    tx.run("delete from seen where request_seq = ?", (seq,))
    for batch_seq, line in tx.all("delete from request where seq = ? returning batch_seq, line", seq):
        if batch_seq is not None:
            # The number will be another's; the row of the batch says on that there was this line.
            tx.run("update batch_row set request_seq = null where batch_seq = ? and line = ?", (batch_seq, line))


def _get(source: Source, tenant: str, request_id: str) -> Request:
    row = source.one("select * from record where id = ? and tenant = ?", request_id, tenant)
    if row is None:
        raise rows.unknown(request_id)
    return rows.request(row)


def _over_quota(tx: Transaction, new: NewRequest) -> QuotaExceeded | None:
    if new.max_pending is None:
        return None
    [(pending,)] = tx.all("select coalesce(sum(pending), 0) from flow where tenant = ?", new.tenant)
    return over_quota(new, pending)


def _seen_before(tx: Transaction, new: NewRequest) -> Submitted | IdempotencyConflict | None:
    key = seen_key(new)
    row = tx.one(
        """select s.fingerprint, r.id from seen s join request r on r.seq = s.request_seq
            where s.tenant = ? and s.key = ? and (s.expires_at is null or s.expires_at > ?)""",
        new.tenant,
        key,
        tx.now,
    )
    if row is None:
        return None
    if row[0] != new.fingerprint:
        return IdempotencyConflict()
    if new.idempotency_key is None and not new.is_retry:
        return None
    return Submitted(_get(tx, new.tenant, row[1]), repeated=True)


def _remember(tx: Transaction, new: NewRequest, seq: int) -> None:
    if new.idempotency_key is None and new.repeat_until is None:
        return
    expires_at = None if new.idempotency_key is not None else new.repeat_until
    tx.run(
        """insert or replace into seen (tenant, key, fingerprint, request_seq, expires_at)
           values (?, ?, ?, ?, ?)""",
        (new.tenant, seen_key(new), new.fingerprint, seq, expires_at),
    )

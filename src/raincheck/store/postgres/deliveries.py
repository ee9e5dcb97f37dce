"""The outbox and its log, in PostgreSQL: what the front desk does with deliveries."""

from collections.abc import Sequence

from raincheck.core.webhooks import Delivery, DeliveryAttempt, DeliveryPage, DeliveryQuery, DeliveryStatus, Redelivery
from raincheck.store import rows
from raincheck.store.postgres import receivers
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.delivery_leases import PostgresDeliveryLeases
from raincheck.store.postgres.receivers import go_on
from raincheck.store.postgres.texts import clean, cleaned, holds
from raincheck.store.rows import DELIVERY
from raincheck.store.telling import receiver_of

_FOUND = f"select {DELIVERY}, d.seq, d.receiver from delivery d left join endpoint e on e.id = d.endpoint_id"  # noqa: S608
_THERE = "(d.endpoint_id is null or e.id is not null)"
"""Of an endpoint that was deleted nothing is shown."""


class PostgresDeliveries(PostgresDeliveryLeases):
    """See `outbox.Deliveries`."""

    async def get(self, tenant: str, delivery_id: str) -> Delivery:
        return (await self._find(tenant, delivery_id))[2]

    async def attempts(self, tenant: str, delivery_id: str) -> Sequence[DeliveryAttempt]:
        seq, *_ = await self._find(tenant, delivery_id)
        found = await self._database.all(
            """select number, started_at, ended_at, status_code, error_code, error, response
                 from delivery_attempt where delivery_seq = $1 order by fence""",
            seq,
        )
        return [rows.delivery_attempt(row) for row in found]

    async def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        seq, receiver, _ = await self._find(tenant, delivery_id)

        async def write(tx: Transaction) -> None:
            # One that is parked becomes due under the lock, like all that is moved before it has ended.
            await receivers.lock(tx, [receiver])
            again = await tx.all(
                """update delivery set status = 'pending', attempt = 0, due_at = moment($2), ended_at = null
                    where seq = $1 and worker is null returning 1""",
                seq,
                tx.at,
            )
            if again:  # Whoever says so knows better than a breaker: its receiver is tried, too.
                await receivers.let_off(tx, [receiver])
            tx.deliveries = True

        await self._database.write(write)
        return await self.get(tenant, delivery_id)

    async def redeliver_all(
        self, tenant: str, wanted: Redelivery, *, after: str | None, limit: int
    ) -> tuple[int, str | None]:
        if not holds(tenant, wanted.endpoint_id):
            return 0, None
        # One or the other: each has an index for it. Rows are compared, because an equal owner would leave the planner
        # free to walk through everyone's.
        column, owner = ("tenant", tenant) if wanted.endpoint_id is None else ("receiver", wanted.endpoint_id)

        async def write(tx: Transaction) -> tuple[int, str | None]:
            looked_at = await tx.all(
                f"""with looked as materialized (
                        select d.* from delivery d
                         where (d.{column}, d.seq) > ($1, $2::bigint) and (d.{column}, d.seq) <= ($1, $3::bigint)
                         order by d.{column}, d.seq limit $4)
                    select l.seq, l.receiver,
                           l.tenant = $5 and not l.test and l.created_at >= $7
                           and (l.status in ('failed', $6)
                                or l.status = 'pending' and l.attempt > 0 and l.worker is null)
                           and ($8::bigint is null or l.created_at < $8)
                           and (l.endpoint_id is null or exists (select 1 from endpoint e where e.id = l.endpoint_id))
                      from looked l order by l.seq""",  # noqa: S608 - words of ours
                *(owner, 0 if after is None else int(after), rows.MAX_SEQ, limit, tenant),
                *("delivered" if wanted.delivered_too else "failed", wanted.since, wanted.until),
            )
            count = await _line_up(tx, [(seq, receiver) for seq, receiver, matches in looked_at if matches])
            return count, str(looked_at[-1][0]) if len(looked_at) == limit else None

        return await self._database.write(write)

    async def note(self, delivery: Delivery, attempt: DeliveryAttempt) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """with noted as (
                       insert into delivery (id, tenant, receiver, endpoint_id, url, event_id, type, object_id,
                                             created_at, detail, include_result, test, status, attempt, ended_at,
                                             status_code, error)
                       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $24, $12, $13, $14, $15, $16)
                       returning seq
                   )
                   insert into delivery_attempt (delivery_seq, fence, number, started_at, ended_at, status_code,
                                                 error_code, error, response)
                   select seq, 0, $17, $18, $19, $20, $21, $22, $23 from noted""",
                delivery.id,
                delivery.tenant,
                delivery.endpoint_id or receiver_of(delivery.tenant, delivery.url),
                delivery.endpoint_id,
                None if delivery.endpoint_id else delivery.url,
                delivery.event_id,
                delivery.type,
                delivery.object_id,
                delivery.created_at,
                None if delivery.detail is None else clean(delivery.detail.decode(errors="replace")),
                delivery.include_result,
                delivery.status,
                delivery.attempt,
                delivery.ended_at,
                delivery.status_code,
                cleaned(delivery.error),
                attempt.number,
                attempt.started_at,
                attempt.ended_at,
                attempt.status_code,
                cleaned(attempt.error_code),
                cleaned(attempt.error),
                cleaned(attempt.response),
                delivery.test,
            )

        await self._database.write(write)

    async def _find(self, tenant: str, delivery_id: str) -> tuple[int, str, Delivery]:
        """The number of a delivery, its receiver and its record. Raises NotFound, also when its endpoint was
        deleted."""
        row = None
        if holds(tenant, delivery_id):
            row = await self._database.one(
                f"{_FOUND} where d.id = $1 and (d.tenant = $2) is true and {_THERE}",
                delivery_id,
                tenant,
            )
        if row is None:
            raise rows.unknown_delivery(delivery_id)
        *columns, seq, receiver = row
        return seq, receiver, rows.delivery(columns)

    # --- (last, since its name hides the type)

    async def list(self, tenant: str, query: DeliveryQuery) -> DeliveryPage:
        below = rows.MAX_SEQ if query.after is None else (await self._find(tenant, query.after))[0]
        if not holds(tenant, query.endpoint_id, query.object_id):
            return DeliveryPage([], has_more=False)
        # What it is about has few; what a receiver or a tenant has is compared as rows, because equal ones would leave
        # the planner free to walk through everyone's by their number.
        narrow, owner = _narrowest(tenant, query)
        found = await self._database.read_apart(
            f"""with found as materialized ({narrow})
                {_FOUND.replace("delivery d", "found d")} where {_THERE} order by d.seq desc limit $5""",
            owner,
            below,
            tenant,
            query.endpoint_id,
            query.limit + 1,
            query.status,
            query.since,
        )
        return DeliveryPage(
            [rows.delivery(row[:-2]) for row in map(tuple, found[: query.limit])], len(found) > query.limit
        )


async def _line_up(tx: Transaction, wanted: Sequence[tuple[int, str]]) -> int:
    """Have deliveries, each with its receiver, sent again; returns how many. However many they are, they stand in line:
    no receiver has more due at once than it has room for."""
    if not wanted:
        return 0
    names = {receiver for _, receiver in wanted}
    await receivers.make(tx, names)
    await receivers.lock(tx, names)
    await receivers.let_off(tx, names)
    locked = await receivers.lock(tx, names)
    # What somebody else has locked is being sent again, or forgotten.
    again = await tx.all(
        """with wanted as materialized (
               select seq from delivery
                where seq = any($1::bigint[]) and receiver = any($2::text[]) and worker is null
                  for update skip locked)
           update delivery d set status = 'pending', attempt = 0, due_at = null, ended_at = null
             from wanted w where d.seq = w.seq
        returning d.receiver""",
        [seq for seq, _ in wanted],
        list(locked),
    )
    now, stands = await receivers.stands(tx, {receiver for (receiver,) in again})
    await receivers.wake(
        tx,
        [
            go_on(name, locked[name], now, sending=sending, waits_for=waits_for)
            for name, (sending, waits_for) in stands.items()
        ],
    )
    return len(again)


def _narrowest(tenant: str, query: DeliveryQuery) -> tuple[str, str]:
    """The rows to look at, and whose they are: a statement that one index makes cheap at any size."""
    rest = """(d.tenant = $3) is true and ($4::text is null or (d.endpoint_id = $4) is true)
              and ($6::text is null or (d.status = $6) is true) and ($7::bigint is null or (d.created_at >= $7) is true)
              and (d.endpoint_id is null or exists (select 1 from endpoint e where e.id = d.endpoint_id))"""
    if query.object_id is not None:
        return f"select d.* from delivery d where d.object_id = $1 and d.seq < $2::bigint and {rest}", query.object_id  # noqa: S608
    column, owner = ("tenant", tenant) if query.endpoint_id is None else ("receiver", query.endpoint_id)
    failed = "d.status = 'failed' and " if query.endpoint_id is None and query.status is DeliveryStatus.FAILED else ""
    return (
        f"""select d.* from delivery d
             where {failed}(d.{column}, d.seq) < ($1, $2::bigint) and (d.{column}, d.seq) >= ($1, 0) and {rest}
             order by d.{column} desc, d.seq desc limit $5""",  # noqa: S608 - words of ours
        owner,
    )

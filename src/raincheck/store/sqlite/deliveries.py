"""The outbox and its log, in SQLite: what the front desk does with deliveries."""

from collections.abc import Sequence

from raincheck.core.model import Fence
from raincheck.core.webhooks import (
    Delivery,
    DeliveryAttempt,
    DeliveryPage,
    DeliveryQuery,
    DeliveryStatus,
    Redelivery,
    Sent,
)
from raincheck.store import rows
from raincheck.store.sqlite.database import Source, Transaction
from raincheck.store.sqlite.delivery_leases import SqliteDeliveryLeases, write_attempt
from raincheck.store.sqlite.receivers import find_receiver, let_off, let_others_go
from raincheck.store.telling import receiver_of


class SqliteDeliveries(SqliteDeliveryLeases):
    """See `outbox.Deliveries`."""

    async def get(self, tenant: str, delivery_id: str) -> Delivery:
        return _get(self._database, tenant, delivery_id)

    async def attempts(self, tenant: str, delivery_id: str) -> Sequence[DeliveryAttempt]:
        seq = _find_seq(self._database, tenant, delivery_id)
        found = self._database.all(
            """select number, started_at, ended_at, status_code, error_code, error, response
                 from delivery_attempt where delivery_seq = ? order by fence""",
            seq,
        )
        return [rows.delivery_attempt(row) for row in found]

    async def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        def write(tx: Transaction) -> Delivery:
            _send_now(tx, _find_seq(tx, tenant, delivery_id))
            return _get(tx, tenant, delivery_id)

        return await self._database.write(write)

    async def redeliver_all(
        self, tenant: str, wanted: Redelivery, *, after: str | None, limit: int
    ) -> tuple[int, str | None]:
        # One or the other: each has an index for it.
        column, owner = ("tenant", tenant) if wanted.endpoint_id is None else ("receiver", wanted.endpoint_id)

        def write(tx: Transaction) -> tuple[int, str | None]:
            looked_at = tx.all(
                f"""select d.seq, d.receiver, d.tenant = ?1 and not d.test
                            and (d.status in ('failed', {"'delivered'" if wanted.delivered_too else "'failed'"})
                                 or d.status = 'pending' and d.attempt > 0 and d.worker is null)
                            and d.created_at >= ?2 and (?3 is null or d.created_at < ?3)
                            and (d.endpoint_id is null or exists (select 1 from endpoint e where e.id = d.endpoint_id))
                      from delivery d where d.{column} = ?4 and d.seq > ?5 order by d.seq limit ?6""",  # noqa: S608
                *(tenant, wanted.since, wanted.until, owner),
                *(0 if after is None else int(after), limit),
            )
            again = [(seq, receiver) for seq, receiver, matches in looked_at if matches]
            # However many they are, they stand in line: no receiver has more due at once than it has room for.
            tx.run_many(
                "update delivery set status = 'pending', attempt = 0, due_at = null, ended_at = null where seq = ?",
                [(seq,) for seq, _ in again],
            )
            for receiver in dict.fromkeys(receiver for _, receiver in again):
                let_off(tx, receiver)
                let_others_go(tx, receiver, find_receiver(tx, receiver))
            return len(again), str(looked_at[-1][0]) if len(looked_at) == limit else None

        return await self._database.write(write)

    async def note(self, delivery: Delivery, attempt: DeliveryAttempt) -> None:
        def write(tx: Transaction) -> None:
            seq = tx.insert(
                """insert into delivery (id, tenant, receiver, endpoint_id, url, event_id, type, object_id, created_at,
                                         detail, include_result, test, status, attempt, ended_at, status_code, error)
                   values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                *(delivery.id, delivery.tenant, delivery.endpoint_id or receiver_of(delivery.tenant, delivery.url)),
                *(delivery.endpoint_id, None if delivery.endpoint_id else delivery.url, delivery.event_id),
                *(delivery.type, delivery.object_id, delivery.created_at, _text(delivery.detail)),
                *(delivery.include_result, delivery.test, delivery.status, delivery.attempt, delivery.ended_at),
                *(delivery.status_code, delivery.error),
            )
            fence = Fence(delivery.id, 0)
            write_attempt(tx, seq, Sent(fence=fence, status=delivery.status, attempt=attempt))

        await self._database.write(write)

    # --- (last, since its name hides the type)

    async def list(self, tenant: str, query: DeliveryQuery) -> DeliveryPage:
        below = rows.MAX_SEQ if query.after is None else _find_seq(self._database, tenant, query.after)
        # What nothing is asked of is left out, and the narrowest index named by what is there.
        narrowed = "d.tenant = :tenant"
        if query.object_id is not None:
            narrowed = "d.object_id = :object and +d.tenant = :tenant"
        elif query.endpoint_id is not None:
            narrowed = "d.receiver = :endpoint and +d.tenant = :tenant"
        elif query.status is DeliveryStatus.FAILED:
            narrowed = "d.tenant = :tenant and d.status = 'failed'"
        found = await self._database.read_apart(
            f"""select {rows.DELIVERY} from delivery d left join endpoint e on e.id = d.endpoint_id
                 where {narrowed} and d.seq < :below and (d.endpoint_id is null or e.id is not null)
                   and (:endpoint is null or d.endpoint_id = :endpoint) and (:status is null or +d.status = :status)
                   and (:since is null or +d.created_at >= :since)
                 order by d.seq desc limit :limit""",  # noqa: S608 - words of ours
            {
                "tenant": tenant,
                "object": query.object_id,
                "endpoint": query.endpoint_id,
                "status": query.status,
                "since": query.since,
                "below": below,
                "limit": query.limit + 1,
            },
        )
        return DeliveryPage([rows.delivery(row) for row in found[: query.limit]], len(found) > query.limit)


def _get(source: Source, tenant: str, delivery_id: str) -> Delivery:
    row = source.one(
        f"""select {rows.DELIVERY} from delivery d left join endpoint e on e.id = d.endpoint_id
             where d.id = ? and d.tenant = ? and (d.endpoint_id is null or e.id is not null)""",  # noqa: S608
        delivery_id,
        tenant,
    )
    if row is None:
        raise rows.unknown_delivery(delivery_id)
    return rows.delivery(row)


def _find_seq(source: Source, tenant: str, delivery_id: str) -> int:
    """Its number. Raises NotFound, also when it is one of a deleted endpoint."""
    row = source.one(
        """select d.seq from delivery d
            where d.id = ? and d.tenant = ?
              and (d.endpoint_id is null or exists (select 1 from endpoint e where e.id = d.endpoint_id))""",
        delivery_id,
        tenant,
    )
    if row is None:
        raise rows.unknown_delivery(delivery_id)
    return row[0]


def _send_now(tx: Transaction, seq: int) -> None:
    """Whoever says so knows better than a breaker: its receiver is tried, too."""
    again = tx.all(
        """update delivery set status = 'pending', attempt = 0, due_at = ?, ended_at = null
            where seq = ? and worker is null returning receiver""",
        *(tx.now, seq),
    )
    for (receiver,) in again:
        let_off(tx, receiver)
    tx.deliveries = True


def _text(detail: bytes | None) -> str | None:
    return None if detail is None else detail.decode()

"""What the postman does with deliveries, in SQLite. Every write carries the fence of its claim."""

from collections.abc import Sequence
from random import randint
from typing import Any, NamedTuple

from msgspec.structs import replace

from raincheck.core.model import Fence
from raincheck.core.webhooks import (
    STRANGERS_WAIT,
    ClaimedDeliveries,
    DeliveryLease,
    DeliveryStatus,
    Endpoint,
    FinishedDeliveries,
    Sent,
    Strangers,
)
from raincheck.store import rows
from raincheck.store.sqlite.database import Database, Transaction
from raincheck.store.sqlite.endpoints import find_endpoint
from raincheck.store.sqlite.receivers import (
    being_sent,
    find_receiver,
    forget_delivery,
    let_others_go,
    one_waits,
    write_receiver,
)
from raincheck.store.sqlite.telling import tell_of_disabling
from raincheck.store.telling import FAILING, GONE

ASIDE_AT_ONCE = 500
"""How many deliveries one claim parks or puts off, so that a long backlog keeps nobody from writing."""


class Terms(NamedTuple):
    """What holds for all leases of a claim; times in microseconds."""

    worker: str
    lease_for: int
    places: int
    strangers: Strangers


class SqliteDeliveryLeases:
    """See the engine's half of `outbox.Deliveries`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, *, worker: str, lease_for: int, limit: int, places: int, strangers: Strangers
    ) -> ClaimedDeliveries:
        def write(tx: Transaction) -> ClaimedDeliveries:
            return _Claim(tx, Terms(worker, lease_for, places, strangers)).take(limit)

        due = await self.next_due()
        if due is None or due > self._database.now() or limit <= 0:
            return ClaimedDeliveries([])
        return await self._database.write(write, durable=False)

    async def finish(self, sent: Sequence[Sent], *, places: int, disable_after: int) -> FinishedDeliveries:
        def write(tx: Transaction) -> FinishedDeliveries:
            lost, heard = list[Fence](), dict[_At, list[Sent]]()
            for each in sent:
                at = _note(tx, each)
                if at is None:
                    lost.append(each.fence)
                else:
                    heard.setdefault(at, []).append(each)
            settled = [_settle(tx, *item, places=places, disable_after=disable_after) for item in heard.items()]
            return FinishedDeliveries(lost, [endpoint for endpoint in settled if endpoint is not None])

        return await self._database.write(write, durable=False)

    async def next_due(self) -> int | None:
        row = self._database.one("select due_at from delivery where due_at is not null order by due_at limit 1")
        return row[0] if row else None


class _Found(NamedTuple):
    """What a claim reads of a due delivery besides `rows.DELIVERY`; selected in this order."""

    seq: int
    tenant: str
    receiver: str
    fence: int
    orphan: bool
    """Its endpoint was deleted."""
    disabled: bool
    signature: Any
    secret: str | None
    key_created_at: int | None
    previous: str | None


class _Stand(NamedTuple):
    """How many more a receiver may be given in this claim, and when what it may not be given is due; None: parked."""

    room: int
    until: int | None = None
    is_stranger: bool = False


class _Claim:
    """A claim on its way through what is due."""

    def __init__(self, tx: Transaction, terms: Terms) -> None:
        self._tx = tx
        self._terms = terms
        self._stands: dict[str, _Stand] = {}
        self._strangers = terms.strangers.copy()

    def take(self, limit: int) -> ClaimedDeliveries:
        leases, aside = list[DeliveryLease](), 0
        while len(leases) < limit and aside < ASIDE_AT_ONCE and (due := self._due(limit - len(leases))):
            for row in due:
                found = _Found(*row[rows.DELIVERY_WIDTH :])
                if self._may_go(found):
                    leases.append(self._lease(row, found))
                else:
                    aside += 1
        more = self._tx.one("select 1 from delivery where due_at <= ? limit 1", self._tx.now) is not None
        return ClaimedDeliveries(leases, more)

    def _due(self, limit: int) -> list[tuple[Any, ...]]:
        return self._tx.all(
            f"""select {rows.DELIVERY}, d.seq, d.tenant, d.receiver, d.fence,
                       d.endpoint_id is not null and e.id is null, e.disabled_at is not null,
                       coalesce(e.signature, 'v1'), k.secret, k.created_at, k.previous
                  from delivery d left join endpoint e on e.id = d.endpoint_id
                  left join signing_key k on k.owner = coalesce(d.endpoint_id, 'tenant:' || d.tenant)
                 where d.due_at <= ? order by d.due_at limit ?""",  # noqa: S608 - words of ours
            self._tx.now,
            limit,
        )

    def _may_go(self, found: _Found) -> bool:
        """Whether its receiver has room for it; if not, it is set aside."""
        if found.orphan:
            forget_delivery(self._tx, found.seq)
            return False
        if found.disabled:
            self._set_aside(found, None)
            return False
        if found.receiver not in self._stands:
            self._stands[found.receiver] = self._stand(found.receiver)
        stand = self._stands[found.receiver]
        if stand.room > 0 and (not stand.is_stranger or self._strangers.take(found.tenant)):
            self._stands[found.receiver] = stand._replace(room=stand.room - 1)
            return True
        if stand.room > 0 and not one_waits(self._tx, found.receiver, self._tx.now + STRANGERS_WAIT[1]):
            later = self._tx.now + randint(*STRANGERS_WAIT)  # noqa: S311 - it scatters, it guards nothing
            stand = stand._replace(until=later)  # One stranger too many.
        self._set_aside(found, stand.until)
        self._stands[found.receiver] = stand._replace(room=0, until=None)
        return False

    def _stand(self, name: str) -> _Stand:
        """While a breaker is open one delivery waits for its end, and the others wait for that one."""
        receiver = find_receiver(self._tx, name)
        if receiver.is_open(self._tx.now) and receiver.open_until is not None:
            taken = one_waits(self._tx, name, receiver.open_until)
            return _Stand(0, None if taken else receiver.open_until, is_stranger=True)
        room = min(self._terms.places, receiver.room) - being_sent(self._tx, name)
        return _Stand(room, is_stranger=not receiver.is_proven(self._terms.places))

    def _set_aside(self, found: _Found, due_at: int | None) -> None:
        self._tx.run(
            "update delivery set worker = null, due_at = ? where seq = ? and fence = ?",
            (due_at, found.seq, found.fence),
        )

    def _lease(self, row: Sequence[Any], found: _Found) -> DeliveryLease:
        delivery, lapses_at = rows.delivery(row), self._tx.now + self._terms.lease_for
        self._tx.run(
            """update delivery set worker = ?, fence = fence + 1, attempt = attempt + 1, due_at = ?
                where seq = ? and fence = ?""",
            (self._terms.worker, lapses_at, found.seq, found.fence),
        )
        return DeliveryLease(
            fence=Fence(delivery.id, found.fence + 1),
            delivery=replace(delivery, attempt=delivery.attempt + 1, due_at=lapses_at, sending=True),
            signature=found.signature,
            stranger=self._stands[found.receiver].is_stranger,
            key=rows.signing_key(found[-3:]),
        )


class _At(NamedTuple):
    """Where an attempt went."""

    receiver: str
    tenant: str
    endpoint_id: str | None
    disabled: bool


def _note(tx: Transaction, sent: Sent) -> _At | None:
    """Write how an attempt went, with its line in the log; None when somebody else has the delivery by now."""
    row = tx.one(
        """select d.seq, d.endpoint_id is not null and e.id is null, d.receiver, d.tenant, d.endpoint_id,
                  e.disabled_at is not null
             from delivery d left join endpoint e on e.id = d.endpoint_id
            where d.id = ? and d.fence = ? and d.worker is not null""",
        sent.fence.request_id,
        sent.fence.number,
    )
    if row is None:
        return None
    seq, orphan, *at = row
    if orphan:
        forget_delivery(tx, seq)
        return None
    pending = sent.status is DeliveryStatus.PENDING
    due_at = tx.now if sent.due_at is None else sent.due_at
    tx.run(
        """update delivery set status = ?, due_at = ?, worker = null, ended_at = ?, status_code = ?, error = ?
            where seq = ? and fence = ?""",
        (
            *(sent.status, due_at if pending else None, None if pending else tx.now),
            *(sent.attempt.status_code, sent.attempt.error, seq, sent.fence.number),
        ),
    )
    write_attempt(tx, seq, sent)
    return _At(*at)


def write_attempt(tx: Transaction, seq: int, sent: Sent) -> None:
    """Write a line of the log."""
    attempt = sent.attempt
    tx.run(
        """insert into delivery_attempt (delivery_seq, fence, number, started_at, ended_at, status_code, error_code,
                                         error, response)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            *(seq, sent.fence.number, attempt.number, attempt.started_at, attempt.ended_at),
            *(attempt.status_code, attempt.error_code, attempt.error, attempt.response),
        ),
    )


def _settle(tx: Transaction, at: _At, sent: Sequence[Sent], *, places: int, disable_after: int) -> Endpoint | None:
    """Learn about a receiver what its attempts tell, and let others go on; returns its endpoint if that is disabled
    over it."""
    receiver = find_receiver(tx, at.receiver)
    for each in sent:
        receiver = receiver.after(each, now=tx.now, most=places)
    write_receiver(tx, at.receiver, receiver)
    if at.disabled:
        return None
    if at.endpoint_id is not None and any(each.gone for each in sent):
        return _disable(tx, at.tenant, at.endpoint_id, GONE)
    if at.endpoint_id is not None and receiver.is_dead(tx.now, disable_after=disable_after):
        return _disable(tx, at.tenant, at.endpoint_id, FAILING)
    let_others_go(tx, at.receiver, replace(receiver, places=min(places, receiver.places)))
    return None


def _disable(tx: Transaction, tenant: str, endpoint_id: str, reason: str) -> Endpoint:
    tx.run(
        "update endpoint set disabled_at = ?1, disabled_reason = ?2, updated_at = ?1 where id = ?3",
        (tx.now, reason, endpoint_id),
    )
    endpoint = find_endpoint(tx, tenant, endpoint_id)
    tell_of_disabling(tx, endpoint, reason)
    return endpoint

"""One claim of deliveries: what is due in, leases out.

It looks without locking, locks the receivers of what it saw, and looks again: what it sees then stays as it is until
the commit (see `receivers`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import randint
from typing import NamedTuple

from raincheck.core.model import Fence
from raincheck.core.webhooks import STRANGERS_WAIT, ClaimedDeliveries, DeliveryLease, Receiver, Strangers
from raincheck.store import rows
from raincheck.store.postgres import receivers
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.receivers import SENDING, WAITS_FOR
from raincheck.store.rows import DELIVERY

BITE = 200
"""How many of those that are due a claim looks at, so that one receiver's backlog holds up nobody for long."""


class Terms(NamedTuple):
    """What is asked for; times in microseconds."""

    worker: str
    lease_for: int
    limit: int
    places: int
    strangers: Strangers


class Due(NamedTuple):
    """A delivery that is due, whose receiver is locked."""

    seq: int
    fence: int
    tenant: str
    receiver: str
    sending: int
    """How many its receiver has just now."""
    waits_for: int | None
    """When the next one of its receiver is due that is not due yet."""
    is_orphan: bool
    """Whether the endpoint that it is for was deleted."""
    is_held: bool
    """Whether that is disabled."""


@dataclass(slots=True)
class Standing:
    """A receiver that is locked, while a claim gives it what it has room for."""

    receiver: Receiver
    sending: int
    waits_for: int | None
    """When the next of its deliveries is due that is not due yet."""

    def put_off(self, moment: int, *, latest: int) -> int | None:
        """When one that may not go now is due: at this moment, or, where another is by the latest, it goes on with that
        one."""
        if self.waits_for is not None and self.waits_for <= latest:
            return None
        self.waits_for = moment
        return moment


@dataclass(slots=True)
class Decided:
    """What becomes of the due ones."""

    leased: list[Due] = field(default_factory=list[Due])
    strangers: set[int] = field(default_factory=set[int])
    """The numbers of those leased whose receiver has not proven itself."""
    put_off: list[tuple[Due, int | None]] = field(default_factory=list[tuple[Due, int | None]])
    """Until when their receiver is left alone; None: parked."""
    orphans: list[int] = field(default_factory=list[int])
    left: int = 0
    """Those that stay due, as no more were asked for."""


async def claim(tx: Transaction, terms: Terms) -> ClaimedDeliveries:
    """Lease what is due and its receivers have room for; put off or park what else was looked at."""
    seen = await tx.all(
        """with head as materialized (
               select receiver from delivery where due_at <= moment($1) order by due_at limit $2)
           select h.name, r.name is null
             from (select distinct receiver as name from head) h left join receiver r on r.name = h.name""",
        tx.at,
        BITE,
    )
    if not seen:
        return ClaimedDeliveries([])
    if new := [name for name, is_new in seen if is_new]:
        await receivers.make(tx, new)
    locked = await receivers.lock(tx, [name for name, _ in seen])
    now, looked_at, due = await _look(tx, list(locked))
    decided = _decide(due, locked, terms, now)
    leases = await _lease(tx, decided, terms, now)
    await _put_off(tx, decided)
    return ClaimedDeliveries(leases, more=looked_at == BITE or looked_at > len(due) or decided.left > 0)


async def _look(tx: Transaction, names: Sequence[str]) -> tuple[int, int, list[Due]]:
    """The moment, how many are due, a bite at most, and those of these receivers, which are locked: first what has been
    due longest, and as nobody else will change it."""
    found = await tx.all(
        f"""with head as materialized (
               select seq, fence, tenant, receiver, endpoint_id, due_at from delivery
                where due_at <= moment($1) order by due_at limit $3
            ), stands as materialized (
               select n.name, {SENDING} as sending, {WAITS_FOR} as waits_for from unnest($2::text[]) as n (name)
            )
            select moment($1), n.name is not null, d.seq, d.fence, d.tenant, d.receiver, n.sending, n.waits_for,
                   d.endpoint_id is not null and e.id is null, e.disabled_at is not null
              from head d
              left join stands n on n.name = d.receiver
              left join endpoint e on e.id = d.endpoint_id
             order by d.due_at, d.seq""".format(receiver="n.name", at="$1"),  # noqa: S608 - words of ours
        tx.at,
        names,
        BITE,
    )
    due = [Due(*row[2:]) for row in map(tuple, found) if row[1]]
    return (found[0][0] if found else 0), len(found), due


def _decide(due: Sequence[Due], locked: dict[str, Receiver], terms: Terms, now: int) -> Decided:
    decided, standings, strangers = Decided(), dict[str, Standing](), terms.strangers.copy()
    for each in due:
        standing = standings.setdefault(each.receiver, Standing(locked[each.receiver], each.sending, each.waits_for))
        receiver = standing.receiver
        if each.is_orphan:
            decided.orphans.append(each.seq)
        elif each.is_held:
            decided.put_off.append((each, None))
        elif receiver.open_until is not None and receiver.is_open(now):
            decided.put_off.append((each, standing.put_off(receiver.open_until, latest=receiver.open_until)))
        elif standing.sending >= min(receiver.room, terms.places):
            decided.put_off.append((each, None))
        elif len(decided.leased) == terms.limit:
            decided.left += 1
        elif receiver.is_proven(terms.places):
            standing.sending += 1
            decided.leased.append(each)
        elif strangers.take(each.tenant):
            standing.sending += 1
            decided.leased.append(each)
            decided.strangers.add(each.seq)
        else:
            later = now + randint(*STRANGERS_WAIT)  # noqa: S311 - it scatters, it guards nothing
            decided.put_off.append((each, standing.put_off(later, latest=now + STRANGERS_WAIT[1])))
    return decided


async def _lease(tx: Transaction, decided: Decided, terms: Terms, now: int) -> list[DeliveryLease]:
    """A fence is no lower than the time, for what a crash forgets (see `ends.hand_out`)."""
    if not (leased := decided.leased):
        return []
    found = await tx.all(
        f"""with leased as (
               update delivery d
                  set worker = $3, fence = greatest(d.fence + 1, $4), attempt = d.attempt + 1, due_at = $4 + $5
                 from unnest($1::bigint[], $2::bigint[]) as n (seq, fence)
                where d.seq = n.seq and d.fence = n.fence
               returning d.*
            )
            select d.seq, d.fence, e.signature, k.secret, k.created_at, k.previous, {DELIVERY}
              from leased d
              left join endpoint e on e.id = d.endpoint_id
              left join signing_key k on k.owner = coalesce(d.endpoint_id, 'tenant:' || d.tenant)""",  # noqa: S608
        [each.seq for each in leased],
        [each.fence for each in leased],
        terms.worker,
        now,
        terms.lease_for,
    )
    leases: dict[int, DeliveryLease] = {}
    for seq, fence, signature, *rest in found:
        delivery = rows.delivery(rest[3:])
        leases[seq] = DeliveryLease(
            fence=Fence(delivery.id, fence),
            delivery=delivery,
            signature=signature or "v1",
            stranger=seq in decided.strangers,
            key=rows.signing_key(rest[:3]),
        )
    return [leases[each.seq] for each in leased if each.seq in leases]


async def _put_off(tx: Transaction, decided: Decided) -> None:
    if decided.put_off:
        await tx.run(
            """update delivery d set due_at = n.due_at, worker = null
                 from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as n (seq, fence, due_at)
                where d.seq = n.seq and d.fence = n.fence""",
            [each.seq for each, _ in decided.put_off],
            [each.fence for each, _ in decided.put_off],
            [due_at for _, due_at in decided.put_off],
        )
    if decided.orphans:
        await forget(tx, decided.orphans)


async def forget(tx: Transaction, seqs: Sequence[int]) -> None:
    """Let go of deliveries with what is in the log of them."""
    await tx.run(
        """with tries as (delete from delivery_attempt where delivery_seq = any($1::bigint[]))
           delete from delivery where seq = any($1::bigint[])""",
        seqs,
    )

"""Forgetting deliveries whose time in the log is over, and what hung on endpoints that were deleted, in bites."""

from raincheck.core.webhooks import WHOLE_SCHEDULE
from raincheck.store import rows
from raincheck.store.postgres import receivers
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.delivery_claims import forget
from raincheck.store.postgres.receivers import Wake
from raincheck.store.telling import FORGOTTEN

OWNERS = 20
"""Of how many deleted endpoints one bite takes deliveries."""


async def forget_old(tx: Transaction, *, kept: int, limit: int) -> int:
    """Let go of up to `limit` deliveries of events that are older than the log is kept, and of those to be sent not
    before their whole schedule is over; returns how many."""
    old = await tx.all(
        """select d.seq, d.receiver, n.status = 'pending'
             from (values ('delivered', $2::bigint), ('failed', $2), ('pending', $3)) as n (status, kept)
            cross join lateral (
                  select seq, receiver from delivery
                   where status = n.status and created_at <= moment($1) - n.kept order by created_at limit $4) d
            limit $4""",
        tx.at,
        kept,
        max(kept, WHOLE_SCHEDULE),
        limit,
    )
    waiting = [receiver for _, receiver, pending in old if pending]
    await receivers.lock(tx, waiting)
    # Who has one locked is sending it again.
    gone = await tx.all(
        """with old as materialized (
               select seq from delivery
                where seq = any($1::bigint[]) and worker is null and (status != 'pending' or receiver = any($2::text[]))
                  for update skip locked
           ), tries as (
               delete from delivery_attempt t using old where t.delivery_seq = old.seq
           )
           delete from delivery d using old where d.seq = old.seq returning d.receiver, d.status = 'pending'""",
        [seq for seq, _, _ in old],
        list(set(waiting)),
    )
    # It may have been the one that the parked ones of its receiver waited for.
    await receivers.wake(tx, [Wake(receiver, 1) for receiver in {name for name, pending in gone if pending}])
    return len(gone)


async def forget_orphans(tx: Transaction, *, limit: int) -> int:
    """Let go of up to `limit` deliveries to endpoints that were deleted, and of the receivers that have none any more;
    returns how many those were."""
    names = await tx.all(
        "select name from receiver where used_at = $1 order by name limit $2 for update skip locked", FORGOTTEN, OWNERS
    )
    taken = 0
    for (name,) in names:
        found = await tx.all(
            """select seq from delivery where (receiver, seq) >= ($1, 0) and (receiver, seq) <= ($1, $3::bigint)
                order by receiver, seq limit $2""",
            name,
            limit - taken,
            rows.MAX_SEQ,
        )
        await forget(tx, [seq for (seq,) in found])
        taken += len(found)
        if taken == limit:
            break
        await tx.run("delete from receiver where name = $1", name)
        taken += 1
    return taken


async def tidy(tx: Transaction, *, kept: int, limit: int) -> None:
    """Let go of receivers that were not used for as long as the log is kept. Who has one locked is using it."""
    await tx.run(
        """delete from receiver where name in (
               select r.name from receiver r
                where r.used_at > $3 and r.used_at <= moment($1) - $2
                  and not exists (select 1 from delivery d where d.receiver = r.name)
                order by r.used_at limit $4 for update skip locked)""",
        tx.at,
        kept,
        FORGOTTEN,
        limit,
    )

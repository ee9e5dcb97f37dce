"""Tenants' caps on running work, in PostgreSQL: who is full, and what of theirs is set aside.

A request of a full tenant is parked: given a time that never comes, so that no claim meets it again, and noted, until
one of that tenant's stops running. All of it happens under the lock of the tenant's row, so that a place that comes
free and the request that is parked for want of it do not miss each other.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from raincheck.store.parking import PARKED
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.limits import Locked


@dataclass(slots=True)
class Caps:
    """How many more the capped tenants may run that have something pending in the offered queues."""

    left: dict[str, int] = field(default_factory=dict[str, int])

    def knows(self, tenant: str) -> bool:
        return tenant in self.left

    def full(self, tenant: str) -> bool:
        return self.left.get(tenant, 1) <= 0

    def take(self, tenant: str) -> None:
        if tenant in self.left:
            self.left[tenant] -= 1


async def lock(tx: Transaction, locked: Locked, queues: Collection[str]) -> Caps:
    """Wait for whoever claims for the same capped tenants, and see what they left."""
    if not locked.caps:
        return Caps()
    capped = await tx.all(
        """select t.name, t.max_running from tenant t
            where t.max_running is not null
              and (select true from flow f
                    where f.tenant = t.name and f.queue = any($1::text[]) and f.pending > 0 limit 1)
            order by t.name
              for update of t""",
        list(queues),
    )
    # A statement of its own, after the locks: it sees what those before us have committed.
    running = await tx.all(
        """select t.name, (select count(*) from request r where r.tenant = t.name and r.status = 'processing') as count
             from unnest($1::text[]) as t (name)""",
        [name for name, _ in capped],
    )
    counts = {row["name"]: row["count"] for row in running}
    return Caps({name: max_running - counts[name] for name, max_running in capped})


async def unpark(tx: Transaction, locked: Locked, caps: Caps, places: Mapping[str, int]) -> None:
    """Make ready again what was set aside in these queues, as many as tenants may run and as there are places."""
    if not locked.parked:
        return
    notes = await tx.all(
        "select queue, tenant from parked where queue = any($1::text[]) order by queue, tenant for update", list(places)
    )
    wanted = {(queue, tenant): min(places[queue], caps.left.get(tenant, places[queue])) for queue, tenant in notes}
    wanted = {note: number for note, number in wanted.items() if number > 0}
    if not wanted:
        return
    found = await tx.all(
        """with found as materialized (
               select n.queue, n.tenant, head.seq
                 from unnest($1::text[], $2::text[], $3::bigint[]) as n (queue, tenant, wanted)
                cross join lateral (
                      select r.seq from request r
                       where r.tenant = n.tenant and r.queue = n.queue and r.status = 'pending'
                         and r.due_at = 4611686018427387904
                       order by r.priority, r.tag, r.seq
                       limit n.wanted
                         for update skip locked) head
           ), woken as (
               update request r set due_at = null from found f where r.seq = f.seq
           )
           select queue, tenant, count(*) from found group by queue, tenant""",
        [queue for queue, _ in wanted],
        [tenant for _, tenant in wanted],
        list(wanted.values()),
    )
    counts = {(queue, tenant): number for queue, tenant, number in found}
    await _forget(tx, [note for note, number in wanted.items() if counts.get(note, 0) < number])


async def _forget(tx: Transaction, notes: Sequence[tuple[str, str]]) -> None:
    """Take back the notes of which nothing is left. (What someone else has locked just now is left.)"""
    if not notes:
        return
    await tx.run(
        """delete from parked p using unnest($1::text[], $2::text[]) as n (queue, tenant)
            where p.queue = n.queue and p.tenant = n.tenant
              and not exists (select 1 from request r
                               where r.tenant = p.tenant and r.queue = p.queue and r.status = 'pending'
                                 and r.due_at = 4611686018427387904)""",
        [queue for queue, _ in notes],
        [tenant for _, tenant in notes],
    )


async def park(tx: Transaction, queue: str, tenants: Collection[str]) -> None:
    """Set aside what these tenants have among the first at the head of a queue; a herd of them takes several claims."""
    await tx.run(
        """with head as materialized (
               select seq, tenant from request
                where queue = $1 and status = 'pending' and due_at is null
                order by priority, tag, seq
                limit 200
           ), locked as materialized (
               select r.seq from head h join request r on r.seq = h.seq
                where h.tenant = any($2::text[]) and r.status = 'pending' and r.due_at is null
                order by r.seq
                  for update of r skip locked
           ), noted as (
               insert into parked (queue, tenant) select $1, tenant from unnest($2::text[]) tenant order by tenant
               on conflict (queue, tenant) do update set tenant = excluded.tenant
           )
           update request r set due_at = $3 from locked l where r.seq = l.seq""",
        queue,
        list(tenants),
        PARKED,
    )

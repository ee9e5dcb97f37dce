"""Tenants' caps on running work, in SQLite: who is full, and what of theirs is set aside.

A request of a full tenant is parked: given a time that never comes, so that no claim meets it again, and noted, until
one of that tenant's stops running.
"""

import json
from collections.abc import Collection

from raincheck.store.parking import PARKED
from raincheck.store.sqlite.database import Transaction
from raincheck.store.sqlite.limits import parked_notes_changed, some

PARK_AT_ONCE = 200
"""How many requests one claim sets aside in a queue, so that a herd of them delays nobody for long."""


class Caps:
    """How many requests tenants run, while a claim hands out more."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._running: dict[str, int] = {}

    def full(self, tenant: str, max_running: int | None) -> bool:
        return max_running is not None and self.running(tenant) >= max_running

    def take(self, tenant: str) -> None:
        if tenant in self._running:
            self._running[tenant] += 1

    def running(self, tenant: str) -> int:
        if tenant not in self._running:
            [(running,)] = self._tx.all(
                "select count(*) from request where tenant = ? and status = 'processing'", tenant
            )
            self._running[tenant] = running
        return self._running[tenant]


def unpark(tx: Transaction, caps: Caps, queue: str, places: int) -> None:
    """Make ready again what was set aside in a queue: as many as their tenants may run, and as there are places."""
    if places <= 0 or not some(tx).parked:
        return
    noted = tx.all(
        """select p.tenant, t.max_running from parked p left join tenant t on t.name = p.tenant
            where p.queue = ?""",
        queue,
    )
    for tenant, max_running in noted:
        wanted = places if max_running is None else min(places, max_running - caps.running(tenant))
        if wanted > 0 and _wake(tx, queue, tenant, wanted) < wanted:
            tx.run("delete from parked where queue = ? and tenant = ?", (queue, tenant))
            parked_notes_changed(tx)


def park(tx: Transaction, queue: str, tenants: Collection[str], *, limit: int) -> int:
    """Set aside what the first `limit` ready requests of a queue have of these tenants; returns how many."""
    for tenant in tenants:
        tx.run("insert or ignore into parked (queue, tenant) values (?, ?)", (queue, tenant))
    parked_notes_changed(tx)
    parked = tx.all(
        """update request set due_at = ?
            where seq in (select seq from (select seq, tenant from request
                                            where queue = ? and status = 'pending' and due_at is null
                                            order by priority, tag, seq limit ?)
                           where tenant in (select value from json_each(?)))
        returning 1""",
        PARKED,
        queue,
        limit,
        json.dumps(sorted(tenants)),
    )
    return len(parked)


def _wake(tx: Transaction, queue: str, tenant: str, wanted: int) -> int:
    found = tx.all(
        """update request set due_at = null
            where seq in (select seq from request
                           where tenant = ? and queue = ? and status = 'pending' and due_at = 4611686018427387904
                           order by priority, tag, seq limit ?)
        returning 1""",
        tenant,
        queue,
        wanted,
    )
    return len(found)

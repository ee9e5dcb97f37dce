"""Receivers of webhooks: where deliveries go, how it has been doing, and what waits for a place there.

Whoever moves a delivery that is pending has its receiver locked: a claim that parks one for want of a place and a
finish that frees the place do not miss each other. So while a receiver has parked ones, one of its own is due or being
sent, or its endpoint is disabled. Receivers are locked in the order of their names and before deliveries, by claims as
well; ends only add deliveries that are due, and lock nothing.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from raincheck.core.clock import HOUR
from raincheck.core.webhooks import Receiver
from raincheck.store.postgres.database import Transaction
from raincheck.store.telling import FORGOTTEN

FRESH = Receiver()

SENDING = """(select count(*) from delivery s
               where s.receiver = {receiver} and s.worker is not null and s.due_at > moment({at}))"""
"""How many deliveries a receiver has just now, without those whose lease has lapsed."""
WAITS_FOR = """(select min(w.due_at) from delivery w
                 where w.receiver = {receiver} and w.worker is null and w.due_at > moment({at}))"""
"""When the next of its deliveries is due that is not due yet: the others can go on with that one."""


class Wake(NamedTuple):
    """How many parked deliveries of a receiver are to be due, and when (None: now)."""

    receiver: str
    wanted: int
    due_at: int | None = None


async def make(tx: Transaction, names: Iterable[str]) -> None:
    """Note receivers that are new. Comes before the first lock: whoever makes the same ones has nothing locked either
    that we could wait for."""
    await tx.run(
        """insert into receiver (name, failures, places, used_at)
           select name, $2, $3, moment($4) from unnest($1::text[]) as n (name) order by name
           on conflict (name) do nothing""",
        sorted(set(names)),
        FRESH.failures,
        FRESH.places,
        tx.at,
    )


async def lock(tx: Transaction, names: Iterable[str]) -> dict[str, Receiver]:
    """Lock these, all that a transaction needs by one statement; one that is not there is missing from the answer."""
    found = await tx.all(
        """select name, failures, failing_since, open_until, places, slow from receiver
            where name = any($1::text[]) order by name for update""",
        list(set(names)),
    )
    return {name: Receiver(*rest) for name, *rest in found}


async def write(tx: Transaction, receivers: Mapping[str, Receiver]) -> None:
    """Note how these, which are locked, have been doing.

    When one was used is kept to the hour, so that its row can mostly be changed without touching an index; one whose
    endpoint was deleted stays marked as that.
    """
    if not receivers:
        return
    await tx.run(
        """update receiver r
              set failures = n.failures, failing_since = n.failing_since, open_until = n.open_until, places = n.places,
                  slow = n.slow,
                  used_at = case when r.used_at = $7 or r.used_at > moment($8) - $9 then r.used_at
                                 else moment($8) end
             from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[], $5::integer[],
                         $6::boolean[]) as n (name, failures, failing_since, open_until, places, slow)
            where r.name = n.name""",
        list(receivers),
        [each.failures for each in receivers.values()],
        [each.failing_since for each in receivers.values()],
        [each.open_until for each in receivers.values()],
        [each.places for each in receivers.values()],
        [each.slow for each in receivers.values()],
        FORGOTTEN,
        tx.at,
        HOUR,
    )


async def wake(tx: Transaction, waking: Iterable[Wake]) -> None:
    """Let parked deliveries of receivers that are locked be due, those first that happened first."""
    wakes = [each for each in waking if each.wanted > 0]
    if not wakes:
        return
    woken = await tx.all(
        """with parked as materialized (
               select p.seq, coalesce(n.due_at, moment($4)) as due_at
                 from unnest($1::text[], $2::bigint[], $3::bigint[]) as n (receiver, wanted, due_at)
                cross join lateral (
                      select d.seq from delivery d
                       where d.receiver = n.receiver and d.status = 'pending' and d.due_at is null
                       order by d.receiver, d.seq limit n.wanted) p)
           update delivery d set due_at = p.due_at from parked p where d.seq = p.seq
        returning d.due_at <= moment($4)""",
        [each.receiver for each in wakes],
        [each.wanted for each in wakes],
        [each.due_at for each in wakes],
        tx.at,
    )
    tx.deliveries = tx.deliveries or bool(woken)


def go_on(name: str, receiver: Receiver, now: int, *, sending: int, waits_for: int | None) -> Wake:
    """How many parked ones of a receiver may go on, with what it has just now and what is due next: as many as there is
    room for; while it is left alone, one for the end of that, unless another will see to it."""
    if not receiver.is_open(now) or receiver.open_until is None:
        return Wake(name, receiver.room - sending)
    seen_to = sending > 0 or (waits_for is not None and waits_for <= receiver.open_until)
    return Wake(name, 0 if seen_to else 1, receiver.open_until)


async def stands(tx: Transaction, names: Iterable[str]) -> tuple[int, dict[str, tuple[int, int | None]]]:
    """The moment, and of receivers that are locked how many deliveries each has just now and when the next is due."""
    found = await tx.all(
        f"select moment($2), n.name, {SENDING}, {WAITS_FOR} from unnest($1::text[]) as n (name)".format(  # noqa: S608
            receiver="n.name", at="$2"
        ),
        list(names),
        tx.at,
    )
    return (found[0][0] if found else 0), {name: (sending, waits_for) for _, name, sending, waits_for in found}


async def let_off(tx: Transaction, names: Iterable[str]) -> None:
    """Leave receivers that are locked alone no longer."""
    await tx.run(
        "update receiver set open_until = null where name = any($1::text[]) and open_until is not null", list(names)
    )


async def hurry(tx: Transaction, name: str, moment: int) -> None:
    """Make due now what a receiver that is locked was not to have before this moment."""
    await tx.run(
        "update delivery set due_at = moment($3) where receiver = $1 and due_at = $2 and worker is null",
        name,
        moment,
        tx.at,
    )


async def take_back(tx: Transaction, name: str) -> None:
    """Have what is being sent to a receiver that is locked sent again: how that goes is not heard."""
    await tx.run(
        """update delivery set worker = null, fence = greatest(fence + 1, moment($2)), due_at = moment($2)
            where receiver = $1 and worker is not null""",
        name,
        tx.at,
    )

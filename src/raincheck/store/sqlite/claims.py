"""One claim: offers in, leases out, as far as places, limits and caps allow."""

from typing import NamedTuple

from raincheck.core.model import Claimed, Fence, Lease, Offer, Scope
from raincheck.core.retry import expired
from raincheck.store import rows
from raincheck.store.room import NO_LIMIT, Held, Room
from raincheck.store.rows import Open
from raincheck.store.sqlite.caps import PARK_AT_ONCE, Caps, park, unpark
from raincheck.store.sqlite.database import Transaction
from raincheck.store.sqlite.ends import end, hand_out
from raincheck.store.sqlite.limits import room, write_held, write_spent


class Terms(NamedTuple):
    """What holds for all leases of a claim; times in microseconds."""

    worker: str
    lease_for: int
    keep_for: int


class Candidate(NamedTuple):
    """What a claim reads of a ready request besides `Open`; selected in this order."""

    path: str
    model: str
    payload: bytes
    max_attempts: int
    created_at: int
    deadline: int | None
    remote_upstream: str | None
    remote_id: str | None
    tag: float
    max_running: int | None
    """Its tenant's cap."""


class Claim:
    """A claim on its way through its offers: `take` each, then `settle`."""

    def __init__(self, tx: Transaction, terms: Terms) -> None:
        self._tx = tx
        self._terms = terms
        self._caps = Caps(tx)
        self._rooms: dict[tuple[Scope, str], Room | None] = {}
        self._leases: list[Lease] = []
        self._held_back: set[tuple[str, str]] = set()
        self._held: dict[str, tuple[Held | None, Held | None]] = {}
        """Of each offered queue: until when it was held before, and until when it is now."""

    def take(self, offer: Offer) -> None:
        """Give an offer what it gets: in order, past those whose tenants are full."""
        tx, queue = self._tx, offer.queue
        row = tx.one("select misses, held_until, held_reason from queue where name = ?", queue)
        if row is None:
            return
        misses, held_until, held_reason = row
        was = None if held_until is None else Held(held_until, held_reason)
        rooms = self._rooms_of(offer)
        unpark(tx, self._caps, queue, min(offer.places, _left(rooms)))
        places, may_park, kept_back = offer.places, PARK_AT_ONCE, False
        while (wanted := min(places, _left(rooms))) > 0 and may_park > 0:
            full = set[str]()
            for request, found in self._ready(queue, wanted):
                if found.deadline is not None and found.deadline <= tx.now:
                    self._expire(request)
                elif self._caps.full(request.tenant, found.max_running):
                    full.add(request.tenant)
                    continue
                elif kept_back := not all(each.bears(request.tokens) for each in rooms):
                    break
                else:
                    self._leases.append(self._lease(request, found, offer, rooms, misses))
                places -= 1
            if full:
                may_park -= park(tx, queue, full, limit=may_park)
            if kept_back or not full:
                break
        if may_park <= 0:
            tx.ready.add(queue)  # Others may be waiting behind those that were set aside.
        if places > 0 and (kept_back or _left(rooms) == 0):
            self._note(queue, was, self._hold_back(offer, rooms))
        else:
            self._note(queue, was, None)

    def settle(self) -> Claimed:
        """Write down what was taken and what is held."""
        write_spent(self._tx, [each for each in self._rooms.values() if each is not None])
        for queue, (before, held) in self._held.items():
            if held != before:
                write_held(self._tx, queue, held)
        return Claimed(self._leases, frozenset(self._held_back))

    def _rooms_of(self, offer: Offer) -> list[Room]:
        """The one or two rooms that an offer takes from, shared with the claim's other offers."""
        keys: list[tuple[Scope, str]] = [("queue", offer.queue), ("upstream", offer.upstream)]
        for key in keys:
            if key not in self._rooms:
                self._rooms[key] = room(self._tx, *key)
        return [each for key in keys if (each := self._rooms[key]) is not None]

    def _ready(self, queue: str, wanted: int) -> list[tuple[Open, Candidate]]:
        ready = self._tx.all(
            """select r.seq, r.id, r.tenant, r.operation, r.webhook_url, r.queue, r.priority, r.status, r.fence,
                      r.attempt, r.claimed_at, r.upstream, r.tokens, r.batch_seq, r.line,
                      r.webhook_events, r.webhook_result,
                      r.path, r.model, p.body, r.max_attempts, r.created_at, r.deadline, r.remote_upstream,
                      r.remote_id, r.tag,
                      (select max_running from tenant t where t.name = r.tenant)
                 from request r join payload p on p.seq = r.seq
                where r.queue = ? and r.status = 'pending' and r.due_at is null
                order by r.priority, r.tag, r.seq
                limit ?""",
            queue,
            wanted,
        )
        return [(Open(*row[:17]), Candidate(*row[17:])) for row in ready]

    def _expire(self, request: Open) -> None:
        outcome = expired(None)
        end(self._tx, request, outcome.status, keep_for=self._terms.keep_for, error=outcome.error)
        self._tx.ready.add(request.queue)  # It took a place in this claim that another could have had.

    def _lease(self, request: Open, found: Candidate, offer: Offer, rooms: list[Room], misses: int) -> Lease:
        tx, lapses_at = self._tx, self._tx.now + self._terms.lease_for
        hand_out(tx, request, worker=self._terms.worker, upstream=offer.upstream, lapses_at=lapses_at)
        tx.run(
            """insert into lane (queue, priority, virtual_time) values (?, ?, ?)
               on conflict do update set virtual_time = max(virtual_time, excluded.virtual_time)""",
            (request.queue, request.priority, found.tag),
        )
        self._caps.take(request.tenant)
        for each in rooms:
            each.take(request.tokens)
        return Lease(
            fence=Fence(request.id, request.fence + 1),
            tenant=request.tenant,
            queue=request.queue,
            upstream=offer.upstream,
            operation=request.operation,
            path=found.path,
            model=found.model,
            payload=found.payload,
            attempt=request.attempt + 1,
            max_attempts=found.max_attempts,
            misses=misses,
            created_at=found.created_at,
            claimed_at=tx.now,
            lapses_at=lapses_at,
            deadline=found.deadline,
            remote=rows.remote(found.remote_upstream or offer.upstream, found.remote_id),
        )

    def _hold_back(self, offer: Offer, rooms: list[Room]) -> Held | None:
        """Say so if the queue has more that is ready; returns what with a time keeps the next one from starting."""
        head = self._tx.one(
            """select tokens from request where queue = ? and status = 'pending' and due_at is null
                order by priority, tag, seq limit 1""",
            offer.queue,
        )
        if head is None:
            return None
        self._held_back.add((offer.queue, offer.upstream))
        return max((held for each in rooms if (held := each.held(head[0])) is not None), default=None)

    def _note(self, queue: str, was: Held | None, held: Held | None) -> None:
        """A queue is held only when all of its offers are, and no longer than the first of them."""
        _, others = self._held.get(queue, (was, held))
        self._held[queue] = was, min(others, held) if others is not None and held is not None else None


def _left(rooms: list[Room]) -> int:
    """How many more may start by all of these limits."""
    return min((each.places for each in rooms), default=NO_LIMIT)

"""One claim: offers in, leases out, in one transaction that takes its locks in this order: limits, tenants with a cap,
requests (it skips those that are locked), queues, flows, lanes.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raincheck.core.model import Claimed, Fence, Lease, Offer
from raincheck.core.retry import expired
from raincheck.store import rows
from raincheck.store.postgres import caps, limits
from raincheck.store.postgres.caps import Caps
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.ends import Ending, Flow, Lane, count_pending, hand_out, write_ends
from raincheck.store.postgres.limits import Locked
from raincheck.store.room import Held, Room
from raincheck.store.rows import Open

ROUNDS = 3
"""How often a claim looks for requests of other tenants in the place of those it set aside."""


class Terms(NamedTuple):
    """What holds for all leases of a claim; times in microseconds."""

    worker: str
    lease_for: int
    keep_for: int


class Candidate(NamedTuple):
    """A ready request that was locked for this claim."""

    request: Open
    path: str
    model: str
    max_attempts: int
    created_at: int
    deadline: int | None
    remote_upstream: str | None
    remote_id: str | None
    tag: float
    capped: bool

    @property
    def lane(self) -> Lane:
        return self.request.queue, self.request.priority


@dataclass(slots=True)
class Line:
    """The head of an offered queue."""

    misses: int
    held: Held | None
    """As an earlier claim wrote it down."""
    beyond: int | None
    """The tokens of the request after those that were asked for, when limits kept us from asking for more."""
    ready: deque[Candidate] = field(default_factory=deque[Candidate])
    full: set[str] = field(default_factory=set[str])
    """Tenants whose requests were passed over because they run as many as they may."""


@dataclass(slots=True)
class Turn:
    """One offer, while it is being filled."""

    offer: Offer
    rooms: Sequence[Room]
    places: int
    kept_back: int | None = None
    """The tokens of the request that a limit kept back, if one did."""

    @property
    def wanted(self) -> int:
        return min([self.places, *(room.places for room in self.rooms)])

    def bears(self, tokens: int) -> bool:
        return all(room.places > 0 and room.bears(tokens) for room in self.rooms)


class Claim:
    """What one claim has found and taken so far."""

    def __init__(self, tx: Transaction, locked: Locked, tenants: Caps, terms: Terms) -> None:
        self._tx = tx
        self._locked = locked
        self._caps = tenants
        self._terms = terms
        self._late: list[Candidate] = []
        self._handed: list[tuple[Candidate, str]] = []
        self._counts: Counter[Flow] = Counter()
        self._clocks: dict[Lane, float] = {}
        self.lines: dict[str, Line] = {}
        self.leases: list[Lease] = []

    async def fill(self, turns: Sequence[Turn]) -> set[str]:
        """One round; returns the queues in which someone was passed over."""
        lines = await _look(self._tx, self._locked, turns)
        self.lines.update(lines)
        for turn in turns:
            if (line := lines.get(turn.offer.queue)) is not None:
                self._walk(line, turn)
        await self._write()
        passed_over = {queue: line.full for queue, line in lines.items() if line.full}
        for queue, tenants in passed_over.items():
            await caps.park(self._tx, queue, tenants)
        return set(passed_over)

    def _walk(self, line: Line, turn: Turn) -> None:
        """Give from the head of the line, in order, until a limit or the end of the places."""
        while turn.places and line.ready:
            candidate = line.ready[0]
            request = candidate.request
            if candidate.deadline is not None and candidate.deadline <= self._locked.now:
                self._late.append(candidate)
                turn.places -= 1
            elif candidate.capped and not self._caps.knows(request.tenant):
                self._tx.ready.add(request.queue)  # Its cap was not locked, as it came only now: the next claim's.
            elif self._caps.full(request.tenant):
                line.full.add(request.tenant)
            elif turn.bears(request.tokens):
                self._take(candidate, turn)
            else:
                break
            line.ready.popleft()
        turn.kept_back = None
        if turn.places and (line.ready or not turn.wanted):  # While there is room, no limit keeps the rest back.
            turn.kept_back = line.ready[0].request.tokens if line.ready else line.beyond

    def _take(self, candidate: Candidate, turn: Turn) -> None:
        for room in turn.rooms:
            room.take(candidate.request.tokens)
        self._caps.take(candidate.request.tenant)
        self._handed.append((candidate, turn.offer.upstream))
        turn.places -= 1

    async def _write(self) -> None:
        """Move what was taken; the flows are counted when all rounds are over."""
        if self._late:
            late, outcome = [candidate.request for candidate in self._late], expired(None)
            self._tx.ready.update(request.queue for request in late)  # They took places that others could have had.
            endings = [Ending(request, outcome.status, self._terms.keep_for, outcome.error) for request in late]
            self._counts.update(await write_ends(self._tx, endings))
        if self._handed:
            now, lapses_at = self._locked.now, self._locked.now + self._terms.lease_for
            handed = [(candidate.request, upstream) for candidate, upstream in self._handed]
            found = await hand_out(self._tx, handed, worker=self._terms.worker, now=now, lapses_at=lapses_at)
            for candidate, upstream in self._handed:
                self._counts[candidate.request.flow] -= 1
                self._clocks[candidate.lane] = max(self._clocks.get(candidate.lane, 0.0), candidate.tag)
                self.leases.append(self._lease(candidate, upstream, *found[candidate.request.seq]))
        self._late, self._handed = [], []

    def _lease(self, candidate: Candidate, upstream: str, fence: int, payload: bytes) -> Lease:
        request = candidate.request
        return Lease(
            fence=Fence(request.id, fence),
            tenant=request.tenant,
            queue=request.queue,
            upstream=upstream,
            operation=request.operation,
            path=candidate.path,
            model=candidate.model,
            payload=payload,
            attempt=request.attempt + 1,
            max_attempts=candidate.max_attempts,
            misses=self.lines[request.queue].misses,
            created_at=candidate.created_at,
            claimed_at=self._locked.now,
            lapses_at=self._locked.now + self._terms.lease_for,
            deadline=candidate.deadline,
            remote=rows.remote(candidate.remote_upstream or upstream, candidate.remote_id),
        )

    async def settle(self, turns: Sequence[Turn]) -> frozenset[tuple[str, str]]:
        """Write down what was taken and what is held; returns the queues and upstreams that a limit held back."""
        await limits.write_spent(self._tx, self._locked)
        held = _held(turns)
        changed = {queue: held.get(queue) for queue, line in self.lines.items() if line.held != held.get(queue)}
        await limits.write_held(self._tx, changed)
        await count_pending(self._tx, self._counts, self._clocks)
        return frozenset((turn.offer.queue, turn.offer.upstream) for turn in turns if turn.kept_back is not None)


async def claim(tx: Transaction, offers: Sequence[Offer], terms: Terms) -> Claimed:
    """Lease what the offers have places for and the limits have room for."""
    locked = await limits.lock(tx, offers)
    turns = [Turn(offer, locked.of(offer.queue, offer.upstream), offer.places) for offer in offers]
    places = Counter[str]()
    for turn in turns:
        places[turn.offer.queue] += turn.places
    tenants = await caps.lock(tx, locked, places)
    await caps.unpark(tx, locked, tenants, places)
    claim = Claim(tx, locked, tenants, terms)
    passed_over = await claim.fill(turns)
    for _ in range(1, ROUNDS):
        again = [turn for turn in turns if turn.offer.queue in passed_over and turn.wanted]
        if not again:
            break
        passed_over = await claim.fill(again)
    tx.ready.update(turn.offer.queue for turn in turns if turn.offer.queue in passed_over and turn.wanted)
    held_back = await claim.settle(turns)
    return Claimed(claim.leases, held_back)


def _held(turns: Sequence[Turn]) -> Mapping[str, Held]:
    """Until when which queue is held: when all of its offers are, and no longer than the first of them."""
    by_queue = defaultdict[str, list[Held | None]](list)
    for turn in turns:
        reasons = [room.held(turn.kept_back) for room in turn.rooms] if turn.kept_back is not None else []
        by_queue[turn.offer.queue].append(max((each for each in reasons if each is not None), default=None))
    together: dict[str, Held] = {}
    for queue, each in by_queue.items():
        held = [one for one in each if one is not None]
        if len(held) == len(each):
            together[queue] = min(held)
    return together


async def _look(tx: Transaction, locked: Locked, turns: Sequence[Turn]) -> dict[str, Line]:
    """Lock as many at the head of each queue as its offers can use.

    What another claim has locked is skipped; what it has committed meanwhile is seen, and not taken for ready.
    """
    wanted, limited = Counter[str](), set[str]()
    for turn in turns:
        wanted[turn.offer.queue] += turn.wanted
        limited.update([turn.offer.queue] if turn.rooms else [])
    found = await tx.all(
        """select o.queue, q.misses, q.held_until, q.held_reason,
                  case when o.limited
                       then (select r.tokens from request r
                              where r.queue = o.queue and r.status = 'pending' and r.due_at is null
                              order by r.queue, r.priority, r.tag, r.seq offset o.wanted limit 1) end as beyond,
                  head.*
             from unnest($1::text[], $2::bigint[], $3::boolean[]) with ordinality as o (queue, wanted, limited, number)
             join queue q on q.name = o.queue
             left join lateral (
                  select r.seq, r.id, r.tenant, r.operation, r.webhook_url, r.queue, r.priority, r.status, r.fence,
                         r.attempt, r.claimed_at, r.upstream, r.tokens, r.batch_seq, r.line,
                         r.webhook_events, r.webhook_result,
                         r.path, r.model, r.max_attempts, r.created_at, r.deadline, r.remote_upstream,
                         r.remote_id, r.tag,
                         $4 and exists (select 1 from tenant t where t.name = r.tenant and t.max_running is not null)
                    from request r
                   where r.queue = o.queue and r.status = 'pending' and r.due_at is null
                   order by r.queue, r.priority, r.tag, r.seq
                   limit o.wanted
                     for update of r skip locked) head on true
            order by o.number, head.priority, head.tag, head.seq""",
        list(wanted),
        list(wanted.values()),
        [queue in limited for queue in wanted],
        locked.caps,
    )
    lines: dict[str, Line] = {}
    for row in map(tuple, found):
        queue, misses, held_until, held_reason, beyond = row[:5]
        held = None if held_until is None else Held(held_until, held_reason)
        line = lines.setdefault(queue, Line(misses, held, beyond))
        if row[5] is not None:
            line.ready.append(Candidate(Open(*row[5:22]), *row[22:]))
    return lines

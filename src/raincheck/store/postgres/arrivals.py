"""The transaction that records new requests: a handful of statements, however many there are."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from raincheck.core.errors import AttachmentGone, IdempotencyConflict, QuotaExceeded, RaincheckError
from raincheck.core.model import NewRequest, Request, Submitted
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.arriving import as_submitted, later, over_quota, seen_key
from raincheck.store.postgres import holders
from raincheck.store.postgres.database import Transaction

QUOTA_LOCK = 0x51554F54
"""The class of the advisory locks under which a capped tenant's pending requests are counted."""

Key = tuple[str, str]
"""A tenant, and what it calls the request or what the request says."""


class Arrival(NamedTuple):
    """A request that was accepted, with its number, and its line when it is a row of a batch."""

    seq: int
    new: NewRequest
    line: int | None = None


class Mark(NamedTuple):
    """What is remembered under a key."""

    fingerprint: bytes
    seq: int
    expires_at: int | None


async def record(tx: Transaction, batch: Sequence[NewRequest]) -> list[Submitted | RaincheckError]:
    """Record what is new and may be; one answer per request, in order. They are taken in as if one after the other.

    What an answer depends on is locked before it is looked at: first a capped tenant's quota, then the keys, then the
    bodies of attachments. So two processes with the same key at the same moment agree on one request.
    """
    capped = {new.tenant for new in batch if new.max_pending is not None}
    if capped:
        await _lock_quotas(tx, capped)
    numbers = await tx.all(
        "select nextval('request_seq_seq'), moment($2) from generate_series(1, $1::integer)", len(batch), tx.at
    )
    standing = Standing(now=numbers[0][1])
    numbered = [(number[0], new) for number, new in zip(numbers, batch, strict=True)]
    own = {seq for seq, _ in numbered}
    before = await _lock_keys(tx, numbered)
    await _look_up(tx, standing, {key: mark for key, mark in before.items() if mark.seq not in own})
    if capped:
        await _count_pending(tx, standing, capped)
    if blobs := [each.blob for new in batch for each in new.attachments]:
        standing.bodies = await holders.there(tx, blobs)

    answers = [standing.take(seq, new) for seq, new in numbered]

    await _remember(tx, before, standing.marks, own=own)
    await enter(tx, standing.accepted, now=standing.now)
    return answers


async def enter(tx: Transaction, accepted: Sequence[Arrival], *, now: int, batch_seq: int | None = None) -> None:
    """Make requests of what was accepted, rows of this batch if there is one. Whoever calls has seen to it that the
    bodies of their attachments are there."""
    if accepted:
        await _write_bodies(tx, accepted)
        await _attach(tx, accepted)
        await _line_up(tx, accepted, now, batch_seq)


@dataclass(slots=True)
class Standing:
    """What the answers depend on, kept up to date from one to the next."""

    now: int
    marks: dict[Key, Mark] = field(default_factory=dict[Key, Mark])
    known: dict[int, Request] = field(default_factory=dict[int, Request])
    """The requests that marks speak of."""
    pending: dict[str, int] = field(default_factory=dict[str, int])
    """How many requests wait of each tenant that has a cap."""
    bodies: frozenset[str] = frozenset()
    """Of the bodies that attachments name, those that are there."""
    accepted: list[Arrival] = field(default_factory=list[Arrival])

    def take(self, seq: int, new: NewRequest) -> Submitted | RaincheckError:
        if new.fingerprint is not None and (answer := self._seen_before(new, new.fingerprint)) is not None:
            return answer
        if any(each.blob not in self.bodies for each in new.attachments):
            return AttachmentGone()
        if (refused := self._over_quota(new)) is not None:
            return refused
        request = as_submitted(new, due_at=later(new, self.now))
        self.accepted.append(Arrival(seq, new))
        if new.fingerprint is not None and (new.idempotency_key is not None or new.repeat_until is not None):
            self.marks[_key(new)] = _mark(seq, new, new.fingerprint)
            self.known[seq] = request
        return Submitted(request)

    def _seen_before(self, new: NewRequest, fingerprint: bytes) -> Submitted | IdempotencyConflict | None:
        mark = self.marks.get(_key(new))
        if mark is None or (mark.expires_at is not None and mark.expires_at <= self.now):
            return None
        if mark.fingerprint != fingerprint:
            return IdempotencyConflict()
        if new.idempotency_key is None and not new.is_retry:
            return None
        return Submitted(self.known[mark.seq], repeated=True)

    def _over_quota(self, new: NewRequest) -> QuotaExceeded | None:
        pending = self.pending.get(new.tenant, 0)
        if (refused := over_quota(new, pending)) is not None:
            return refused
        self.pending[new.tenant] = pending + 1
        return None


# --- quotas


async def _lock_quotas(tx: Transaction, tenants: Iterable[str]) -> None:
    """Until the commit nobody else submits for these tenants. A statement of its own: the next one sees their rows."""
    # By the number, and not by the name it is made of: two names may share one.
    await tx.run(
        """select pg_advisory_xact_lock($2, number)
             from (select distinct hashtext(name) as number from unnest($1::text[]) name order by number) numbers""",
        list(tenants),
        QUOTA_LOCK,
    )


async def _count_pending(tx: Transaction, standing: Standing, tenants: Iterable[str]) -> None:
    found = await tx.all(
        "select tenant, sum(pending)::bigint from flow where tenant = any($1) group by tenant", list(tenants)
    )
    standing.pending.update((tenant, pending) for tenant, pending in found)


# --- keys


async def _lock_keys(tx: Transaction, numbered: Iterable[tuple[int, NewRequest]]) -> dict[Key, Mark]:
    """Lock what is remembered under the keys of these requests; a key that is new is taken by its first request.

    Who comes with a key that a running transaction has just taken waits here, and then sees what came of it.
    """
    first: dict[Key, Mark] = {}
    for seq, new in numbered:
        if new.fingerprint is not None:
            first.setdefault(_key(new), _mark(seq, new, new.fingerprint))
    if not first:
        return {}
    # The update changes nothing: it locks the row and lets it be returned.
    found = await tx.all(
        """insert into seen as s (tenant, key, fingerprint, request_seq, expires_at)
           select tenant, key, fingerprint, request_seq, expires_at
             from unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[])
                  as n (tenant, key, fingerprint, request_seq, expires_at)
            order by tenant, key
           on conflict (tenant, key) do update set request_seq = s.request_seq
           returning tenant, key, fingerprint, request_seq, expires_at""",
        [tenant for tenant, _ in first],
        [key for _, key in first],
        [mark.fingerprint for mark in first.values()],
        [mark.seq for mark in first.values()],
        [mark.expires_at for mark in first.values()],
    )
    return {(tenant, key): Mark(*mark) for tenant, key, *mark in found}


async def _look_up(tx: Transaction, standing: Standing, earlier: Mapping[Key, Mark]) -> None:
    """Fill in the requests that were submitted under these keys earlier."""
    if not earlier:
        return
    seqs = [mark.seq for mark in earlier.values()]
    for row in await tx.all("select * from record where seq = any($1)", seqs):
        standing.known[row["seq"]] = rows.request(row)
    standing.marks.update((key, mark) for key, mark in earlier.items() if mark.seq in standing.known)


async def _remember(tx: Transaction, before: Mapping[Key, Mark], after: Mapping[Key, Mark], *, own: set[int]) -> None:
    """Let the keys lead to the newest request of theirs; one that was taken for a refused request is free again."""
    moved = {key: mark for key, mark in after.items() if mark != before[key]}
    if moved:
        await tx.run(
            """update seen s set fingerprint = n.fingerprint, request_seq = n.request_seq, expires_at = n.expires_at
                 from unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[])
                      as n (tenant, key, fingerprint, request_seq, expires_at)
                where s.tenant = n.tenant and s.key = n.key""",
            [tenant for tenant, _ in moved],
            [key for _, key in moved],
            [mark.fingerprint for mark in moved.values()],
            [mark.seq for mark in moved.values()],
            [mark.expires_at for mark in moved.values()],
        )
    in_vain = [mark.seq for key, mark in before.items() if mark.seq in own and key not in after]
    if in_vain:
        await tx.run("delete from seen where request_seq = any($1)", in_vain)


def _key(new: NewRequest) -> Key:
    return new.tenant, seen_key(new)


def _mark(seq: int, new: NewRequest, fingerprint: bytes) -> Mark:
    return Mark(fingerprint, seq, None if new.idempotency_key is not None else new.repeat_until)


# --- the rows


async def _write_bodies(tx: Transaction, accepted: Sequence[Arrival]) -> None:
    """First, because nobody waits for these rows: the flows, which others do wait for, are not locked yet."""
    tagged = [(seq, rows.metadata_text(new.metadata)) for seq, new, _ in accepted if new.metadata]
    await tx.run(
        """with described as (
               insert into metadata (seq, body) select seq, body from unnest($3::bigint[], $4::text[]) as n (seq, body))
           insert into payload (seq, body) select seq, body from unnest($1::bigint[], $2::bytea[]) as n (seq, body)""",
        [seq for seq, _, _ in accepted],
        [new.payload for _, new, _ in accepted],
        [seq for seq, _ in tagged],
        [text for _, text in tagged],
    )


async def _attach(tx: Transaction, accepted: Sequence[Arrival]) -> None:
    attached = [(seq, new.attachments) for seq, new, _ in accepted if new.attachments]
    if attached:
        await holders.attach(tx, attached)
        await holders.hold(tx, Counter(each.blob for _, some in attached for each in some))


@dataclass(slots=True)
class _Flow:
    weight: float
    arrived: int = 0


async def _line_up(tx: Transaction, accepted: Sequence[Arrival], now: int, batch_seq: int | None) -> None:
    """Give each request its place in its queue, with a fair tag."""
    flows: dict[tuple[str, int, str], _Flow] = {}
    behind: list[int] = []
    for _, new, _ in reversed(accepted):
        flow = flows.setdefault((new.queue, int(new.priority), new.tenant), _Flow(new.weight))
        behind.append(flow.arrived)
        flow.arrived += 1
    behind.reverse()
    queues = sorted({queue for queue, _, _ in flows})
    values = (
        queues,
        [queue for queue, _, _ in flows],
        [priority for _, priority, _ in flows],
        [tenant for _, _, tenant in flows],
        [flow.weight for flow in flows.values()],
        [flow.arrived for flow in flows.values()],
        [seq for seq, _, _ in accepted],
        [new.id for _, new, _ in accepted],
        [new.tenant for _, new, _ in accepted],
        [new.queue for _, new, _ in accepted],
        [new.operation for _, new, _ in accepted],
        [new.path for _, new, _ in accepted],
        [new.model for _, new, _ in accepted],
        [int(new.priority) for _, new, _ in accepted],
        behind,
        [later(new, now) for _, new, _ in accepted],
        [new.deadline for _, new, _ in accepted],
        [new.max_attempts for _, new, _ in accepted],
        [new.tokens for _, new, _ in accepted],
        [new.webhook_url for _, new, _ in accepted],
        [new.created_at for _, new, _ in accepted],
        [line for _, _, line in accepted],
        batch_seq,
        [rows.words_text(new.webhook_events) for _, new, _ in accepted],
        [new.webhook_result for _, new, _ in accepted],
    )
    while not await _insert(tx, values):
        await tx.run(
            "insert into queue (name) select name from unnest($1::text[]) name order by name on conflict do nothing",
            queues,
        )
    tx.ready.update(queues)
    tx.moved.extend((new.id, Status.PENDING) for _, new, _ in accepted)


async def _insert(tx: Transaction, values: tuple[object, ...]) -> bool:
    """Insert requests, and count them in their flows; False, with nothing done, when one of their queues is missing.

    The lock on the queues keeps them from being forgotten as idle before the flows are seen to be counted up.

    Start-time fair queueing: a flow's next tag is one share after its last, and never behind the lane's clock. Those
    that arrive together are one share apart, and the last of them has the flow's new tag.
    """
    row = await tx.one(
        """with held as materialized (
               select name from queue where name = any($1::text[]) order by name for key share
           ), share as (
               insert into flow as f (queue, priority, tenant, last_tag, weight, pending)
               select n.queue, n.priority, n.tenant,
                      coalesce((select virtual_time from lane l where l.queue = n.queue and l.priority = n.priority), 0)
                          + n.arrived / n.weight,
                      n.weight, n.arrived
                 from unnest($2::text[], $3::integer[], $4::text[], $5::double precision[], $6::bigint[])
                      as n (queue, priority, tenant, weight, arrived)
                where (select count(*) from held) = cardinality($1::text[])
                order by n.queue, n.priority, n.tenant
               on conflict (queue, priority, tenant) do update
                  set last_tag = greatest(f.last_tag + excluded.pending / excluded.weight, excluded.last_tag),
                      weight = excluded.weight, pending = f.pending + excluded.pending
               returning queue, priority, tenant, last_tag, weight
           ), arrived as (
               insert into request (seq, id, tenant, queue, operation, path, model, priority, tag, due_at, deadline,
                                    max_attempts, tokens, webhook_url, created_at, line, batch_seq, webhook_events,
                                    webhook_result)
               overriding system value
               select n.seq, n.id, n.tenant, n.queue, n.operation, n.path, n.model, n.priority,
                      s.last_tag - n.behind / s.weight, n.due_at, n.deadline, n.max_attempts, n.tokens, n.webhook_url,
                      n.created_at, n.line, $23::bigint, n.webhook_events, n.webhook_result
                 from unnest($7::bigint[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[],
                             $14::integer[], $15::bigint[], $16::bigint[], $17::bigint[], $18::integer[],
                             $19::bigint[], $20::text[], $21::bigint[], $22::bigint[], $24::text[], $25::boolean[])
                      as n (seq, id, tenant, queue, operation, path, model, priority, behind, due_at, deadline,
                            max_attempts, tokens, webhook_url, created_at, line, webhook_events,
                            webhook_result)
                 join share s on s.queue = n.queue and s.priority = n.priority and s.tenant = n.tenant
               returning seq)
           select count(*) from arrived""",
        *values,
    )
    return row is not None and row[0] > 0

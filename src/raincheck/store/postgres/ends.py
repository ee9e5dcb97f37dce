"""The moves out of and into `pending` and to an end: status, counters, history, result, event, in one place each.

Every move is made for many requests at once, and each by few statements. Whoever calls has locked the requests.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from raincheck.core.batches import Batch
from raincheck.core.events import event_type
from raincheck.core.ids import new_id
from raincheck.core.model import Attachment
from raincheck.core.outcome import Reply, RequestError
from raincheck.core.status import Status
from raincheck.store import rows
from raincheck.store.counting import usage_of
from raincheck.store.postgres import telling
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.holders import attach
from raincheck.store.postgres.tallies import RowEnd
from raincheck.store.postgres.telling import LISTENING, Happened, audience, begun, own
from raincheck.store.postgres.texts import clean
from raincheck.store.rows import Open
from raincheck.store.telling import Happening

Flow = tuple[str, int, str]
"""A tenant's share of a queue: queue, priority, tenant."""

Lane = tuple[str, int]
"""A queue's priority."""


class Ending(NamedTuple):
    """A request and how it ends; the result is kept for `keep_for` microseconds."""

    request: Open
    status: Status
    keep_for: int
    error: RequestError | None = None
    reply: Reply | None = None


class Try(NamedTuple):
    """An attempt that is over, for the history."""

    request: Open
    outcome: str
    upstream: str | None = None
    error: RequestError | None = None


class Return(NamedTuple):
    """A request that is to be claimed again, at `due_at` (None: at once), with `refund` attempts given back."""

    request: Open
    due_at: int | None
    refund: int


async def end(tx: Transaction, ended: Sequence[Ending]) -> None:
    """Write final statuses, each with its result and its one event (G6), and what they leave at upstreams."""
    await count_pending(tx, await write_ends(tx, ended))


async def write_ends(tx: Transaction, ended: Sequence[Ending]) -> Counter[Flow]:
    """`end` without its last step: returns how the flows' numbers of pending requests have changed."""
    outputs = [(ending.request.seq, _outputs(ending.reply)) for ending in ended if ending.reply]
    held = Counter(ending.reply.blob for ending in ended if ending.reply and ending.reply.blob)
    held.update(each.blob for _, some in outputs for each in some)
    events = {ending.request.seq: _event(ending) for ending in ended}
    told = [ending for ending in ended if ending.request.batch_seq is None]
    # Whatever transaction writes it: an end that has been seen is not undone by a crash (G2).
    listening = await tx.all(
        f"""with e as materialized (
               select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::integer[],
                                    $7::text[], $8::text[], $9::text[], $10::bytea[], $11::text[], $12::bigint[],
                                    $13::text[], $14::text[])
                        as e (seq, fence, was, status, keep_for, reply, content_type, error, usage, body, blob, size,
                              event, type)
           ), strays as (
               insert into stray (upstream, remote_id, created_at, due_at)
               select r.remote_upstream, r.remote_id, moment($15), moment($15)
                 from e join request r on r.seq = e.seq and r.fence = e.fence and r.status = e.was
                where e.status != 'completed' and r.remote_id is not null and r.remote_upstream is not null
           ), ended as (
               update request r
                  set status = e.status, ended_at = moment($15), due_at = null, worker = null,
                      purge_at = e.keep_for + case when r.batch_seq is null then moment($15)
                                                   else greatest(moment($15), r.deadline) end,
                      remote_id = null, remote_upstream = null,
                      progress = case when e.status = 'completed' then 1.0 else r.progress end
                 from e where r.seq = e.seq and r.fence = e.fence and r.status = e.was
               returning r.seq, r.tenant, r.webhook_url
           ), results as (
               insert into result (seq, status, content_type, error, usage, body, blob, size)
               select e.seq, e.reply, e.content_type, e.error, e.usage, e.body, e.blob, e.size
                 from e join ended using (seq)
           ), events as (
               insert into event (id, tenant, request_seq, type, webhook_url, created_at)
               select e.event, n.tenant, e.seq, e.type, n.webhook_url, moment($15) from e join ended n using (seq)
           ), kept as (
               insert into blob as b (name, holders)
               select name, holders from unnest($16::text[], $17::integer[]) as n (name, holders) order by name
               on conflict (name) do update set holders = b.holders + excluded.holders, doomed_at = null
           )
           select d.*, l.*
             from (select set_config('synchronous_commit', 'on', true), moment($15)) as d
             left join ({LISTENING.format(tenants="$18", types="$19")}) as l on true""",  # noqa: S608
        *_columns([(*_request(ending), *_result(ending), *events[ending.request.seq]) for ending in ended], width=14),
        tx.at,
        list(held),
        list(held.values()),
        *audience(((ending.request.tenant, events[ending.request.seq].type) for ending in told), ends=True),
    )
    [_, now, *_] = listening[0]
    await telling.write(
        tx, [_told(ending, events[ending.request.seq], now) for ending in told], (who for _, _, *who in listening)
    )
    await attach(tx, outputs)
    tx.moved.extend((ending.request.id, ending.status) for ending in ended)
    tx.rows_ended.extend(row for ending in ended if (row := _row(ending)) is not None)
    left = Counter(ending.request.flow for ending in ended if ending.request.status == Status.PENDING)
    return Counter({flow: -number for flow, number in left.items()})


def _request(ending: Ending) -> tuple[object, ...]:
    request = ending.request
    return request.seq, request.fence, request.status, ending.status, ending.keep_for


def _result(ending: Ending) -> tuple[object, ...]:
    error = rows.error_text(ending.error)
    if (reply := ending.reply) is None:
        return None, None, error, None, None, None, None
    usage = clean(reply.usage.decode(errors="replace")) if reply.usage else None
    body = None if reply.blob else reply.body
    return reply.status, clean(reply.content_type), error, usage, body, reply.blob, reply.size


def _outputs(reply: Reply) -> list[Attachment]:
    return [replace(each, name=clean(each.name), content_type=clean(each.content_type)) for each in reply.attachments]


class _Event(NamedTuple):
    id: str
    type: str


def _event(ending: Ending) -> _Event:
    request, incomplete = ending.request, ending.reply is not None and ending.reply.incomplete
    return _Event(new_id("evt"), event_type(request.operation, ending.status, incomplete=incomplete, of=request.id))


def _told(ending: Ending, event: _Event, now: int) -> Happened:
    request = ending.request
    return Happened(
        Happening(event.id, request.tenant, event.type, request.id, now, has_result=ending.reply is not None),
        own(
            request.webhook_url,
            request.webhook_events,
            ending.status,
            event.type,
            include_result=request.webhook_result,
        ),
        is_end=True,
    )


def _row(ending: Ending) -> RowEnd | None:
    """What a batch counts when it is a row of one."""
    request = ending.request
    if request.batch_seq is None or request.line is None:
        return None
    return RowEnd(
        request.batch_seq, request.line, ending.status, usage_of(ending.reply.usage if ending.reply else None)
    )


async def tell_of_batch(tx: Transaction, seq: int, batch: Batch) -> None:
    """Write the one event of a batch that has ended (G6), and tell of it."""
    event_id, type_ = new_id("evt"), event_type("batch", batch.status)
    listening = await tx.all(
        f"""with noted as (
               insert into event (id, tenant, batch_seq, type, webhook_url, created_at)
               values ($1, $2, $3, $4, $5, $6)
           )
           {LISTENING.format(tenants="$7", types="$8")}""",  # noqa: S608 - words of ours
        event_id,
        batch.tenant,
        seq,
        type_,
        batch.webhook_url,
        batch.ended_at,
        *audience([(batch.tenant, type_)], ends=True),
    )
    what = Happening(event_id, batch.tenant, type_, batch.id, batch.ended_at or 0)
    its_own = own(batch.webhook_url, rows.words_text(batch.webhook_events), batch.status, type_)
    await telling.write(tx, [Happened(what, its_own, is_end=True)], listening)


async def hand_out(
    tx: Transaction, handed: Sequence[tuple[Open, str]], *, worker: str, now: int, lapses_at: int
) -> Mapping[int, tuple[int, bytes]]:
    """From pending to processing, each at its upstream: the claim that raises the fence. Returns fences and payloads by
    seq. The flows are counted by whoever calls, once for all that a claim does. Those are told of the first claim of a
    request who asked for it.

    A fence is no lower than the time: a claim is not flushed, so a crash of the database may forget it while its worker
    lives on, and the number that it had must not be given out again (decision 0012).
    """
    first = [request for request, _ in handed if request.fence == 0 and request.batch_seq is None]
    happened = [begun(request, now) for request in first]
    found = await tx.all(
        f"""with handed as (
           update request r
              set status = 'processing', fence = greatest(r.fence + 1, $6), attempt = r.attempt + 1, due_at = $4,
                  worker = $5, upstream = h.upstream, claimed_at = $6, started_at = coalesce(r.started_at, $6)
             from unnest($1::bigint[], $2::bigint[], $3::text[]) as h (seq, fence, upstream)
             join payload p on p.seq = h.seq
            where r.seq = h.seq and r.fence = h.fence and r.status = 'pending'
        returning r.seq, r.fence, p.body)
           select seq, fence, body, null, null, null, null from handed
           union all
           select null, null, null, l.* from ({LISTENING.format(tenants="$7", types="$8")}) as l""",  # noqa: S608
        [request.seq for request, _ in handed],
        [request.fence for request, _ in handed],
        [upstream for _, upstream in handed],
        lapses_at,
        worker,
        now,
        *audience(((each.what.tenant, each.what.type) for each in happened), ends=False),
    )
    await telling.write(tx, happened, (who for seq, _, _, *who in found if seq is None))
    tx.moved.extend((request.id, Status.PROCESSING) for request, _ in handed)
    return {seq: (fence, body) for seq, fence, body, *_ in found if seq is not None}


async def hand_back(tx: Transaction, returned: Sequence[Return]) -> None:
    """From processing back to pending."""
    await tx.run(
        """update request r
              set status = 'pending', due_at = case when b.due_at > moment($5) then b.due_at end,
                  attempt = r.attempt - b.refund, worker = null, progress = null, progress_message = null
             from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::integer[]) as b (seq, fence, due_at, refund)
            where r.seq = b.seq and r.fence = b.fence and r.worker is not null""",
        [each.request.seq for each in returned],
        [each.request.fence for each in returned],
        [each.due_at for each in returned],
        [each.refund for each in returned],
        tx.at,
    )
    tx.moved.extend((each.request.id, Status.PENDING) for each in returned)
    tx.ready.update(each.request.queue for each in returned)
    await count_pending(tx, Counter(each.request.flow for each in returned))


async def stopped(tx: Transaction, requests: Sequence[Open]) -> None:
    """Say that these no longer run: where that was limited another may start, whoever has places already.

    For all of a transaction at once, before any of them moves: tenants are locked in the order of their names, and
    before queues and flows.
    """
    running = [request for request in requests if request.status == Status.PROCESSING]
    if not running:
        return
    # A claim that parks a tenant's requests holds the tenant's row from its count to its commit. So either it counts
    # after us, or we wait here, and the next statement sees its note.
    [row] = await tx.all(
        """with capped as materialized (
               select name from tenant where name = any($1::text[]) and max_running is not null
                order by name for share)
           select array(select name from capped),
                  array(select queue from parked where tenant = any($1::text[])),
                  array(select name from throttle where scope = 'queue' and name = any($2::text[])),
                  array(select name from throttle where scope = 'upstream' and name = any($3::text[]))""",
        list({request.tenant for request in running}),
        list({request.queue for request in running}),
        list({request.upstream for request in running if request.upstream is not None}),
    )
    capped, noted, queues, upstreams = row
    limited = {request.queue for request in running if request.queue in queues or request.upstream in upstreams}
    if limited:
        tx.freed = True
        tx.ready.update(limited)
    tx.ready.update(noted)
    if capped:
        again = await tx.all("select queue from parked where tenant = any($1::text[])", capped)
        tx.ready.update(queue for (queue,) in again)


async def tried(tx: Transaction, tries: Sequence[Try]) -> None:
    """Write attempts into the history."""
    await tx.run(
        """insert into attempt (seq, fence, number, upstream, started_at, ended_at, outcome, error)
           select seq, fence, number, upstream, started_at, moment($8), outcome, error
             from unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::bigint[], $6::text[], $7::text[])
                  as t (seq, fence, number, upstream, started_at, outcome, error)""",
        [each.request.seq for each in tries],
        [each.request.fence for each in tries],
        [each.request.attempt for each in tries],
        [each.upstream for each in tries],
        [each.request.claimed_at for each in tries],
        [each.outcome for each in tries],
        [rows.error_text(each.error) for each in tries],
        tx.at,
    )


async def count_pending(
    tx: Transaction, changes: Mapping[Flow, int], clocks: Mapping[Lane, float] | None = None
) -> None:
    """Keep the flows' numbers of pending requests true, and set the lanes' clocks forward to these tags.

    Every move into and out of `pending` passes here, once per transaction and as its last step: these are the rows
    that everyone waits for, in the order of their keys.
    """
    clocks = clocks or {}
    if not changes:
        return
    await tx.run(
        """with held as materialized (
               select f.queue, f.priority, f.tenant, c.change
                 from unnest($1::text[], $2::integer[], $3::text[], $4::bigint[]) as c (queue, priority, tenant, change)
                 join flow f on f.queue = c.queue and f.priority = c.priority and f.tenant = c.tenant
                order by f.queue, f.priority, f.tenant
                  for update of f
           ), counted as (
               update flow f set pending = f.pending + h.change
                 from held h where f.queue = h.queue and f.priority = h.priority and f.tenant = h.tenant
               returning 1
           )
           insert into lane as l (queue, priority, virtual_time)
           select n.queue, n.priority, n.clock
             from unnest($5::text[], $6::integer[], $7::double precision[]) as n (queue, priority, clock)
            where (select count(*) from counted) >= 0
            order by n.queue, n.priority
           on conflict (queue, priority) do update
              set virtual_time = greatest(l.virtual_time, excluded.virtual_time)""",
        [queue for queue, _, _ in changes],
        [priority for _, priority, _ in changes],
        [tenant for _, _, tenant in changes],
        list(changes.values()),
        [queue for queue, _ in clocks],
        [priority for _, priority in clocks],
        list(clocks.values()),
    )


def _columns(table: Sequence[tuple[object, ...]], *, width: int) -> list[list[object]]:
    return [[row[column] for row in table] for column in range(width)]

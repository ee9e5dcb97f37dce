"""How attempts to deliver went, written under their fences: what was sent in, what was lost and disabled out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import replace

from raincheck.core.events import ENDPOINT_DISABLED
from raincheck.core.ids import new_id
from raincheck.core.model import Fence
from raincheck.core.webhooks import DeliveryStatus, Endpoint, FinishedDeliveries, Receiver, Sent
from raincheck.store.postgres import receivers, telling
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.delivery_claims import forget
from raincheck.store.postgres.endpoints import disable
from raincheck.store.postgres.receivers import FRESH, SENDING, WAITS_FOR, Wake, go_on
from raincheck.store.postgres.telling import LISTENING, Happened, audience
from raincheck.store.postgres.texts import cleaned
from raincheck.store.telling import FAILING, GONE, Happening, disabled_detail


class Held(NamedTuple):
    """A delivery whose fence holds, and whose receiver is locked."""

    seq: int
    receiver: str
    endpoint_id: str | None
    is_orphan: bool
    is_held: bool
    """Whether its endpoint is disabled."""
    sending: int
    """How many the receiver has just now, this one among them unless its lease has lapsed."""
    waits_for: int | None
    """When the next one of the receiver is due that is not due yet."""
    lapsed: bool


class Terms(NamedTuple):
    """What holds for all receivers."""

    places: int
    disable_after: int


@dataclass(slots=True)
class Settled:
    """What a receiver comes to."""

    receiver: Receiver
    endpoint_id: str | None
    is_held: bool
    sending: int
    waits_for: int | None
    sent: list[Sent] = field(default_factory=list[Sent])

    def reason(self, now: int, disable_after: int) -> str | None:
        """Why its endpoint is to be disabled, if it is."""
        if self.endpoint_id is None or self.is_held:
            return None
        if any(each.gone for each in self.sent):
            return GONE
        return FAILING if self.receiver.is_dead(now, disable_after=disable_after) else None


async def record(tx: Transaction, sent: Sequence[Sent], terms: Terms) -> FinishedDeliveries:
    """Write how attempts went; of several with one fence the first is."""
    first: dict[Fence, Sent] = {}
    for each in sent:
        first.setdefault(each.fence, each)
    locked = await receivers.lock(tx, await _receivers(tx, first))
    now, held = await _look(tx, first)
    good = {fence: each for fence, each in held.items() if not each.is_orphan}
    if orphans := [each.seq for each in held.values() if each.is_orphan]:
        await forget(tx, orphans)
    disabled = list[Endpoint]()
    if good:
        await _write(tx, [(each, first[fence]) for fence, each in good.items()])
        settled = _settle([(each, first[fence]) for fence, each in good.items()], locked, terms, now)
        await receivers.write(tx, {name: each.receiver for name, each in settled.items()})
        disabled = await _disable(tx, settled, terms, now)
        gone = {endpoint.id for endpoint in disabled}
        await receivers.wake(tx, [_wake(name, each, terms, now) for name, each in settled.items() if name not in gone])
    return FinishedDeliveries([fence for fence in first if fence not in good], disabled)


# What is being sent is asked for in words that hide the index of all that are: the ids are the shorter way, always.


async def _receivers(tx: Transaction, sent: Mapping[Fence, Sent]) -> list[str]:
    found = await tx.all(
        """select distinct d.receiver
             from unnest($1::text[], $2::bigint[]) as f (id, fence)
             join delivery d on d.id = f.id and d.fence = f.fence and coalesce(d.worker is not null, false)""",
        [fence.request_id for fence in sent],
        [fence.number for fence in sent],
    )
    return [name for (name,) in found]


async def _look(tx: Transaction, sent: Mapping[Fence, Sent]) -> tuple[int, dict[Fence, Held]]:
    """What is held, as nobody else will change it. Its own fence is what a lapsed lease keeps until the next claim."""
    found = await tx.all(
        f"""with held as materialized (
               select d.seq, d.id, d.fence, d.receiver, d.endpoint_id, d.due_at <= moment($3) as lapsed
                 from unnest($1::text[], $2::bigint[]) as f (id, fence)
                 join delivery d on d.id = f.id and d.fence = f.fence and coalesce(d.worker is not null, false)
           ), stands as materialized (
               select n.receiver, {SENDING} as sending, {WAITS_FOR} as waits_for
                 from (select distinct receiver from held) n
           )
           select moment($3), h.id, h.fence, h.seq, h.receiver, h.endpoint_id,
                  h.endpoint_id is not null and e.id is null, e.disabled_at is not null, n.sending, n.waits_for,
                  h.lapsed
             from held h
             join stands n on n.receiver = h.receiver
             left join endpoint e on e.id = h.endpoint_id""".format(receiver="n.receiver", at="$3"),  # noqa: S608
        [fence.request_id for fence in sent],
        [fence.number for fence in sent],
        tx.at,
    )
    held = {Fence(row[1], row[2]): Held(*row[3:]) for row in map(tuple, found)}
    # In the order in which they came: that is the order in which a breaker moves.
    return (found[0][0] if found else 0), {fence: held[fence] for fence in sent if fence in held}


async def _write(tx: Transaction, noted: Sequence[tuple[Held, Sent]]) -> None:
    """Move the deliveries, which are held, each with its line in the log."""
    attempts = [(each.seq, sent.fence.number, sent.attempt) for each, sent in noted]
    await tx.run(
        """with n as materialized (
               select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::integer[], $6::bigint[],
                                    $7::bigint[], $8::integer[], $9::text[], $10::text[], $11::text[])
                        as n (seq, fence, status, due_at, number, started_at, ended_at, status_code, error_code, error,
                              response)
           ), moved as (
               update delivery d
                  set status = n.status, worker = null,
                      due_at = case when n.status = 'pending' then coalesce(n.due_at, moment($12)) end,
                      ended_at = case when n.status != 'pending' then moment($12) end,
                      status_code = n.status_code, error = n.error
                 from n
                where d.seq = n.seq and d.fence = n.fence and d.worker is not null
               returning d.seq
           )
           insert into delivery_attempt (delivery_seq, fence, number, started_at, ended_at, status_code, error_code,
                                         error, response)
           select n.seq, n.fence, n.number, n.started_at, n.ended_at, n.status_code, n.error_code, n.error, n.response
             from n join moved using (seq)""",
        [seq for seq, _, _ in attempts],
        [fence for _, fence, _ in attempts],
        [sent.status for _, sent in noted],
        [sent.due_at for _, sent in noted],
        [attempt.number for _, _, attempt in attempts],
        [attempt.started_at for _, _, attempt in attempts],
        [attempt.ended_at for _, _, attempt in attempts],
        [attempt.status_code for _, _, attempt in attempts],
        [cleaned(attempt.error_code) for _, _, attempt in attempts],
        [cleaned(attempt.error) for _, _, attempt in attempts],
        [cleaned(attempt.response) for _, _, attempt in attempts],
        tx.at,
    )


def _settle(
    noted: Sequence[tuple[Held, Sent]], locked: Mapping[str, Receiver], terms: Terms, now: int
) -> dict[str, Settled]:
    """What each receiver comes to by what was sent to it."""
    settled: dict[str, Settled] = {}
    for held, sent in noted:
        known = locked.get(held.receiver, FRESH)
        fresh = Settled(known, held.endpoint_id, held.is_held, held.sending, held.waits_for)
        each = settled.setdefault(held.receiver, fresh)
        each.sent.append(sent)
        each.sending -= not held.lapsed
        each.receiver = each.receiver.after(sent, now=now, most=terms.places)
        if sent.status is DeliveryStatus.PENDING:
            due_at = sent.due_at or now
            each.waits_for = due_at if each.waits_for is None else min(due_at, each.waits_for)
    return settled


def _wake(name: str, settled: Settled, terms: Terms, now: int) -> Wake:
    """How many of a receiver's others may go on."""
    if settled.is_held:
        return Wake(name, 0)
    receiver = replace(settled.receiver, places=min(settled.receiver.places, terms.places))
    return go_on(name, receiver, now, sending=settled.sending, waits_for=settled.waits_for)


async def _disable(tx: Transaction, settled: Mapping[str, Settled], terms: Terms, now: int) -> list[Endpoint]:
    """Disable endpoints that are gone or dead, and tell their tenants' other endpoints."""
    reasons = {name: each.reason(now, terms.disable_after) for name, each in settled.items()}
    disabled = await disable(tx, {name: reason for name, reason in reasons.items() if reason is not None})
    if disabled:
        happened = [_told(endpoint, now) for endpoint in disabled]
        tenants, types = audience(((endpoint.tenant, ENDPOINT_DISABLED) for endpoint in disabled), ends=True)
        listening = await tx.all(
            LISTENING.format(tenants="$1", types="$2") + " and p.disabled_at is null", tenants, types
        )
        await telling.write(tx, happened, listening)
    return disabled


def _told(endpoint: Endpoint, now: int) -> Happened:
    detail = disabled_detail(endpoint.url, endpoint.disabled_reason or "")
    what = Happening(new_id("evt"), endpoint.tenant, ENDPOINT_DISABLED, endpoint.id, now, detail)
    return Happened(what, None, is_end=True)

"""Takes what happened, writes the deliveries that tell of it: in the same transaction, and by one statement or none.

Who listens is asked for by the statement that writes what happened, so that it costs next to nothing where nobody does.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from raincheck.core.events import ALL, PROCESSING, PROGRESS, moment_type
from raincheck.core.ids import new_id
from raincheck.store.postgres.database import Transaction
from raincheck.store.rows import Open
from raincheck.store.telling import TOLD, Happening, Listener, Own, Told, progress_detail, tell, wants

LISTENING = """select s.tenant, s.type, p.id, p.include_result
                 from subscription s join endpoint p on p.seq = s.endpoint_seq
                where s.tenant = any({tenants}::text[]) and s.type = any({types}::text[])"""
"""Who subscribed to any of these types; what it gives is a `Subscribed`."""

Subscribed = Iterable[Any]
"""A tenant, a type, the id of an endpoint, and whether it wants results; null where nobody subscribed."""


class Happened(NamedTuple):
    """What is told to those who subscribed to it, and to the address that came with it."""

    what: Happening
    own: Own | None
    is_end: bool


def audience(happened: Iterable[tuple[str, str]], *, ends: bool) -> tuple[list[str], list[str]]:
    """The tenants and types to look for, of things that have happened to these tenants, of these types."""
    tenants, types = set[str](), set[str]()
    for tenant, type_ in happened:
        tenants.add(tenant)
        types.add(type_)
    if ends and types:
        types.add(ALL)
    return sorted(tenants), sorted(types)


async def write(tx: Transaction, happened: Iterable[Happened], subscribed: Iterable[Subscribed]) -> None:
    """One delivery to each who is to be told.

    Those of a disabled endpoint are due like any: only a claim parks, for it has the receiver locked, and so does
    whoever enables it.
    """
    listeners: dict[tuple[str, str], dict[str, Listener]] = {}
    for tenant, type_, endpoint_id, include_result in subscribed:
        if endpoint_id is not None:
            listener = Listener(endpoint_id, include_result, disabled=False)
            listeners.setdefault((tenant, type_), {})[endpoint_id] = listener
    told = [one for each in happened for one in tell(each.what, each.own, _listening(each, listeners))]
    if not told:
        return
    columns = [[getattr(one, column) for one in told] for column in Told._fields]
    await tx.run(
        f"""insert into delivery ({TOLD}, status)
            select {TOLD}, 'pending'
              from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                          $8::text[], $9::bigint[], $10::text[], $11::boolean[], $12::bigint[]) as n ({TOLD})""",  # noqa: S608
        *columns,
    )
    tx.deliveries = True


def _listening(happened: Happened, listeners: Mapping[tuple[str, str], Mapping[str, Listener]]) -> Iterable[Listener]:
    what = happened.what
    exactly = listeners.get((what.tenant, what.type), {})
    # Whoever subscribed to it by name and to everything is told once.
    return ({**exactly, **listeners.get((what.tenant, ALL), {})} if happened.is_end else exactly).values()


# --- moments before the end


def begun(request: Open, now: int) -> Happened:
    """Work on a request has begun."""
    return _moment(request, PROCESSING, now)


def came_along(request: Open, now: int, *, progress: float | None, message: str | None) -> Happened:
    """How far a request is."""
    return _moment(request, PROGRESS, now, progress_detail(progress, message))


def _moment(request: Open, moment: str, now: int, detail: str | None = None) -> Happened:
    type_ = moment_type(request.operation, moment, of=request.id)
    what = Happening(new_id("evt"), request.tenant, type_, request.id, now, detail)
    return Happened(what, own(request.webhook_url, request.webhook_events, moment, type_), is_end=False)


def own(url: str | None, events: str | None, moment: str, kind: str, *, include_result: bool = False) -> Own | None:
    """The address that came with what it happened to, if that is to be told."""
    return Own(url, include_result) if url is not None and wants(events, moment, kind) else None

"""G11: what telling costs does not depend on how much waits to be told, or was told before."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import pytest

from raincheck.core.clock import DAY, SECOND
from raincheck.core.model import Beat
from raincheck.core.webhooks import DeliveryQuery, DeliveryStatus, EndpointChange, Redelivery
from raincheck.store.postgres import open_store
from raincheck.store.protocol import Store
from tests.store.builders import (
    HOOK,
    LEASE,
    PLENTY,
    RETENTION,
    START,
    FakeClock,
    arrived,
    bounced,
    ended,
    given_up,
    listening,
    posted,
    running,
    sent,
    told,
)
from tests.store.postgres.databases import databases
from tests.store.postgres.server import psql
from tests.store.postgres.watched import Watched, watching

LARGE = {"request", "event", "delivery", "delivery_attempt", "receiver", "endpoint", "subscription", "signing_key"}
"""Tables with a row or more per request, delivery, tenant or host: none of them is ever read from end to end."""

Act = Callable[[Store, FakeClock, Watched], Awaitable[object]]

_url: ContextVar[str] = ContextVar("_url")
"""Of the database, for what only SQL can bring about."""


async def end_untold(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    await ended(store, webhook_url=None, tenant="quiet")
    assert [seen.sql for seen in watched.seen if "insert into delivery" in seen.sql] == []


async def tell(store: Store, _: FakeClock, watched: Watched) -> None:
    await listening(store, "chat.completion.processing", "chat.completion.progress", "chat.completion.completed")
    watched.start()
    lease = await running(store, webhook_url=HOOK, queue="own")
    await store.leases.extend([Beat(lease.fence, 0.5)], lease_for=LEASE)
    await store.requests.cancel("t", lease.fence.request_id)
    await ended(store, queue="own")


async def deliver(store: Store, clock: FakeClock, watched: Watched) -> None:
    watched.start()
    leases = await posted(store)
    assert len(leases) >= 4
    first, second, *others = leases
    await sent(store, given_up(first), bounced(second, clock.now() + SECOND), *map(arrived, others))
    assert await store.deliveries.next_due() is not None


async def tell_of_a_dead_one(store: Store, _: FakeClock, watched: Watched) -> None:
    endpoint = await listening(store, "chat.completion.completed", tenant="other")
    await listening(store, "webhook_endpoint.disabled", tenant="other")
    await ended(store, webhook_url=None, tenant="other", queue="own")
    watched.start()
    [lease] = [lease for lease in await posted(store) if lease.delivery.endpoint_id == endpoint.id]
    done = await sent(store, given_up(lease, gone=True))
    assert [each.id for each in done.disabled] == [endpoint.id]


async def set_a_backlog_aside(store: Store, _: FakeClock, watched: Watched) -> None:
    """One claim meets a bite of what is due for one that can have no more."""
    await asyncio.to_thread(psql, _url.get(), DUE_OF_A_DEAD_ONE)
    watched.start()
    claimed = await store.deliveries.claim(worker="w", lease_for=LEASE, limit=4, places=8, strangers=PLENTY)
    assert claimed.more
    watched.watching = False
    while (await store.deliveries.claim(worker="w", lease_for=LEASE, limit=99, places=8, strangers=PLENTY)).more:
        pass


async def look(store: Store, _: FakeClock, watched: Watched) -> None:
    [*_rest, delivery] = await told(store, limit=3)
    watched.start()
    await store.deliveries.get("t", delivery.id)
    await store.deliveries.attempts("t", delivery.id)
    for query in (
        DeliveryQuery(limit=2),
        DeliveryQuery(limit=2, status=DeliveryStatus.PENDING, since=0),
        DeliveryQuery(limit=2, endpoint_id="we_dead", after=None),
        DeliveryQuery(limit=2, object_id="req_9"),
        DeliveryQuery(limit=2, after=delivery.id),
    ):
        await store.deliveries.list("t", query)


async def send_again(store: Store, clock: FakeClock, watched: Watched) -> None:
    [*_rest, delivery] = await told(store, limit=1)
    watched.start()
    await store.deliveries.redeliver("t", delivery.id)
    for endpoint_id in (None, "we_dead"):
        count, after = await store.deliveries.redeliver_all(
            "t", Redelivery(since=START, endpoint_id=endpoint_id), after=None, limit=4
        )
        assert after is not None, (count, clock.now())
        await store.deliveries.redeliver_all(
            "t", Redelivery(since=START, endpoint_id=endpoint_id), after=after, limit=4
        )


async def manage(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    endpoint = await listening(store, "*", tenant="new")
    await store.endpoints.get("new", endpoint.id)
    for newest in (True, False):
        await store.endpoints.list("new", newest=newest, after=endpoint.id)
    await store.endpoints.update("new", endpoint.id, EndpointChange(enabled=False, event_types=("batch.failed",)))
    await store.endpoints.update("new", endpoint.id, EndpointChange(enabled=True))
    await store.endpoints.rotate("new", endpoint.id, "b", overlap=DAY)
    await store.endpoints.signing_key("new", offered="c")
    await store.endpoints.rotate("new", None, "d", overlap=DAY)
    await store.endpoints.delete("new", endpoint.id)


async def forget(store: Store, clock: FakeClock, watched: Watched) -> None:
    clock.advance(seconds=20 * DAY / SECOND)
    watched.start()
    assert await store.upkeep.purge(limit=30) == 30
    await store.endpoints.delete("t", "we_dead")
    await store.upkeep.purge(limit=30)
    await store.upkeep.tidy(limit=9)


MEANT: dict[Act, tuple[int, tuple[str, ...]]] = {
    end_untold: (0, ("subscription_pkey",)),
    tell: (0, ("subscription_pkey",)),
    deliver: (
        150,
        ("delivery_due", "delivery_sent", "delivery_id_key", "receiver_pkey", "delivery_parked", "delivery_waiting"),
    ),
    tell_of_a_dead_one: (60, ("delivery_due", "subscription_pkey")),
    set_a_backlog_aside: (1_300, ("delivery_due", "delivery_sent", "receiver_pkey")),
    look: (40, ("delivery_id_key", "delivery_listed", "delivery_of_receiver", "delivery_about")),
    send_again: (90, ("delivery_listed", "delivery_of_receiver", "delivery_id_key")),
    manage: (20, ("endpoint_id_key", "endpoint_listed", "receiver_pkey", "signing_key_pkey")),
    forget: (400, ("delivery_kept", "delivery_of_receiver", "receiver_used")),
}
"""Each act, in this order, with how many deliveries it may look at and the indexes it must use."""

DEAD = """insert into endpoint (id, tenant, name, url, event_types, include_result, signature, created_at, updated_at)
          values ('we_dead', 't', 'dead', 'https://dead.example.com/', 'never', false, 'v1', 1, 1);
          insert into receiver (name, failures, failing_since, open_until, places, used_at)
          values ('we_dead', 9, 1, 9000000000000000, 1, 1)"""
OTHERS = """insert into endpoint (id, tenant, name, url, event_types, include_result, signature, created_at, updated_at)
            select 'we_' || n, 't' || n, 'n', 'https://example.com/', '*', false, 'v1', 1, 1
              from generate_series(1, 5000) n;
            insert into subscription (tenant, type, endpoint_seq)
            select tenant, '*', seq from endpoint where id != 'we_dead';
            insert into signing_key (owner, secret, created_at) select id, 's', 1 from endpoint;
            insert into receiver (name, failures, places, used_at)
            select 't https://host-' || n, 0, 2, 1800000000000000 from generate_series(1, 1000) n"""
LOG = """insert into delivery (id, tenant, receiver, endpoint_id, url, event_id, type, object_id, created_at,
                               include_result, status, due_at)
         select 'whd_' || kind || n, 't', case kind when 'd' then 't https://host-' || n % 1000 else 'we_dead' end,
                case kind when 'd' then null else 'we_dead' end, 'https://host/', 'evt_' || n, 'chat.completion.failed',
                'req_' || n, 1790000000000000 - n, false,
                case kind when 'd' then 'delivered' when 'f' then 'failed' else 'pending' end,
                case kind when 'w' then 8000000000000000 + n end
           from generate_series(1, 10000) n, unnest(array['d', 'f', 'p', 'w']) kind;
         insert into delivery_attempt (delivery_seq, fence, number, started_at, ended_at)
         select seq, 1, 1, 1, 2 from delivery where status != 'pending'"""
"""Forty thousand: delivered, given up, parked, and waiting for their time."""
DUE_OF_A_DEAD_ONE = "update delivery set due_at = 1 where id like 'whd_p1%'"


@pytest.mark.slow("forty thousand rows, and each statement is planned and run three times")
async def test_no_act_scans_a_table_and_each_looks_at_as_many_deliveries_as_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G11: with twenty thousand others that wait for a dead receiver, and as many in the log."""
    url, clock, watched = await databases().lend(), FakeClock(), Watched()
    with watching(watched, monkeypatch):
        async with open_store(url, clock=clock.now, retention=RETENTION) as store:
            _url.set(url)
            await asyncio.to_thread(psql, url, DEAD, OTHERS, LOG, "vacuum analyze")
            for act, (most, indexes) in MEANT.items():
                await act(store, clock, watched)
                watched.watching = False
                name = act.__name__
                assert (name, watched.scanned() & LARGE) == (name, set())
                assert set(indexes) <= watched.indexes(), (name, watched.indexes())
                assert watched.rows("delivery") <= most, (name, watched.rows("delivery"))
    databases().give_back(url)

"""G11: what a statement costs does not depend on how many rows there are."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.model import Beat, Finish, Limits, Offer, Priority, Query, Remote, Tenant
from raincheck.core.outcome import Reply, Succeeded
from raincheck.core.status import Status
from raincheck.store.postgres import open_store
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    RETENTION,
    START,
    FakeClock,
    a_request,
    an_input,
    an_output,
    claimed,
    completed,
    failure,
    release,
    retry,
    running,
    submitted,
    success,
    uploaded,
    with_a_job,
)
from tests.store.postgres.databases import databases
from tests.store.postgres.server import PostgresServer, psql
from tests.store.postgres.watched import Watched, watching

LARGE = {
    *("request", "payload", "metadata", "result", "attempt", "event", "seen", "blob"),
    *("attachment", "file", "stray"),
}
"""Tables with a row or more per request or file: none of them is ever read from end to end."""

Act = Callable[[Store, FakeClock, Watched], Awaitable[object]]


async def submit(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    keyed = a_request(idempotency_key="k", fingerprint=b"f", max_pending=10**9, metadata={"k": "v"})
    await store.requests.submit([a_request(), keyed, keyed])
    assert await store.requests.repeated("t", "k") is not None
    assert [seen.sql for seen in watched.seen if "attachment" in seen.sql or "blob" in seen.sql] == []


async def get(store: Store, _: FakeClock, watched: Watched) -> None:
    request_id = await completed(store, queue="own")
    watched.start()
    await store.requests.get("t", request_id)
    await store.requests.result("t", request_id)
    await store.requests.attempts("t", request_id)
    await store.upkeep.events("t", request_id)


async def place(store: Store, _: FakeClock, watched: Watched) -> None:
    [request] = await submitted(store)
    watched.start()
    found = await store.requests.place("t", request.id)
    assert found is not None
    assert not found.exact


async def claim(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    assert len(await claimed(store, 8)) == 8


async def claim_from_several(store: Store, _: FakeClock, watched: Watched) -> None:
    await submitted(store, 3, queue="own")
    watched.start()
    offers = [Offer("small", "up", 3), Offer("small", "other", 3), Offer("own", "up", 9)]
    assert len((await store.leases.claim(offers, worker="w", lease_for=LEASE)).leases) == 9


async def claim_under_limits(store: Store, clock: FakeClock, watched: Watched) -> None:
    await store.registry.set_limits("queue", "own", Limits(rpm=5, tpm=1_000))
    await store.registry.set_limits("upstream", "own", Limits(max_concurrency="auto"))
    await submitted(store, 9, queue="own", tokens=100)
    watched.start()
    [first, *_rest] = await claimed(store, 9, queue="own", upstream="own")
    await store.leases.finish([Finish(first.fence, Succeeded(Reply(b"{}")), "own", tokens=7)])
    assert await store.leases.next_due() is not None
    clock.advance(seconds=1)


async def claim_beside_a_full_tenant(store: Store, _: FakeClock, watched: Watched) -> None:
    await submitted(store, 3, queue="crowded", tenant="crowd")
    await submitted(store, 3, queue="crowded")
    watched.start()
    assert [lease.tenant for lease in await claimed(store, 2, queue="crowded")] == ["t", "t"]


async def finish(store: Store, clock: FakeClock, watched: Watched) -> None:
    leases = [await running(store, queue="finished") for _ in range(4)]
    watched.start()
    await store.leases.extend([Beat(lease.fence, 0.5) for lease in leases], lease_for=LEASE)
    first, second, third, fourth = leases
    ends = [success(first), failure(second), retry(third, clock.now() + HOUR), release(fourth, pause_until=START + 1)]
    assert await store.leases.finish(ends) == []


async def finish_many(store: Store, _: FakeClock, watched: Watched) -> None:
    leases = await claimed(store, 40)
    watched.start()
    assert await store.leases.finish([success(lease) for lease in leases]) == []


async def cancel(store: Store, _: FakeClock, watched: Watched) -> None:
    [request] = await submitted(store)
    lease = await running(store, queue="own", priority=Priority.PRIORITY)
    watched.start()
    for request_id in (request.id, lease.fence.request_id):
        await store.requests.cancel("t", request_id)
    await store.requests.requeue("t", request.id, new_id="req_copy")
    await store.requests.delete("t", request.id)


async def wake_up(store: Store, clock: FakeClock, watched: Watched) -> None:
    await submitted(store, 5, queue="late", not_before=clock.now() + SECOND)
    await claimed(store, 5, lease_for=SECOND)
    clock.advance(seconds=1)
    watched.start()
    await claimed(store, queue="other")
    assert await store.leases.ready() >= {"small", "late"}
    assert await store.leases.next_due() is not None


async def look_around(store: Store, clock: FakeClock, watched: Watched) -> None:
    watched.start()
    assert await store.leases.ready() >= {"small"}
    assert await store.leases.next_due() is not None
    assert watched.rows("queue") == 0


async def expire(store: Store, clock: FakeClock, watched: Watched) -> None:
    await submitted(store, 9, queue="late", deadline=clock.now() + SECOND)
    clock.advance(seconds=1)
    watched.start()
    assert await store.upkeep.expire(limit=5) == 5


async def keep_names(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    await store.blobs.expect("one", keep_for=MINUTE)
    assert await store.blobs.doomed(limit=9) == []
    await store.blobs.gone(["one"])


async def attachments(store: Store, _: FakeClock, watched: Watched) -> None:
    inputs = (await an_input(store, "uploads/1"), await an_input(store, "uploads/2"))
    watched.start()
    lease = await running(store, queue="with files", attachments=inputs)
    await store.leases.finish([success(lease, attachments=(an_output(),))])
    await store.requests.result("t", lease.fence.request_id)
    await store.requests.attachments("t", lease.fence.request_id)
    await store.requests.payloads("t", [lease.fence.request_id])
    assert len(await store.requests.results("t", [lease.fence.request_id])) == 1
    other = await running(store, queue="with files", attachments=inputs)
    await store.requests.cancel("t", other.fence.request_id)
    await store.requests.requeue("t", other.fence.request_id, new_id="req_again")
    await store.requests.cancel("t", "req_again")
    await store.requests.delete("t", lease.fence.request_id)


async def strays(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    for number in range(3):
        lease = await with_a_job(store, f"job-{number}", queue="elsewhere")
        await store.requests.cancel("t", lease.fence.request_id)
    found = await store.strays.due(["up", "else"], limit=9)
    assert len(found) == 3
    await store.strays.put_off(found[:1], delay=MINUTE)
    await store.strays.swept(found[1:])
    await store.strays.add([Remote("up", "job-9")])
    assert watched.rows("stray") <= 40


async def forget_strays(store: Store, clock: FakeClock, watched: Watched) -> None:
    clock.advance(seconds=2 * DAY / SECOND)
    watched.start()
    await store.upkeep.tidy(limit=9)
    assert watched.rows("stray") <= 40


async def search_videos(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    for status in (None, Status.PENDING):
        for oldest_first in (False, True):
            query = Query(operation="video", status=status, limit=2, oldest_first=oldest_first)
            assert len((await store.requests.search("t", query)).requests) == 2


async def search(store: Store, _: FakeClock, watched: Watched) -> None:
    ordered = await submitted(store, 3, queue="listed", tenant="t7")
    watched.start()
    for oldest_first in (False, True):
        query = Query(after=ordered[1].id, limit=1, oldest_first=oldest_first)
        page = await store.requests.search("t7", query)
        assert [request.id for request in page.requests] == [ordered[2 if oldest_first else 0].id]
        query = Query(status=Status.COMPLETED, limit=2, oldest_first=oldest_first)
        assert len((await store.requests.search("t", query)).requests) == 2


async def files(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.start()
    first = await uploaded(store)
    second = await uploaded(store, "uploads/b", expires_at=START + 999 * DAY)
    for purpose in (None, "vision"):
        for newest in (True, False):
            cursor = second.id if newest else first.id
            page = await store.files.list("t", purpose=purpose, newest=newest, after=cursor)
            assert len(page.files) == 1
    await store.files.get("t", first.id)
    await store.files.delete("t", first.id)
    await store.registry.secret("links")
    assert watched.rows("file") <= 30


async def forget_files(store: Store, clock: FakeClock, watched: Watched) -> None:
    for number in range(3):
        await uploaded(store, f"uploads/late-{number}", expires_at=clock.now() + SECOND)
    clock.advance(seconds=1)
    watched.start()
    assert await store.upkeep.purge(limit=2) == 2
    watched.watching = False
    assert await store.upkeep.purge(limit=2) == 1


async def purge(store: Store, clock: FakeClock, watched: Watched) -> None:
    clock.advance(seconds=RETENTION / SECOND)
    watched.start()
    assert await store.upkeep.purge(limit=5) == 5


async def purge_for_good(store: Store, clock: FakeClock, watched: Watched) -> None:
    while await store.upkeep.purge(limit=500):
        pass
    clock.advance(seconds=RETENTION / SECOND)
    watched.start()
    assert await store.upkeep.purge(limit=5) == 5


MEANT: dict[Act, tuple[int, tuple[str, ...]]] = {
    look_around: (10, ("request_ready", "request_due")),
    submit: (9, ("flow_tenant",)),
    get: (9, ("request_id_key", "result_pkey", "event_request_seq_key")),
    place: (1_010, ("request_ready",)),
    claim: (40, ("request_ready", "request_due")),
    claim_from_several: (60, ("request_ready",)),
    claim_under_limits: (60, ("request_ready", "request_at_upstream")),
    claim_beside_a_full_tenant: (60, ("request_ready", "request_listed_status")),
    finish: (60, ("request_id_key",)),
    finish_many: (3 * 40, ("request_id_key",)),
    cancel: (30, ("request_id_key",)),
    wake_up: (60, ("request_ready", "request_due")),
    expire: (30, ("request_deadline",)),
    keep_names: (0, ("blob_pkey",)),
    attachments: (90, ("request_id_key", "attachment_pkey", "blob_pkey")),
    strays: (60, ("stray_due", "stray_pkey")),
    search: (30, ("request_listed", "request_listed_status")),
    search_videos: (30, ("request_videos", "request_videos_status")),
    files: (0, ("file_id_key", "file_listed", "file_listed_purpose", "blob_pkey")),
    forget_files: (9, ("file_expires", "blob_pkey")),
    forget_strays: (20, ("stray_since", "stray_pkey")),
    purge: (30, ("request_purge", "payload_pkey", "result_pkey", "attempt_pkey")),
    purge_for_good: (30, ("request_purge", "seen_request")),
}
"""Each act, in this order, with how many requests it may look at and the indexes it must use."""


MANY_NAMES = "insert into blob (name) select 'blob' || n from generate_series(1, 20000) n"
MANY_FILES = """insert into file (id, tenant, filename, purpose, content_type, size, digest, blob, created_at)
                select 'file' || n, 't' || n % 500, 'f', 'vision', 'image/png', 1, '', 'blob' || n, n
                  from generate_series(1, 20000) n"""
MANY_STRAYS = """insert into stray (upstream, remote_id, created_at, due_at)
                 select 'up' || n % 50, 'job' || n, n, 9000000000000000 from generate_series(1, 20000) n"""
MANY_QUEUES = "insert into queue (name) select 'idle' || n from generate_series(1, 5000) n"


async def load(store: Store) -> None:
    """Some twenty thousand requests: ready, waiting for a time, set aside, and completed."""
    await submitted(store, 3, queue="small/video", operation="video.edit")
    for batch in range(4):
        many = range(2_500)
        backoff = [a_request(priority=Priority.PRIORITY, not_before=START + 99 * DAY) for _ in many]
        ready = [
            a_request(tenant=f"t{each % 500}", metadata={"k": "v"}, idempotency_key=f"{batch}-{each}", fingerprint=b"f")
            for each in many
        ]
        for lot in (backoff, ready):
            await store.requests.submit(lot)
    await store.registry.put_tenant(Tenant("crowd", max_running=1))
    await submitted(store, 500, queue="crowded", tenant="crowd")
    await claimed(store, 2, queue="crowded")
    await submitted(store, 2_000, queue="done")
    leases = await claimed(store, 2_000, queue="done")
    named = [Finish(lease.fence, Succeeded(_apart(lease.fence.request_id))) for lease in leases]
    assert await store.leases.finish(named) == []


def _apart(blob: str) -> Reply:
    """An answer in the object store, with a file."""
    return Reply(b"", blob=blob, size=9, attachments=(an_output(f"outputs/{blob}"),))


@pytest.mark.slow("twenty thousand rows, and each statement is planned and run three times")
async def test_no_act_scans_a_table_and_each_looks_at_as_many_rows_as_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G11: with twenty thousand others in backoff, ready and set aside."""
    url, clock, watched = await databases().lend(), FakeClock(), Watched()
    with watching(watched, monkeypatch):
        async with open_store(url, clock=clock.now, retention=RETENTION) as store:
            await load(store)
            await asyncio.to_thread(psql, url, MANY_NAMES, MANY_FILES, MANY_STRAYS, MANY_QUEUES, "vacuum analyze")
            for act, (most, indexes) in MEANT.items():
                await act(store, clock, watched)
                watched.watching = False
                name = act.__name__
                assert (name, watched.scanned() & LARGE) == (name, set())
                assert set(indexes) <= watched.indexes(), (name, watched.indexes())
                assert watched.rows("request") <= most, (name, watched.rows("request"))
    databases().give_back(url)


@pytest.mark.slow("starts a server that analyzes nothing, and submits 20,000 requests")
async def test_a_new_store_is_not_read_through_before_anybody_analyzed_it() -> None:
    """G11: a plan that was made while the tables were small is not kept."""
    with PostgresServer(autovacuum="off") as server:
        async with open_store(server.url()) as store:
            await _turns(store, 10)
            for _ in range(20):
                await submitted(store, 1_000)
            before = server.psql(ROWS_READ)
            await _turns(store, 20)
        # The connections are closed by now: only then does each of them say how much it has read. A place counts up to
        # a thousand rows; reading through them would be more than a million.
        assert int(server.psql(ROWS_READ)) - int(before or 0) < 20 * 1_000 + 5_000


ROWS_READ = """select coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)
                 from pg_stat_user_tables where relname = 'request'"""


async def _turns(store: Store, count: int) -> None:
    for _ in range(count):
        [request] = await submitted(store)
        await store.requests.get("t", request.id)
        await store.requests.place("t", request.id)
        await store.requests.cancel("t", request.id)
        lease = await running(store, queue="own")
        await store.leases.finish([success(lease)])
        [lease] = await claimed(store) or [lease]
        await store.leases.finish([retry(lease, 0)])
        await store.leases.ready()
        await store.leases.next_due()

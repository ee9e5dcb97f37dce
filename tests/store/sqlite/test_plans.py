"""G11: what a statement costs does not depend on how many rows there are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec.structs import replace

from raincheck.core.batches import BATCH_KEPT, BatchDialect, Conclusion, LineError
from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.model import Beat, Limits, Priority, Query, Remote, Tenant, Worker
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store.builders import (
    LEASE,
    RETENTION,
    START,
    FakeClock,
    a_batch,
    a_broken_line,
    a_line,
    a_part,
    a_request,
    an_input,
    an_open_batch,
    an_output,
    capped,
    claimed,
    completed,
    failure,
    fed,
    feed,
    leased,
    release,
    retry,
    running,
    submitted,
    success,
    under_way,
    uploaded,
    with_a_job,
)
from tests.store.sqlite.watched import Watched, watching

Answer = TypeVar("Answer")
Act = Callable[[Store, FakeClock, Watched], Awaitable[object]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def store(folder: Path, clock: FakeClock, watched: Watched) -> AsyncIterator[Store]:
    with watching(watched):
        async with open_store(folder / "store.db", clock=clock.now, retention=RETENTION) as store:
            yield store


async def claim(store: Store, clock: FakeClock, watched: Watched) -> None:
    await running(store)
    await submitted(store)
    await submitted(store, not_before=START + LEASE)
    clock.advance(seconds=LEASE / SECOND)
    watched.reset()
    assert len(await claimed(store, 9)) == 3


async def submit(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.reset()
    plain = a_request()
    keyed = a_request(idempotency_key="k", fingerprint=b"f", max_pending=9)
    await store.requests.submit([plain, keyed, keyed])
    assert await store.requests.repeated("t", "k") is not None


async def get(store: Store, _: FakeClock, watched: Watched) -> None:
    request_id = await completed(store)
    watched.reset()
    await store.requests.get("t", request_id)
    await store.requests.result("t", request_id)
    await store.requests.attempts("t", request_id)
    await store.upkeep.events("t", request_id)


async def place(store: Store, _: FakeClock, watched: Watched) -> None:
    *_others, last = await submitted(store, 1_200)
    watched.reset()
    found = await store.requests.place("t", last.id)
    assert found is not None
    assert not found.exact


async def cancel(store: Store, _: FakeClock, watched: Watched) -> None:
    [request] = await submitted(store)
    lease = await running(store, queue="other")
    watched.reset()
    for request_id in (request.id, lease.fence.request_id):
        await store.requests.cancel("t", request_id)
    await store.requests.requeue("t", request.id, new_id="req_copy")
    await store.requests.delete("t", request.id)


async def finish(store: Store, _: FakeClock, watched: Watched) -> None:
    first, second, third, fourth = [await running(store) for _ in range(4)]
    await capped(store, 9)
    watched.reset()
    await store.leases.extend([Beat(first.fence)], lease_for=LEASE)
    ends = [success(first), failure(second), retry(third, START + HOUR), release(fourth, pause_until=START + 1)]
    assert await store.leases.finish(ends) == []


async def claim_with_limits(store: Store, _: FakeClock, watched: Watched) -> None:
    limits = Limits(max_concurrency="auto", rpm=9, tpm=900)
    await store.registry.set_limits("queue", "small", limits)
    await store.registry.set_limits("upstream", "up", limits)
    await store.registry.put_tenant(Tenant("capped", max_running=1))
    first = await running(store, tenant="capped", tokens=10)
    await submitted(store, 3, tenant="capped")
    await submitted(store, 3, tokens=10)
    watched.reset()
    assert len(await claimed(store, 2)) == 2
    assert await claimed(store, 9) != []
    assert await store.leases.finish([replace(success(first), tokens=99)]) == []
    assert len(await claimed(store, 1)) == 1
    await store.registry.put_tenant(Tenant("capped"))
    assert await store.leases.next_due() is not None
    await store.registry.throttles("upstream")


async def workers(store: Store, _: FakeClock, watched: Watched) -> None:
    await running(store)
    watched.reset()
    await store.registry.put_worker(Worker(name="w", host="h", pid=1, version="1", started_at=1, seen_at=1))
    await store.registry.workers()
    await store.registry.drop_worker("w")


async def blobs(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.reset()
    await store.blobs.expect("a", keep_for=0)
    await store.blobs.expect("b", keep_for=HOUR)
    lease = await running(store)
    await store.leases.finish([success(lease, b"", blob="b", size=9)])
    await store.requests.delete("t", lease.fence.request_id)
    assert await store.blobs.doomed(limit=9) == ["a", "b"]
    await store.blobs.gone(["a", "b"])


async def attachments(store: Store, _: FakeClock, watched: Watched) -> None:
    inputs = (await an_input(store, "uploads/1"), await an_input(store, "uploads/2"))
    watched.reset()
    lease = await running(store, attachments=inputs)
    await store.leases.finish([success(lease, attachments=(an_output(),))])
    await store.requests.result("t", lease.fence.request_id)
    await store.requests.attachments("t", lease.fence.request_id)
    await store.requests.payloads("t", [lease.fence.request_id])
    assert len(await store.requests.results("t", [lease.fence.request_id])) == 1
    other = await running(store, attachments=inputs)
    await store.requests.cancel("t", other.fence.request_id)
    await store.requests.requeue("t", other.fence.request_id, new_id="req_copy")
    await store.requests.delete("t", lease.fence.request_id)


async def strays(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.reset()
    for number in range(3):
        lease = await with_a_job(store, f"job-{number}")
        await store.requests.cancel("t", lease.fence.request_id)
    found = await store.strays.due(["up", "else"], limit=9)
    assert len(found) == 3
    await store.strays.put_off(found[:1], delay=MINUTE)
    await store.strays.swept(found[1:])
    await store.strays.add([Remote("up", "job-9")])


async def files(store: Store, clock: FakeClock, watched: Watched) -> None:
    watched.reset()
    first = await uploaded(store)
    second = await uploaded(store, "uploads/b", expires_at=START + HOUR)
    for purpose in (None, "vision"):
        for newest in (True, False):
            cursor = second.id if newest else first.id
            page = await store.files.list("t", purpose=purpose, newest=newest, after=cursor)
            assert len(page.files) == 1
    await store.files.get("t", first.id)
    await store.files.delete("t", first.id)
    await store.registry.secret("links")
    clock.advance(seconds=HOUR / SECOND)
    assert await store.upkeep.purge(limit=9) == 1


async def wake_up(store: Store, clock: FakeClock, watched: Watched) -> None:
    await submitted(store, not_before=START + MINUTE)
    watched.reset()
    assert await store.leases.next_due() == START + MINUTE
    clock.advance(seconds=60)
    await claimed(store, queue="other")
    assert await store.leases.ready() == {"small"}


async def expire(store: Store, clock: FakeClock, watched: Watched) -> None:
    await submitted(store, deadline=START + MINUTE)
    clock.advance(seconds=60)
    watched.reset()
    assert await store.upkeep.expire(limit=9) == 1


async def purge(store: Store, clock: FakeClock, watched: Watched) -> None:
    await completed(store, fingerprint=b"f", repeat_until=START + DAY)
    clock.advance(seconds=RETENTION / SECOND)
    watched.reset()
    assert await store.upkeep.purge(limit=9) == 2
    clock.advance(seconds=RETENTION / SECOND)
    assert await store.upkeep.purge(limit=9) == 1


async def search(store: Store, _: FakeClock, watched: Watched) -> None:
    requests = await submitted(store, 3)
    watched.reset()
    for oldest_first in (False, True):
        await store.requests.search("t", Query(after=requests[1].id, metadata={"k": "v"}, oldest_first=oldest_first))


async def search_by_status(store: Store, _: FakeClock, watched: Watched) -> None:
    requests = await submitted(store, 3)
    watched.reset()
    for oldest_first in (False, True):
        await store.requests.search("t", Query(after=requests[1].id, status=Status.PENDING, oldest_first=oldest_first))


async def search_videos(store: Store, _: FakeClock, watched: Watched) -> None:
    videos = await submitted(store, 3, operation="video.edit")
    watched.reset()
    for operation in ("video", "video.edit"):
        page = await store.requests.search("t", Query(after=videos[1].id, operation=operation))
        assert [request.id for request in page.requests] == [videos[0].id]
        page = await store.requests.search("t", Query(after=videos[1].id, operation=operation, oldest_first=True))
        assert [request.id for request in page.requests] == [videos[2].id]


async def search_videos_by_status(store: Store, _: FakeClock, watched: Watched) -> None:
    videos = await submitted(store, 3, operation="video.edit")
    watched.reset()
    query = Query(after=videos[1].id, operation="video", status=Status.PENDING)
    for oldest_first in (False, True):
        page = await store.requests.search("t", replace(query, oldest_first=oldest_first))
        assert len(page.requests) == 1


async def count(store: Store, _: FakeClock, watched: Watched) -> None:
    await running(store)
    watched.reset()
    await store.registry.queues()
    await store.upkeep.gauges()


async def hand_in_batches(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.reset()
    new = a_batch(idempotency_key="k", fingerprint=b"f", repeat_until=START + HOUR)
    await store.batches.create(new)
    await store.batches.create(new)
    batch = (await store.batches.create(an_open_batch())).batch
    for part in (a_part("a", "b", idempotency_key="k"), a_part("c", fingerprint=b"f", is_retry=True)) * 2:
        await store.batches.add("t", batch.id, part)
    for dialect in (None, BatchDialect.XAI):
        await store.batches.list("t", dialect=dialect, after=batch.id)
    await store.batches.paces(["small"])


async def feed_a_batch(store: Store, _: FakeClock, watched: Watched) -> None:
    watched.reset()
    lease = await under_way(store, 3)
    await feed(store, lease, [a_line(1), a_broken_line(2), a_line(3)])
    await store.batches.extend(lease.fence, lease_for=LEASE)
    assert await store.batches.rise(lease.fence, Priority.DEFAULT, limit=9) == 2
    await store.batches.release(lease.fence, due_at=START, total=3)
    assert await store.batches.next_due() == START
    await leased(store)


async def read_a_batch(store: Store, _: FakeClock, watched: Watched) -> None:
    lease = await fed(store, 2)
    first, _second = await claimed(store, 2)
    await store.leases.finish([success(first)])
    watched.reset()
    batch_id = lease.batch.id
    await store.batches.get("t", batch_id)
    assert len(await store.batches.rows("t", batch_id, limit=9)) == 2
    assert len(await store.batches.results("t", batch_id, limit=9)) == 2
    assert len(await store.batches.ended("t", batch_id, limit=9)) == 1
    assert await store.batches.row("t", batch_id, "line-1") is not None
    assert len(await store.batches.parts("t", batch_id, limit=99)) == 1
    await store.batches.events("t", batch_id)


async def end_a_batch(store: Store, clock: FakeClock, watched: Watched) -> None:
    lease = await fed(store, 3)
    first, second = await claimed(store, 2)
    bad = await store.batches.create(a_batch(tenant="else"))
    refused = await leased(store, bad.batch)
    watched.reset()
    await store.batches.refuse(refused.fence, [LineError("bad", "bad")])
    await store.leases.finish([success(first)])
    await store.batches.cancel("t", lease.batch.id, limit=1)
    lease = await leased(store)
    assert await store.batches.stop(lease.fence, limit=9) == 1
    await store.batches.conclude(lease.fence, Conclusion())
    await store.requests.delete("t", second.fence.request_id)
    clock.advance(seconds=BATCH_KEPT / SECOND)
    while await store.upkeep.purge(limit=9) > 0:
        pass


BY_ID = "sqlite_autoindex_request_1 (id=?)"
MEANT: dict[Act, tuple[str, ...]] = {
    claim: ("request_ready (queue=?)", "request_due (due_at<?)"),
    submit: ("flow_tenant (tenant=?)",),
    get: (BY_ID, "sqlite_autoindex_event_2 (request_seq=?)"),
    place: ("request_ready (queue=? AND (priority,tag)<(?,?))", BY_ID),
    cancel: (BY_ID,),
    finish: (BY_ID,),
    claim_with_limits: (
        "request_ready (queue=?)",
        "request_running (queue=?)",
        "request_at_upstream (upstream=?)",
        "request_listed_status (tenant=? AND status=?)",
        "request_parked (tenant=? AND queue=?)",
        "PRIMARY KEY (scope=? AND name=? AND second",
    ),
    workers: ("request_at_upstream",),
    blobs: ("blob_doomed (doomed_at<?)",),
    attachments: ("PRIMARY KEY (seq=? AND role=?)", "PRIMARY KEY (seq=?)", BY_ID),
    strays: ("stray_due (upstream=? AND due_at<?)",),
    files: (
        "file_listed (tenant=? AND seq<?)",
        "file_listed (tenant=? AND seq>?)",
        "file_listed_purpose (tenant=? AND purpose=? AND seq<?)",
        "file_listed_purpose (tenant=? AND purpose=? AND seq>?)",
        "file_expires (expires_at<?)",
    ),
    wake_up: ("request_due", "request_ready (queue>?)", "queue_held (held_until>?)"),
    expire: ("request_deadline (deadline<?)",),
    purge: ("request_purge (purge_at<?)", "seen_request (request_seq=?)", "seen_expires (expires_at<?)"),
    search: ("request_listed (tenant=? AND seq<?)", "request_listed (tenant=? AND seq>?)"),
    search_by_status: (
        "request_listed_status (tenant=? AND status=? AND seq<?)",
        "request_listed_status (tenant=? AND status=? AND seq>?)",
    ),
    search_videos: ("request_videos (tenant=? AND seq<?)", "request_videos (tenant=? AND seq>?)"),
    search_videos_by_status: (
        "request_videos_status (tenant=? AND status=? AND seq<?)",
        "request_videos_status (tenant=? AND status=? AND seq>?)",
    ),
    count: ("request_running (queue=?)",),
    hand_in_batches: (
        "batch_repeated (tenant=? AND repeat_key=?)",
        "batch_part_repeated (batch_seq=? AND repeat_key>? AND repeat_key<?)",
        "batch_row_named (batch_seq=? AND custom_id=?)",
        "batch_listed (tenant=? AND seq<?)",
        "batch_listed_dialect (tenant=? AND dialect=? AND seq<?)",
    ),
    feed_a_batch: ("batch_due (due_at<?)", "request_of_batch (batch_seq=?)", "PRIMARY KEY (batch_seq=? AND line=?)"),
    read_a_batch: (
        "PRIMARY KEY (batch_seq=? AND line>? AND line<?)",
        "batch_row_ended (batch_seq=? AND ended>?)",
        "batch_row_named (batch_seq=? AND custom_id=?)",
        "sqlite_autoindex_event_3 (batch_seq=?)",
    ),
    end_a_batch: ("request_of_batch (batch_seq=?)", "batch_purge (purge_at<?)"),
}
"""The indexes each act must use."""

SMALL = {
    *("queue", "ready", "throttle", "parked", "worker", "w", "h", "json_each", "wanted", "had"),
    *("(subquery-1)", "(subquery-2)", "CONSTANT", "3", "2"),
}
"""What may be read from end to end: one row per queue, limit, or worker, the parts of one query, and what a bounded
read found. (Of `parked`, acts ask whether there is any row.)"""


@pytest.mark.parametrize("act", MEANT, ids=lambda act: act.__name__)
async def test_the_index_that_is_meant_is_used_and_no_table_is_scanned(
    store: Store, clock: FakeClock, watched: Watched, act: Act
) -> None:
    """G11."""
    await act(store, clock, watched)
    plans = watched.plans()
    for index in MEANT[act]:
        assert any(index in plan for plan in plans), (index, plans)
    for plan in plans:
        # `workers` counts what runs now, and no more than that, by worker.
        assert "TEMP B-TREE" not in plan or act is workers, plans
        words = plan.split()
        assert words[0] != "SCAN" or words[1] in SMALL or "INDEX request_at_upstream" in plan, plans


async def cost_of_each_act(folder: Path, others: int) -> dict[str, int]:
    """Steps of SQLite's machine for each act, beside so many requests that wait, are set aside, or are ready."""
    clock = FakeClock()
    watched = Watched()
    costs, exits = dict[str, int](), AsyncExitStack()

    async def measured(name: str, work: Awaitable[object]) -> None:
        watched.reset()
        await work
        costs[name] = watched.steps

    with watching(watched):
        opening = open_store(folder / f"{others}.db", clock=clock.now, retention=RETENTION)
        store = await exits.enter_async_context(opening)
    async with exits:
        await store.registry.put_tenant(Tenant("capped", max_running=1))
        await store.registry.set_limits("queue", "small", Limits(max_concurrency=50, rpm=500, tpm=10**6))
        full = [a_request(tenant="capped", priority=Priority.PRIORITY) for _ in range(others // 3)]
        await store.requests.submit(full)
        while len(await claimed(store)) != 0 or (await store.requests.get("capped", full[-1].id)).parked is False:
            pass
        waiting = [a_request(priority=Priority.PRIORITY, not_before=START + DAY) for _ in range(others // 3)]
        await store.requests.submit(waiting)
        await store.requests.submit([a_request(tenant="else") for _ in range(others // 3)])
        [mine, ours] = await submitted(store, 2)
        await measured("submit", store.requests.submit([a_request(max_pending=10**6)]))
        await measured("get", store.requests.get("t", mine.id))
        await measured("claim", claimed(store, 8))
        await measured("look", store.leases.next_due())
        [lease] = await claimed(store)
        await measured("extend", store.leases.extend([Beat(lease.fence)], lease_for=LEASE))
        await measured("finish", store.leases.finish([success(lease)]))
        await measured("cancel", store.requests.cancel("t", ours.id))
        await measured("expire", store.upkeep.expire(limit=9))
        await measured("search", store.requests.search("t", Query(limit=9)))
        await measured("videos", store.requests.search("t", Query(operation="video", limit=9)))
        await measured("queues", store.leases.ready())
    return costs


@pytest.mark.slow("twenty thousand rows")
async def test_each_act_takes_as_many_steps_beside_twenty_thousand_rows_as_beside_a_hundred(folder: Path) -> None:
    """G11: a third of them wait for a time, a third are set aside, a third are ready."""
    few, many = [await cost_of_each_act(folder, others) for others in (100, 20_000)]
    assert all(few.values())
    assert {name: steps for name, steps in many.items() if steps > 1.3 * few[name]} == {}


async def cost_of_each_act_on_a_batch(folder: Path, lines: int) -> dict[str, int]:
    """Steps of SQLite's machine for each act on a batch that has so many lines, half of them fed, a quarter ended."""
    clock = FakeClock()
    watched = Watched()
    costs = dict[str, int]()

    async def measured(name: str, work: Awaitable[Answer]) -> Answer:
        watched.reset()
        answer = await work
        costs[name] = watched.steps
        return answer

    exits = AsyncExitStack()
    with watching(watched):
        opening = open_store(folder / f"{lines}.db", clock=clock.now, retention=RETENTION)
        store = await exits.enter_async_context(opening)
    async with exits:
        batch = (await store.batches.create(an_open_batch())).batch
        for start in range(1, lines, 20):
            await store.batches.add("t", batch.id, a_part(*(f"line-{start + number}" for number in range(20))))
        lease, half = await leased(store, batch), lines // 2
        await feed(store, lease, [a_line(number) for number in range(1, half + 1)])
        await store.leases.finish([success(each) for each in await claimed(store, half // 2)])
        await measured("add", store.batches.add("t", batch.id, a_part("one", "more")))
        await measured("feed", feed(store, lease, [a_line(half + 1), a_broken_line(half + 2)]))
        await measured("release", store.batches.release(lease.fence, due_at=START, total=lines))
        lease = await measured("lease", leased(store, batch))
        [request] = await measured("claim", claimed(store))
        await measured("finish", store.leases.finish([success(request)]))
        await measured("rise", store.batches.rise(lease.fence, Priority.FLEX, limit=9))
        await measured("get", store.batches.get("t", batch.id))
        await measured("rows", store.batches.rows("t", batch.id, after=half - 9, limit=9))
        await measured("last rows", store.batches.rows("t", batch.id, after=half + 2, limit=9))
        await measured("first results", store.batches.results("t", batch.id, limit=9))
        await measured("first ended", store.batches.ended("t", batch.id, limit=9))
        await measured("ended", store.batches.ended("t", batch.id, after=half // 2 - 9, limit=9))
        await measured("row", store.batches.row("t", batch.id, f"line-{half}"))
        await measured("cancel", store.batches.cancel("t", batch.id, limit=9))
    return costs


@pytest.mark.slow("ten thousand lines")
async def test_each_act_on_a_batch_takes_as_many_steps_with_ten_thousand_lines_as_with_a_hundred(folder: Path) -> None:
    """G11."""
    few, many = [await cost_of_each_act_on_a_batch(folder, lines) for lines in (100, 10_000)]
    assert all(few.values())
    assert {name: (steps, few[name]) for name, steps in many.items() if steps > 1.3 * few[name]} == {}

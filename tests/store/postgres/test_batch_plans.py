"""G11: what a step of a batch costs does not depend on how many lines it has, nor on how many batches there are."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count

import pytest

from raincheck.core.batches import BATCH_KEPT, BatchDialect, BatchLease, Conclusion, NewRow
from raincheck.core.model import Priority
from raincheck.store.postgres import open_store
from raincheck.store.protocol import Store
from tests.store.builders import (
    LEASE,
    RETENTION,
    START,
    FakeClock,
    a_batch,
    a_line,
    a_part,
    an_open_batch,
    claimed,
    fed,
    feed,
    leased,
    success,
    the,
    under_way,
)
from tests.store.postgres.databases import databases
from tests.store.postgres.server import psql
from tests.store.postgres.watched import Watched, watching

LARGE = {"request", "payload", "result", "attempt", "event", "batch", "batch_row", "batch_part", "batch_queue"}
LINES = 5_000
_names = count(1)


class Scene:
    """A store with a large batch, half of which is fed, and the lease on it."""

    def __init__(self, url: str, store: Store, lease: BatchLease, watched: Watched) -> None:
        self.url, self.store, self.lease, self.watched = url, store, lease, watched


Act = Callable[[Scene], Awaitable[object]]


async def load(store: Store) -> BatchLease:
    lease = await under_way(store, 2 * LINES, expires_at=START + 9 * BATCH_KEPT)
    for first in range(1, LINES, 500):
        await feed(store, lease, [line(number) for number in range(first, first + 500)])
    await store.leases.finish([success(each) for each in await claimed(store, 2_000)])
    return lease


def line(number: int) -> NewRow:
    return a_line(number, deadline=START + 9 * BATCH_KEPT)


async def feed_lines(scene: Scene) -> None:
    next_line = (await the(scene.store, scene.lease)).counts.fed + 1
    scene.watched.start()
    await feed(scene.store, scene.lease, [line(number) for number in range(next_line, next_line + 100)])
    assert len(scene.watched.seen) <= 5


async def finish_rows(scene: Scene) -> None:
    leases = await claimed(scene.store, 40)
    scene.watched.start()
    await scene.store.leases.finish([success(each) for each in leases])


async def claim_and_release(scene: Scene) -> None:
    await scene.store.batches.create(a_batch())
    scene.watched.start()
    lease = await leased(scene.store)
    await scene.store.batches.extend(lease.fence, lease_for=LEASE)
    await scene.store.batches.release(lease.fence, due_at=START + 9 * BATCH_KEPT, total=lease.batch.counts.total)
    assert await scene.store.batches.next_due() is not None


async def create_and_add(scene: Scene) -> None:
    scene.watched.start()
    news = [a_batch(), an_open_batch(), an_open_batch(idempotency_key=f"{next(_names)}", fingerprint=b"f")]
    for new in (*news, news[2]):
        await scene.store.batches.create(new)
    await scene.store.batches.add("t", news[1].id, a_part("one", "two", idempotency_key="k"))
    await scene.store.batches.add("t", news[1].id, a_part("one", "two", idempotency_key="k"))
    await scene.store.batches.add("t", news[1].id, a_part("three"))
    for name in ("four", "again"):
        await scene.store.batches.add("t", news[1].id, a_part(name, fingerprint=b"f", is_retry=True))
    await scene.store.batches.cancel("t", news[0].id, limit=5)
    scene.watched.watching = False
    for new in news[1:]:
        await scene.store.batches.cancel("t", new.id, limit=5)


async def read(scene: Scene) -> None:
    batches, batch_id = scene.store.batches, scene.lease.batch.id
    scene.watched.start()
    await batches.get("t", batch_id)
    assert len(await batches.results("t", batch_id, after=1_000, limit=9)) == 9
    assert len(await batches.rows("t", batch_id, after=1_000, limit=9)) == 9
    assert len(await batches.ended("t", batch_id, after=1_000, limit=9)) == 9
    assert await batches.row("t", batch_id, "line-77") is not None
    assert len(await batches.parts("t", batch_id, limit=99)) == 1
    await batches.events("t", batch_id)
    for dialect in (None, BatchDialect.OPENAI):
        after = (await batches.list("t2", dialect=dialect, limit=5)).batches[1].id
        assert len((await batches.list("t2", dialect=dialect, after=after, limit=5)).batches) == 5


async def rise(scene: Scene) -> None:
    scene.watched.start()
    assert await scene.store.batches.rise(scene.lease.fence, Priority.FLEX, limit=40) == 40


async def run_one_to_its_end(scene: Scene) -> None:
    lease = await fed(scene.store, 4, queue="own")
    scene.watched.start()
    await scene.store.batches.cancel("t", lease.batch.id, limit=1)
    lease = await leased(scene.store)
    assert await scene.store.batches.stop(lease.fence, limit=9) == 3
    await scene.store.batches.conclude(lease.fence, Conclusion())


async def cancel(scene: Scene) -> None:
    scene.watched.start()
    await scene.store.batches.cancel("t", scene.lease.batch.id, limit=20)
    scene.lease = await leased(scene.store)
    assert await scene.store.batches.stop(scene.lease.fence, limit=20) == 20


async def purge(scene: Scene) -> None:
    due = (
        "update batch set purge_at = 1 where seq in (select seq from batch where id like 'old%' order by seq limit 30)"
    )
    await asyncio.to_thread(psql, scene.url, due)
    scene.watched.start()
    assert [await scene.store.upkeep.purge(limit=20) for _ in range(5)] == [20, 20, 20, 20, 10]


MEANT: dict[Act, tuple[int, tuple[str, ...]]] = {
    feed_lines: (0, ("batch_id_key",)),
    finish_rows: (3 * 40, ("batch_pkey", "batch_row_pkey", "request_id_key")),
    claim_and_release: (0, ("batch_due",)),
    read: (60, ("batch_row_pkey", "batch_row_ended", "batch_row_named", "batch_listed", "batch_listed_dialect")),
    rise: (130, ("request_of_batch",)),
    run_one_to_its_end: (40, ("request_of_batch",)),
    cancel: (130, ("request_of_batch",)),
    create_and_add: (0, ("batch_repeated", "batch_part_repeated")),
    purge: (60, ("batch_purge",)),
}
"""Each act, in this order, with how many requests it may look at and the indexes it must use."""

MANY_BATCHES = """
    insert into batch (id, tenant, dialect, status, sealed, completion_window, created_at, ended_at, expires_at,
                       purge_at)
    select 'old' || n, 't' || n % 5, case n % 2 when 0 then 'openai' else 'xai' end, 'completed', true, '24h', n, n, n,
           9000000000000000
      from generate_series(1, 20000) n"""
MANY_PARTS = """insert into batch_part (batch_seq, position, first_line, size, digest, blob)
                select seq, 0, 1, 1, '', 'b' from batch where id like 'old%'"""
MANY_ROWS = """insert into batch_row (batch_seq, line, custom_id, ended, error)
               select seq, 1, 'line-1', 1, '{}' from batch where id like 'old%'"""
MANY_QUEUES = "insert into batch_queue (batch_seq, queue, unfed) select seq, 'q', 0 from batch where id like 'old%'"


@pytest.mark.slow("thousands of rows, and each statement is planned and run three times")
async def test_no_step_of_a_batch_scans_a_table_and_each_looks_at_as_many_rows_as_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """G11: with ten thousand lines and twenty thousand other batches."""
    url, clock, watched = await databases().lend(), FakeClock(), Watched()
    with watching(watched, monkeypatch):
        async with open_store(url, clock=clock.now, retention=RETENTION) as store:
            scene = Scene(url, store, await load(store), watched)
            many = (MANY_BATCHES, MANY_PARTS, MANY_ROWS, MANY_QUEUES, "vacuum analyze")
            await asyncio.to_thread(psql, url, *many)
            await store.batches.extend(scene.lease.fence, lease_for=99 * BATCH_KEPT)
            for act, (most, indexes) in MEANT.items():
                await act(scene)
                watched.watching = False
                name = act.__name__
                assert (name, watched.scanned() & LARGE) == (name, set())
                assert set(indexes) <= watched.indexes(), (name, watched.indexes())
                assert watched.rows("request") <= most, (name, watched.rows("request"))
                assert watched.rows("batch") <= 250, (name, watched.rows("batch"))
    databases().give_back(url)

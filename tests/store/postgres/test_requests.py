"""What `protocol.Requests` promises when several processes submit, cancel and forget at the same moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from raincheck.core.errors import AttachmentGone, BadInput, IdempotencyConflict, NotFound, QuotaExceeded, RaincheckError
from raincheck.core.model import Attachment, NewRequest, Query, Submitted
from raincheck.core.status import Status
from raincheck.store.postgres import arrivals, open_store
from raincheck.store.postgres.database import Database, Transaction, connect
from raincheck.store.protocol import Store
from tests.store.builders import (
    RETENTION,
    FakeClock,
    a_request,
    accepted,
    claimed,
    completed,
    events,
    submitted,
    uploaded,
)
from tests.store.postgres.databases import databases

Processes = list[Store]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    url = await databases().lend()
    yield url
    databases().give_back(url)


@pytest.fixture
async def processes(url: str) -> AsyncIterator[Processes]:
    """Stores that share one database, as those of four processes do."""
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_store(url, clock=clock.now, retention=RETENTION)) for _ in range(4)]


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The same database, for looking at it and for stopping half-way."""
    database = await connect(url, FakeClock().now)
    yield database
    await database.close()


async def keys(database: Database) -> int:
    [row] = await database.all("select count(*) from seen")
    return row[0]


def keyed(number: int, fingerprint: bytes = b"same") -> NewRequest:
    return a_request(idempotency_key=f"k{number}", fingerprint=fingerprint)


async def test_a_key_that_comes_to_many_processes_at_once_is_one_request(processes: Processes) -> None:
    """G9."""
    batches = [[keyed(number) for number in (range(20) if odd else reversed(range(20)))] for odd in (True, False)]
    answers = await asyncio.gather(
        *(store.requests.submit(batches[turn % 2]) for turn, store in enumerate(processes * 3))
    )
    all_of_them = [accepted(answer) for batch in answers for answer in batch]
    assert [answer.repeated for answer in all_of_them].count(False) == 20
    assert len({answer.request.id for answer in all_of_them}) == 20
    [queue] = await processes[0].registry.queues()
    assert queue.pending == 20


async def test_of_two_bodies_that_come_with_one_key_at_once_one_is_a_conflict(processes: Processes) -> None:
    """G9."""
    [one], [two] = await asyncio.gather(
        processes[0].requests.submit([keyed(1, b"one")]), processes[1].requests.submit([keyed(1, b"two")])
    )
    assert {type(one), type(two)} > {IdempotencyConflict}


async def test_a_cap_on_pending_requests_holds_over_all_processes(processes: Processes) -> None:
    """G7."""
    answers = await asyncio.gather(
        *(
            store.requests.submit([a_request(queue=f"q{number}", max_pending=25) for number in range(10)])
            for store in processes
        )
    )
    refused = [isinstance(answer, QuotaExceeded) for batch in answers for answer in batch]
    assert refused.count(False) == 25
    assert sum(queue.pending for queue in await processes[0].registry.queues()) == 25


async def test_a_key_whose_request_was_refused_is_free_again(processes: Processes, database: Database) -> None:
    """G9."""
    store = processes[0]
    refused = a_request(idempotency_key="k", fingerprint=b"one", max_pending=0)
    assert isinstance((await store.requests.submit([refused]))[0], QuotaExceeded)
    assert await keys(database) == 0
    [answer] = await store.requests.submit([a_request(idempotency_key="k", fingerprint=b"two")])
    assert not accepted(answer).repeated


async def test_a_request_cancelled_by_many_processes_at_once_ends_once(processes: Processes) -> None:
    """G6."""
    requests = (await submitted(processes[0], 60))[:10]
    answers = await asyncio.gather(
        *(store.requests.cancel("t", request.id) for request in requests for store in processes)
    )
    assert {answer.status for answer in answers} == {Status.CANCELLED}
    for request in requests:
        assert await events(processes[1], request.id) == ["chat.completion.cancelled"]
    [queue] = await processes[0].registry.queues()
    assert queue.pending == 50


async def test_a_request_deleted_by_many_processes_at_once_is_gone_with_its_key(
    processes: Processes, database: Database
) -> None:
    request_id = await completed(processes[0], idempotency_key="k", fingerprint=b"same")
    answers = await asyncio.gather(
        *(store.requests.delete("t", request_id) for store in processes), return_exceptions=True
    )
    assert {type(answer) for answer in answers} <= {type(None), NotFound}
    assert await keys(database) == 0
    with pytest.raises(NotFound):
        await processes[0].requests.get("t", request_id)


async def test_a_key_is_free_as_soon_as_its_request_is_deleted_and_not_before(processes: Processes) -> None:
    """G9."""
    request_id = await completed(processes[0], idempotency_key="k", fingerprint=b"same")
    deleting = asyncio.create_task(processes[0].requests.delete("t", request_id))
    answers = await asyncio.gather(
        *(store.requests.submit([a_request(idempotency_key="k", fingerprint=b"same")]) for store in processes),
    )
    await deleting
    new = {accepted(answer).request.id for [answer] in answers} - {request_id}
    [again] = await processes[1].requests.submit([a_request(idempotency_key="k", fingerprint=b"same")])
    assert len(new | {accepted(again).request.id}) == 1


async def test_a_body_that_was_let_go_while_a_submit_was_under_way_is_gone(url: str) -> None:
    """The collector may have seen it already. By the database's own clock, as in production."""
    database, begun, go_on = await connect(url, None), asyncio.Event(), asyncio.Event()
    async with open_store(url) as store:
        file = await uploaded(store)
        given = Attachment("input", "image.png", file.blob, "image/png", 9, "")

        async def arrive(tx: Transaction) -> list[Submitted | RaincheckError]:
            await tx.run("select now()")
            begun.set()
            await go_on.wait()
            return await arrivals.record(tx, [a_request(attachments=(given,))])

        arriving = asyncio.create_task(database.write(arrive))
        await begun.wait()
        await store.files.delete("t", file.id)
        assert await store.blobs.doomed(limit=9) == [file.blob]
        go_on.set()
        [answer] = await arriving
        assert isinstance(answer, AttachmentGone)
        assert await store.blobs.doomed(limit=9) == [file.blob]
    await database.close()


async def test_a_queue_is_not_forgotten_under_a_request_that_arrives(processes: Processes, database: Database) -> None:
    """G3: what is in no queue is never claimed."""
    [gone] = await submitted(processes[0])
    await processes[0].requests.cancel("t", gone.id)
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def arrive(tx: Transaction) -> None:
        await arrivals.record(tx, [a_request()])
        arrived.set()
        await go_on.wait()

    arriving = asyncio.create_task(database.write(arrive))
    await arrived.wait()
    forgetting = asyncio.create_task(processes[0].upkeep.tidy(limit=9))
    await asyncio.wait([forgetting], timeout=0.2)
    go_on.set()
    await arriving
    assert await forgetting == 0
    [queue] = await processes[0].registry.queues()
    assert (queue.name, queue.pending) == ("small", 1)
    assert len(await claimed(processes[0], 9)) == 1


@pytest.mark.slow("six come and go while one forgets, thirty times")
async def test_a_queue_that_is_forgotten_just_now_is_made_again(processes: Processes) -> None:
    """G3."""
    store, *others = processes

    async def come_and_go(store: Store, number: int) -> None:
        for _ in range(5):
            [request] = await submitted(store, queue=f"q{number % 3}")
            await store.requests.cancel("t", request.id)

    async with asyncio.TaskGroup() as group:
        visits = [group.create_task(come_and_go(each, number)) for number, each in enumerate(others * 2)]
        while not all(visit.done() for visit in visits):
            await store.upkeep.tidy(limit=9)
    await submitted(store, 3, queue="q0")
    await store.upkeep.tidy(limit=9)
    assert [(queue.name, queue.pending) for queue in await store.registry.queues()] == [("q0", 3)]


@pytest.mark.parametrize("odd", ["\0", "a\0b", "\ud800"])
async def test_what_text_cannot_hold_is_refused_or_unknown_and_touches_nothing_else(
    processes: Processes, odd: str
) -> None:
    store = processes[0]
    answers = await store.requests.submit([a_request(), a_request(model=odd), a_request(tenant=odd), a_request()])
    assert [isinstance(answer, BadInput) for answer in answers] == [False, True, True, False]
    for call in ("get", "place", "attempts", "result", "cancel", "delete"):
        for tenant, request_id in (("t", odd), (odd, accepted(answers[0]).request.id)):
            with pytest.raises(NotFound):
                await getattr(store.requests, call)(tenant, request_id)
    for query in (Query(model=odd), Query(queue=odd), Query(operation=odd), Query(metadata={"k": odd})):
        assert (await store.requests.search("t", query)).requests == []
    assert len((await store.requests.search("t", Query())).requests) == 2


async def test_tags_go_on_from_the_last_one_whoever_wrote_it(processes: Processes) -> None:
    """Arrival is the order of a flow, over processes and batches."""
    ids = [request.id for store in processes for request in await submitted(store, 3, weight=3.0)]
    assert [lease.fence.request_id for lease in await claimed(processes[0], 99)] == ids


async def test_searches_that_take_long_leave_connections_for_submits(url: str, database: Database) -> None:
    """G1."""
    locked, let_go = asyncio.Event(), asyncio.Event()

    async def lock(tx: Transaction) -> None:
        await tx.run("lock table result in access exclusive mode")
        locked.set()
        await let_go.wait()

    async with open_store(f"{url}?pool=3", clock=FakeClock().now) as store:
        await submitted(store)
        holding = asyncio.create_task(database.write(lock))
        await locked.wait()
        searching = [asyncio.create_task(store.requests.search("t", Query())) for _ in range(5)]
        async with asyncio.timeout(5):
            for _ in range(5):
                await submitted(store)
        assert not any(search.done() for search in searching)
        let_go.set()
        assert all(page.requests for page in await asyncio.gather(*searching))
        await holding

"""The one writer: many callers share a commit, and none of them pays for another."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python.
# pyright: reportUnknownMemberType=false

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from raincheck.core.errors import NotFound
from raincheck.core.status import Status
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store.builders import FakeClock, a_request, accepted, claimed, status, submitted
from tests.store.sqlite.watched import Watched, watching


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
async def store(folder: Path, watched: Watched) -> AsyncIterator[Store]:
    with watching(watched):
        async with open_store(folder / "store.db", clock=FakeClock().now) as store:
            yield store


async def test_two_hundred_concurrent_submits_share_a_few_commits(store: Store, watched: Watched) -> None:
    batch = [a_request() for _ in range(200)]
    watched.reset()
    answers = await asyncio.gather(*(store.requests.submit([new]) for new in batch))
    assert [accepted(answer).request.id for [answer] in answers] == [new.id for new in batch]
    assert watched.commits <= 5


async def test_one_writes_exception_does_not_fail_its_neighbours(store: Store) -> None:
    twice, *others = [a_request(queue=queue) for queue in "abcdef"]
    await store.requests.submit([twice])
    batch = [others[0], others[1], twice, *others[2:]]
    answers = await asyncio.gather(*(store.requests.submit([new]) for new in batch), return_exceptions=True)
    assert isinstance(answers.pop(2), apsw.ConstraintError)
    assert not [answer for answer in answers if isinstance(answer, BaseException)]
    for new in others:
        assert await status(store, new.id) is Status.PENDING
        assert len(await claimed(store, queue=new.queue)) == 1


async def test_a_refusal_undoes_nothing_of_its_neighbours(store: Store, watched: Watched) -> None:
    [request] = await submitted(store)
    watched.reset()
    writes = [store.requests.cancel("t", "req_unknown"), store.requests.cancel("t", request.id)]
    refused, cancelled = await asyncio.gather(*writes, return_exceptions=True)
    assert isinstance(refused, NotFound)
    assert not isinstance(cancelled, BaseException)
    assert await status(store, request.id) is Status.CANCELLED


async def test_a_write_happens_although_its_caller_was_cancelled(store: Store) -> None:
    new = a_request()
    caller = asyncio.create_task(store.requests.submit([new]))
    await asyncio.sleep(0)
    caller.cancel()
    await submitted(store)
    assert caller.cancelled()
    assert await status(store, new.id) is Status.PENDING


async def test_a_writer_that_is_cancelled_during_a_commit_leaves_the_file_usable(store: Store) -> None:
    new = a_request()
    before = asyncio.all_tasks()
    caller = asyncio.create_task(store.requests.submit([new]))
    await asyncio.sleep(0)
    [writer] = asyncio.all_tasks() - before - {caller}
    await asyncio.sleep(0)
    writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert await status(store, new.id) is Status.PENDING
    assert len(await claimed(store, 1)) == 1


async def test_closing_waits_for_writes_that_are_under_way(folder: Path) -> None:
    new = a_request()
    async with open_store(folder / "store.db", clock=FakeClock().now) as store:
        caller = asyncio.create_task(store.requests.submit([new]))
        await asyncio.sleep(0)
    await caller
    async with open_store(folder / "store.db", clock=FakeClock().now) as store:
        assert await status(store, new.id) is Status.PENDING


async def test_only_what_must_not_be_lost_is_flushed_to_the_disk(store: Store, watched: Watched) -> None:
    """G1: submits and ends wait for the disk; claims do not, since losing one costs a repeated claim only."""

    def level() -> object:
        return watched.connections[0].pragma("synchronous")

    await submitted(store)
    assert level() == 2
    [lease] = await claimed(store)
    assert level() == 1
    await store.requests.cancel("t", lease.fence.request_id)
    assert level() == 2

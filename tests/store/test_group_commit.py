"""The gatherer: what arrives while a batch is being written goes together in the next one."""

import asyncio
from collections.abc import Sequence

import pytest

from raincheck.store.group_commit import GroupCommit


class Desk:
    """A slow writer: it keeps each batch until it is told to let it go."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun = asyncio.Event()
        self.open = asyncio.Event()

    async def write(self, items: Sequence[int]) -> list[int | BaseException]:
        self.batches.append(list(items))
        self.begun.set()
        await self.open.wait()
        if 13 in items:
            raise RuntimeError("the whole batch failed")
        return [ValueError(item) if item < 0 else item * 10 for item in items]


async def held_up(desk: Desk, group: GroupCommit[int, int], *items: int) -> list["asyncio.Task[int]"]:
    """Tasks that add 0, which is being written, and then the items, which wait for it."""
    first = asyncio.create_task(group.add(0))
    await desk.begun.wait()
    rest = [asyncio.create_task(group.add(item)) for item in items]
    await asyncio.sleep(0)
    return [first, *rest]


async def test_a_lone_item_is_written_at_once() -> None:
    desk = Desk()
    desk.open.set()
    assert await GroupCommit(desk.write).add(4) == 40
    assert desk.batches == [[4]]


async def test_items_that_arrive_during_a_batch_go_together_and_each_gets_its_own_result() -> None:
    desk = Desk()
    group = GroupCommit(desk.write)
    tasks = await held_up(desk, group, 1, 2, 3)
    desk.open.set()
    assert await asyncio.gather(*tasks) == [0, 10, 20, 30]
    assert desk.batches == [[0], [1, 2, 3]]


async def test_results_arrive_in_the_order_of_the_items() -> None:
    desk, done = Desk(), list[int]()
    group = GroupCommit(desk.write)
    tasks = await held_up(desk, group, *range(1, 9))
    for number, task in enumerate(tasks):
        task.add_done_callback(lambda _, number=number: done.append(number))
    desk.open.set()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    assert done == list(range(9))


async def test_a_batch_is_never_larger_than_its_limit() -> None:
    desk = Desk()
    group = GroupCommit(desk.write, limit=2)
    tasks = await held_up(desk, group, 1, 2, 3, 4, 5)
    desk.open.set()
    await asyncio.gather(*tasks)
    assert desk.batches == [[0], [1, 2], [3, 4], [5]]


async def test_one_items_exception_is_its_callers_alone() -> None:
    desk = Desk()
    group = GroupCommit(desk.write)
    tasks = await held_up(desk, group, 1, -2, 3)
    desk.open.set()
    _, first, broken, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, last) == (10, 30)
    assert isinstance(broken, ValueError)


async def test_a_batch_that_fails_as_a_whole_fails_its_callers_and_the_next_goes_on() -> None:
    desk = Desk()
    group = GroupCommit(desk.write, limit=2)
    tasks = await held_up(desk, group, 13, 1, 2)
    desk.open.set()
    _, unlucky, neighbour, later = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(unlucky, RuntimeError)
    assert isinstance(neighbour, RuntimeError)
    assert later == 20


async def test_an_item_whose_caller_stopped_waiting_is_written_all_the_same() -> None:
    desk = Desk()
    group = GroupCommit(desk.write)
    first, gone, last = await held_up(desk, group, 1, 2)
    gone.cancel()
    desk.open.set()
    assert await asyncio.gather(first, last) == [0, 20]
    assert gone.cancelled()
    assert desk.batches == [[0], [1, 2]]


async def test_close_returns_when_everything_added_is_written() -> None:
    desk = Desk()
    group = GroupCommit(desk.write, limit=1)
    tasks = await held_up(desk, group, 1, 2)
    closing = asyncio.create_task(group.close())
    await asyncio.sleep(0)
    assert not closing.done()
    desk.open.set()
    await closing
    assert desk.batches == [[0], [1], [2]]
    assert await asyncio.gather(*tasks) == [0, 10, 20]
    await group.close()


async def test_when_the_writer_itself_is_cancelled_nobody_waits_for_ever() -> None:
    desk = Desk()
    group = GroupCommit(desk.write)
    before = asyncio.all_tasks()
    [waiter] = await held_up(desk, group)
    for writer in asyncio.all_tasks() - before - {waiter}:
        writer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    desk.open.set()
    assert await group.add(5) == 50

"""Work for a client who waits: it is done in the client's own task, and dropped when the client hangs up."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raincheck.http.presence import ClientGone, while_present
from tests.scripted import chunk, stream
from tests.server import running_server


class Line:
    """A client's connection: `hang_up`, or `break_with` an error."""

    def __init__(self) -> None:
        self._end: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def hang_up(self) -> None:
        self._end.set_result({"type": "http.disconnect"})

    def break_with(self, error: Exception) -> None:
        self._end.set_exception(error)

    async def receive(self) -> Any:
        return await asyncio.shield(self._end)


class Work:
    """Goes on until `done`; says how it ended, and what it does when it is cancelled."""

    def __init__(self, when_cancelled: Callable[[], Coroutine[Any, Any, str]] | None = None) -> None:
        self.done = asyncio.Event()
        self.begun = asyncio.Event()
        self.cancelled = False
        self._when_cancelled = when_cancelled

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await self.done.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            if self._when_cancelled is None:
                raise
            return await self._when_cancelled()
        return "done"


def cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_work_that_ends_first_is_handed_on_and_nobody_listens_any_more() -> None:
    line, work = Line(), Work()
    work.done.set()

    result = await while_present(line.receive, work())
    line.hang_up()
    for _ in range(3):
        await asyncio.sleep(0)

    assert result == "done"
    assert cancelling() == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_client_who_hangs_up_ends_the_work_and_leaves_the_task_uncancelled() -> None:
    line, work = Line(), Work()
    asyncio.get_running_loop().call_soon(line.hang_up)

    with pytest.raises(ClientGone):
        await while_present(line.receive, work())

    assert work.cancelled
    assert cancelling() == 0
    await asyncio.sleep(0)  # would raise if a cancellation were left over


async def test_a_connection_that_breaks_is_a_client_who_is_gone() -> None:
    line, work = Line(), Work()
    asyncio.get_running_loop().call_soon(line.break_with, OSError("reset"))

    with pytest.raises(ClientGone):
        await while_present(line.receive, work())

    assert work.cancelled


async def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    async def broken() -> None:
        await asyncio.sleep(0)
        raise LookupError("no such thing")

    with pytest.raises(LookupError):
        await while_present(Line().receive, broken())

    assert cancelling() == 0


@pytest.mark.parametrize("fails", [False, True])
async def test_work_that_does_not_heed_its_cancellation_still_has_nobody_to_answer(fails: bool) -> None:
    async def stubborn() -> str:
        if fails:
            raise LookupError
        return "all the same"

    line, work = Line(), Work(stubborn)
    asyncio.get_running_loop().call_soon(line.hang_up)

    with pytest.raises(ClientGone):
        await while_present(line.receive, work())

    assert cancelling() == 0


async def test_a_cancellation_from_outside_stays_one() -> None:
    line, work = Line(), Work()
    waiting = asyncio.create_task(while_present(line.receive, work()))
    await work.begun.wait()

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    assert work.cancelled
    assert waiting.cancelled()


async def test_a_cancellation_from_outside_wins_over_a_client_who_hangs_up_at_the_same_time() -> None:
    line, work = Line(), Work()
    waiting = asyncio.create_task(while_present(line.receive, work()))
    await work.begun.wait()

    # Two steps on, the hang-up has cancelled the task, which has not run since.
    line.hang_up()
    while not waiting.cancelling():
        await asyncio.sleep(0)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_timeout_around_it_is_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await while_present(Line().receive, Work()())


@pytest.mark.parametrize("path", ["/events", "?wait=20", None])
async def test_a_client_who_leaves_a_server_leaves_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, path: str | None
) -> None:
    """Followers, waiters and those whose call is passed on (path None), before and after their answer has begun."""
    async with running_server(tmp_path) as server:
        server.upstream.always(stream(chunk("one"), ...))
        request_id = await server.defer()
        await server.upstream.received()
        if path is None:
            asking = server.session.post(f"{server.base_url}/completions", json={"model": "m", "stream": True})
        else:
            asking = server.session.get(f"{server.base_url}/requests/{request_id}{path}")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2), asking as response:
                await response.content.readany()
        async with asyncio.timeout(5):
            while any("run_asgi" in repr(task) for task in asyncio.all_tasks()):
                await asyncio.sleep(0.005)

    assert [record.message for record in caplog.records if record.name.startswith("uvicorn")] == []

"""Where handlers run: sync ones in threads, async ones on a loop of their own; takes calls, tells how each ended."""

import asyncio
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from raincheck.upstream.python.files import Returned
from raincheck.upstream.python.function import Function
from raincheck.upstream.python.job import Job

Ended = Callable[[Returned | BaseException], None]
"""Called once for each call, from the runner's thread, when the function has really returned."""
Stop = Callable[[], None]

GRACE = 1.5
"""Seconds a cancelled function has to return before nobody waits for it any longer."""


class Runner(Protocol):
    """Calls a function off the server's event loop."""

    def run(self, payload: bytes, job: Job, ended: Ended) -> Stop:
        """Begin a call; what comes back presses it to an end, as far as that can be done from outside."""
        ...

    def close(self) -> None:
        """Let go of the threads; blocks for GRACE at most, a function that does not return is left to itself."""
        ...


def runner(name: str, function: Function, places: int) -> Runner:
    """The right runner for a function. All threads are daemons: none may hold up the end of the process."""
    return _Loop(name, function) if function.is_async else _Threads(name, function, places)


class _Threads:
    """Up to `places` threads, kept for reuse because libraries (torch, database drivers) keep state per thread."""

    def __init__(self, name: str, function: Function, places: int) -> None:
        self._name = name
        self._function = function
        self._places = places
        self._idle = 0
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._calls: queue.SimpleQueue[tuple[bytes, Job, Ended] | None] = queue.SimpleQueue()

    def run(self, payload: bytes, job: Job, ended: Ended) -> Stop:
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif len(self._threads) < self._places:
                thread = threading.Thread(target=self._work, name=f"{self._name} handler", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._calls.put((payload, job, ended))
        return lambda: None  # the job knows that it is cancelled, and that is all a thread can be told

    def close(self) -> None:
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(GRACE / len(self._threads))

    def _work(self) -> None:
        while call := self._calls.get():
            self._perform(*call)
            del call  # or the last payload would be kept until the next one comes

    def _perform(self, payload: bytes, job: Job, ended: Ended) -> None:
        try:
            returned: Returned | BaseException = self._function.run(payload, job)
        except BaseException as error:  # noqa: BLE001 - whatever the user's code raises is an answer
            returned = error
        with self._lock:
            self._idle += 1
        ended(returned)


class _Loop:
    """One event loop in one thread for all calls, so that they can share sessions and the like."""

    def __init__(self, name: str, function: Function) -> None:
        self._function = function
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name=f"{name} handler loop", daemon=True)
        self._thread.start()

    def run(self, payload: bytes, job: Job, ended: Ended) -> Stop:
        tasks: list[asyncio.Task[Returned | BaseException]] = []

        def begin() -> None:
            task = self._loop.create_task(self._perform(payload, job), name=job.request_id)
            task.add_done_callback(lambda task: ended(_how(task)))
            tasks.append(task)

        def cancel() -> None:
            for task in tasks:
                task.cancel()

        def stop() -> None:
            with suppress(RuntimeError):  # closed in the meantime
                self._loop.call_soon_threadsafe(cancel)

        self._loop.call_soon_threadsafe(begin)
        return stop

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._wind_up(), self._loop)
        self._thread.join(GRACE + 0.1)

    async def _perform(self, payload: bytes, job: Job) -> Returned | BaseException:
        try:
            return await self._function.run_async(payload, job)
        except BaseException as error:  # noqa: BLE001 - even SystemExit, which would end the loop for all calls
            return error

    async def _wind_up(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
        self._loop.stop()

    def _work(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()


def _how(task: asyncio.Task[Returned | BaseException]) -> Returned | BaseException:
    return asyncio.CancelledError() if task.cancelled() else task.result()

"""Group commit: items that arrive while a batch is being written go together in the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class GroupCommit(Generic[T, R]):
    """Gathers items for as long as the previous batch takes and hands them to `write` together.

    `write` answers with one result or exception per item, in order, when the batch is committed. An item whose caller
    stopped waiting is written all the same.
    """

    def __init__(self, write: Callable[[Sequence[T]], Awaitable[Sequence[R | BaseException]]], *, limit: int = 500):
        self._write = write
        self._limit = limit
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def add(self, item: T) -> R:
        """Write the item; returns its result when it is committed."""
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await done

    async def close(self) -> None:
        """Return when everything that was added is written."""
        while self._running is not None:
            await asyncio.shield(self._running)

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                results: Sequence[R | BaseException] = [asyncio.CancelledError()] * len(batch)
                try:
                    results = await self._write([item for item, _ in batch])
                except Exception as error:  # noqa: BLE001 - whoever waits for the batch learns of it
                    results = [error] * len(batch)
                finally:
                    for (_, done), result in zip(batch, results, strict=True):
                        _settle(done, result)
        finally:
            self._running = None


def _settle(done: "asyncio.Future[R]", result: R | BaseException) -> None:
    if done.done():
        return
    if isinstance(result, BaseException):
        done.set_exception(result)
    else:
        done.set_result(result)

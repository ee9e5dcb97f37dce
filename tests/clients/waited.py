"""Takes an asynchronous client, hands on one that a check uses like its blocking twin.

Every call goes through the asynchronous client on an event loop; only the `await`, `async for` and `async with` around
it are written here instead of in each check, so that one check tries both kinds.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, Self, cast


@contextmanager
def waited(make: Callable[[], Any]) -> Generator[Any]:
    """A client made on a loop of its own, and closed there."""
    loop = asyncio.new_event_loop()

    async def made() -> Any:
        return make()

    client = loop.run_until_complete(made())
    try:
        yield Waited(client, loop)
    finally:
        loop.run_until_complete(client.close())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class Waited:
    """Something asynchronous, or on the way to it."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = inner
        self._loop = loop
        self._context = copy_context()

    def __getattr__(self, name: str) -> Any:
        return self._shown(getattr(self.inner, name))

    def __call__(self, *args: Any, **named: Any) -> Any:
        bare = {name: _bare(value) for name, value in named.items()}
        return self._shown(self._wait(self.inner(*map(_bare, args), **bare)))

    def __iter__(self) -> Iterator[Any]:
        iterator: AsyncIterator[Any] = self.inner.__aiter__()
        nothing = object()
        while (each := self._wait(anext(iterator, nothing))) is not nothing:
            yield each

    def __enter__(self) -> Any:
        return self._with(self._wait(self.inner.__aenter__()))

    def __exit__(self, *why: object) -> Any:
        return self._wait(self.inner.__aexit__(*why))

    def _wait(self, value: Any) -> Any:
        if not inspect.isawaitable(value):
            return value

        async def result(of: Awaitable[Any]) -> Any:
            return await of

        # One context for all the steps of an iteration, as `async for` has.
        return self._loop.run_until_complete(self._loop.create_task(result(value), context=self._context))

    def _shown(self, value: Any) -> Any:
        return self._with(value) if _asynchronous(value) else value

    def _with(self, inner: Any) -> Self:
        return type(self)(inner, self._loop)


def _bare(value: Any) -> Any:
    if isinstance(value, list):
        return list(map(_bare, cast("list[Any]", value)))
    return value.inner if isinstance(value, Waited) else value


def _asynchronous(value: Any) -> bool:
    """Whether using it may need a loop: a method, a part of a client, something to iterate over or to enter."""
    if isinstance(value, type):
        return False
    if callable(value) or hasattr(value, "__aiter__") or hasattr(value, "__aenter__"):
        return True
    home = type(value).__module__
    return ".resources" in home or ".aio" in home

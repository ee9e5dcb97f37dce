"""Takes the steps of a generator, tells of each as it comes, hands on the result."""

from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, closing
from numbers import Real
from typing import Any

import msgspec

from raincheck.upstream.python.files import Unwritable
from raincheck.upstream.python.job import Job

_NOTHING = object()


def drained(steps: Generator[Any, None, Any], job: Job) -> Any:
    """What a generator comes to: what it returns, else the last piece it yielded. It ends early at a step after the
    job was cancelled."""
    heard = _Heard(job)
    with closing(steps):
        while True:
            try:
                heard.step(next(steps))
            except StopIteration as end:
                return heard.result(end.value)
            job.raise_if_cancelled()


async def drained_async(steps: AsyncGenerator[Any], job: Job) -> Any:
    """The same of an async generator, which can return nothing: the last piece is its result."""
    heard = _Heard(job)
    async with aclosing(steps):
        async for step in steps:
            heard.step(step)
    return heard.result(None)


class _Heard:
    """Tells progress from pieces. A piece is held back until the next one comes: the last may be the result."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._piece: Any = _NOTHING

    def step(self, said: Any) -> None:
        match said:
            case None:
                pass  # A place to be stopped at.
            case bool():
                self._keep(said)
            case Real():
                self._job.progress(float(said))
            case tuple((None, str() as words)):
                self._job.progress(None, words)
            case tuple((Real() as fraction, str() as words)):
                self._job.progress(float(fraction), words)
            case _:
                self._keep(said)

    def result(self, returned: Any) -> Any:
        """The result; a piece that is still held back was one on the way when something was returned."""
        if returned is None:
            return None if self._piece is _NOTHING else self._piece
        self._keep(_NOTHING)
        return returned

    def _keep(self, piece: Any) -> None:
        held, self._piece = self._piece, piece
        if held is _NOTHING:
            return
        try:
            self._job.delta(held)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise Unwritable(f"What the handler yielded ({type(held).__name__}) is no JSON: {error}") from error

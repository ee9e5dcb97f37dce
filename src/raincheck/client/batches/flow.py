"""The following of a batch, thought once: flows that yield calls and pauses, for the drivers to run."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Any

import msgspec

from raincheck.client.batches.models import Batch, BatchResult, shown
from raincheck.client.dialect import batch_path
from raincheck.client.errors import BatchFailed, BatchTimeout, UnexpectedAnswer
from raincheck.client.models import RequestError
from raincheck.client.steps import Call, Flow, Pause, Reply, send

SOONEST, LATEST = 0.2, 5.0
"""Seconds between two looks: the first after news, the second when there has been none for long."""
AT_ONCE = 500
"""Results to ask for at a time."""
HELD = 2.0
"""Seconds that the server may hold a look without news."""
SILENCE = 600.0
"""Seconds without an answer, after which the trouble is the caller's."""

Observer = Callable[[Batch], object]


@dataclass(frozen=True, slots=True)
class Page:
    """Some results."""

    results: list[BatchResult]
    marks: list[int | None]
    """For each of them, what to go on after behind it; None where the server does not say."""
    last: int
    """What to go on after."""
    more: bool
    """More are there already, or nobody answered."""
    final: bool
    """There will be no more."""


class Pacer:
    """How long to stay away between two looks."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float], latest: float = LATEST) -> None:
        self._clock, self._jitter, self._latest = clock, jitter, latest
        self._pause = 0.0
        self._heard = clock()

    @property
    def pause(self) -> float:
        return self._pause

    def answered(self, *, news: bool) -> None:
        self._heard = self._clock()
        self._pause = SOONEST if news else min(max(self._pause, SOONEST / 1.5) * 1.5, self._latest)

    def at_once(self) -> None:
        self._heard, self._pause = self._clock(), 0.0

    def unanswered(self, reply: Reply) -> None:
        """Raises openai's error when nobody has answered for long."""
        if reply.error is not None and self._clock() - self._heard > SILENCE:
            raise reply.error
        backoff = min(max(self._pause, SOONEST) * 2.0, LATEST) * (0.5 + 0.5 * self._jitter())
        self._pause = max(backoff, reply.retry_after)


class Following:
    """One batch that is followed: as it was last seen, and when to look again."""

    def __init__(
        self,
        batch: Batch,
        *,
        clock: Callable[[], float] = monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.batch = batch
        self._clock = clock
        self._pacer = Pacer(clock, jitter)

    def look(self, after: int, held: float = HELD) -> Flow[Page]:
        """What has ended behind `after`; nothing, when there is no news or no answer. Raises `BatchFailed` of a batch
        whose lines were refused, and openai's error."""
        if self._pacer.pause:
            yield Pause(self._pacer.pause)
        asked, before = self._clock(), self.batch.status
        query: dict[str, str | float] = {"after": after, "limit": AT_ONCE, "wait": held}
        reply = yield from send(Call("GET", batch_path(self.batch.id, "/results"), 60.0, query))
        if reply.transient:
            self._pacer.unanswered(reply)
            return Page([], [], after, more=True, final=False)
        if reply.error is not None:
            raise reply.error
        answer = _read(reply)
        self.batch = Batch.construct(**answer.batch)
        if self.batch.status == "failed":
            raise BatchFailed(self.batch)
        if answer.has_more or (not answer.data and self._clock() - asked >= held / 2):
            self._pacer.at_once()
        else:
            self._pacer.answered(news=bool(answer.data) or self.batch.status != before)
        last = after if answer.last is None else answer.last
        # The server looks at the batch before it looks for results, so none is missing from an ended one.
        final = self.batch.ended and not answer.has_more
        marks = [line.ended if line.mark is None else line.mark for line in answer.data]
        return Page([_result(line) for line in answer.data], marks, last, more=answer.has_more, final=final)


def wait(
    batch: Batch,
    *,
    timeout: float | None,
    polling_interval: float,
    observer: Observer | None,
    clock: Callable[[], float] = monotonic,
    jitter: Callable[[], float] = random.random,
) -> Flow[Batch]:
    """Until it has ended, files and all. Raises `BatchTimeout`, `BatchFailed`, openai's error."""
    give_up = clock() + (inf if timeout is None else timeout)
    pacer = Pacer(clock, jitter, polling_interval)
    while True:
        reply = yield from send(Call("GET", batch_path(batch.id), timeout=30.0))
        if reply.transient:
            pacer.unanswered(reply)
        elif reply.error is not None:
            raise reply.error
        else:
            seen = shown(reply.json() or {"id": batch.id})
            pacer.answered(news=seen.status != batch.status)
            batch = seen
            if observer is not None:
                observer(batch)
        if batch.status == "failed":
            raise BatchFailed(batch)
        if batch.ended:
            return batch
        if (left := give_up - clock()) <= 0:
            raise BatchTimeout(batch)
        yield Pause(min(pacer.pause, left))


class _Response(msgspec.Struct):
    status_code: int
    request_id: str | None = None
    body: Any = None


class _Error(msgspec.Struct):
    code: str | None = None
    message: str | None = None


class _Line(msgspec.Struct):
    custom_id: str
    id: str | None = None
    line: int | None = None
    ended: int | None = None
    mark: int | None = None
    response: _Response | None = None
    error: _Error | None = None


class _Answer(msgspec.Struct):
    data: list[_Line]
    batch: dict[str, Any]
    last: int | None = None
    has_more: bool = False


_DECODER = msgspec.json.Decoder(_Answer)


def _read(reply: Reply) -> _Answer:
    try:
        return _DECODER.decode(reply.body)
    except msgspec.DecodeError as error:
        raise UnexpectedAnswer(
            f"The answer holds no results of a batch ({error}). Is this a Raincheck server?"
        ) from None


def _result(line: _Line) -> BatchResult:
    answer, error = line.response, None
    if answer is None:
        told = line.error or _Error(message="There is no answer, and no word why.")
        error = RequestError.construct(code=told.code, message=told.message)
    elif not 200 <= answer.status_code < 300:
        error = upstream_error(answer.status_code, answer.body)
    return BatchResult(
        custom_id=line.custom_id,
        id=line.id,
        line=line.line,
        ended=line.ended,
        status_code=None if answer is None else answer.status_code,
        request_id=None if answer is None else answer.request_id,
        body=None if answer is None else answer.body,
        error=error,
    )


def upstream_error(status: int, body: object) -> RequestError:
    """The error in an answer that is one."""
    said = body.get("error") if isinstance(body, Mapping) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(said, Mapping):
        return RequestError.construct(**said)  # pyright: ignore[reportUnknownArgumentType]
    return RequestError.construct(code=f"http_{status}", message=str(said or body or f"status {status}")[:500])  # pyright: ignore[reportUnknownArgumentType]

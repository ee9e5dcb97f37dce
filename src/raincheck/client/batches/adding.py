"""Batches in xAI's manner: opened by name, filled by any number of calls, and listened to."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from math import inf
from os import PathLike
from random import random
from time import monotonic
from typing import Any
from uuid import uuid4

from openai import AsyncOpenAI, BaseModel, OpenAI

from raincheck.client.batches.flow import Pacer, upstream_error
from raincheck.client.batches.lines import CHAT, Recipe, Requests, each
from raincheck.client.batches.models import BatchResult
from raincheck.client.dialect import batch_path
from raincheck.client.drivers import arun, run
from raincheck.client.errors import BatchTimeout, UnexpectedAnswer
from raincheck.client.models import RequestError
from raincheck.client.steps import Call, Flow, Pause, Reply, Submit, send
from raincheck.client.twins import share_docs

MOST_ADDED = 1_000
"""Requests that go with one call."""
MOST_BYTES = 4 * 1024 * 1024
_PAGE = 100


class BatchState(BaseModel):
    num_requests: int = 0
    num_pending: int = 0
    num_success: int = 0
    num_error: int = 0
    num_cancelled: int = 0


class NamedBatch(BaseModel):
    """A batch in xAI's shape. Times are RFC 3339."""

    batch_id: str
    name: str | None = None
    state: BatchState = BatchState()
    create_time: str | None = None
    expire_time: str | None = None
    cancel_time: str | None = None
    input_file_id: str | None = None
    cost_breakdown: dict[str, Any] | None = None

    @property
    def id(self) -> str:
        return self.batch_id

    @property
    def status(self) -> str:
        """In a word, which xAI's shape has none for."""
        if self.cancel_time is not None:
            return "cancelled"
        return "in_progress" if self.state.num_pending or not self.state.num_requests else "completed"


class _Open:
    def __init__(self, batch: NamedBatch, model: str | None, params: Mapping[str, Any]) -> None:
        self.batch = batch
        """As last seen."""
        self._recipe = Recipe(model=model, params=params)
        self._added = 0

    @property
    def id(self) -> str:
        return self.batch.batch_id

    @property
    def state(self) -> BatchState:
        """How many requests there are, and what became of them, as last seen."""
        return self.batch.state

    def _adding(self, requests: Requests) -> Flow[None]:
        # With a key that may only write, the server does not say how many there are: then it is those of this object.
        there = max(self._added, self.state.num_requests)
        for some in chunks(requests, self._recipe, there):
            submit = Submit(batch_path(self.id, "/requests"), 120.0, {"batch_requests": some}, _once())
            self.batch = _known((yield from _insisting(submit)), self.batch)
            there += len(some)
            self._added = there

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {self.state.num_pending} of {self.state.num_requests} pending>"


class OpenBatch(_Open):
    """A batch that takes more requests for as long as it is open."""

    def __init__(
        self, client: OpenAI, batch: NamedBatch, *, model: str | None = None, params: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(batch, model, params or {})
        self._client = client

    def add(self, requests: Requests) -> NamedBatch:
        """Add requests: prompts, bodies, lines as in OpenAI's batch files, or objects with a `batch_request` as xAI
        has them; any number, in as many calls as it takes. Those without a name are called `request-1`, `request-2`, …
        by their number in the batch. A lost connection adds nothing twice."""
        run(self._adding(requests), self._client)
        return self.batch

    def wait(self, *, timeout: float | None = None, polling_interval: float = 5.0) -> NamedBatch:
        """Until nothing is pending. Raises `BatchTimeout`, openai's error."""
        self.batch = run(_settled(self.batch, timeout, polling_interval), self._client)
        return self.batch

    def results(self) -> Iterator[BatchResult]:
        """Those that are there by now, page after page."""
        page = run(_page(self.id, None), self._client)
        yield from page[0]
        while page[1]:
            page = run(_page(self.id, page[1]), self._client)
            yield from page[0]

    def refresh(self) -> NamedBatch:
        """Look again, without waiting."""
        self.batch = self._client.get(batch_path(self.id), cast_to=NamedBatch)
        return self.batch

    def cancel(self) -> NamedBatch:
        """Begin nothing more and stop what runs; results that are there stay."""
        self.batch = self._client.post(f"{batch_path(self.id)}:cancel", cast_to=NamedBatch)
        return self.batch


class AsyncOpenBatch(_Open):
    def __init__(
        self,
        client: AsyncOpenAI,
        batch: NamedBatch,
        *,
        model: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(batch, model, params or {})
        self._client = client

    async def add(self, requests: Requests) -> NamedBatch:
        await arun(self._adding(requests), self._client)
        return self.batch

    async def wait(self, *, timeout: float | None = None, polling_interval: float = 5.0) -> NamedBatch:
        self.batch = await arun(_settled(self.batch, timeout, polling_interval), self._client)
        return self.batch

    async def results(self) -> AsyncIterator[BatchResult]:
        page = await arun(_page(self.id, None), self._client)
        for result in page[0]:
            yield result
        while page[1]:
            page = await arun(_page(self.id, page[1]), self._client)
            for result in page[0]:
                yield result

    async def refresh(self) -> NamedBatch:
        self.batch = await self._client.get(batch_path(self.id), cast_to=NamedBatch)
        return self.batch

    async def cancel(self) -> NamedBatch:
        self.batch = await self._client.post(f"{batch_path(self.id)}:cancel", cast_to=NamedBatch)
        return self.batch


share_docs(OpenBatch, AsyncOpenBatch)


def _once() -> dict[str, str]:
    return {"Idempotency-Key": uuid4().hex}


def _insisting(submit: Submit, tries: int = 6) -> Flow[Reply]:
    """The same key adds the same requests once, so it may be asked again."""
    pacer = Pacer(monotonic, random)
    for left in range(tries - 1, -1, -1):
        reply = yield from send(submit)
        if reply.error is None:
            return reply
        if not reply.transient or not left:
            raise reply.error
        pacer.unanswered(reply)
        yield Pause(pacer.pause)
    raise AssertionError("the last try returns or raises")


def _settled(batch: NamedBatch, timeout: float | None, polling_interval: float) -> Flow[NamedBatch]:
    give_up = monotonic() + (inf if timeout is None else timeout)
    pacer = Pacer(monotonic, random, polling_interval)
    while True:
        reply = yield from send(Call("GET", batch_path(batch.batch_id), 30.0))
        if reply.transient:
            pacer.unanswered(reply)
        else:
            seen = _known(reply, batch)
            pacer.answered(news=seen.state != batch.state)
            batch = seen
            if not batch.state.num_pending:
                return batch
        if (left := give_up - monotonic()) <= 0:
            raise BatchTimeout(batch)
        yield Pause(min(pacer.pause, left))


def _known(reply: Reply, batch: NamedBatch) -> NamedBatch:
    if reply.error is not None:
        raise reply.error
    record = reply.json() or {}
    return NamedBatch.construct(**record) if "batch_id" in record else batch


def chunks(requests: Requests, recipe: Recipe, there: int = 0) -> Iterator[list[dict[str, Any]]]:
    """The requests as xAI has them, as many together as go with one call. `there` are in the batch already: those
    without a name are called by their number in it."""
    some, size = list[dict[str, Any]](), 0
    for request in _asked(requests, recipe, there):
        length = len(json.dumps(request, ensure_ascii=False))
        if some and (len(some) == MOST_ADDED or size + length > MOST_BYTES):
            yield some
            some, size = [], 0
        some.append(request)
        size += length
    if some:
        yield some


def _asked(requests: Requests, recipe: Recipe, there: int) -> Iterator[dict[str, Any]]:
    if isinstance(requests, str | PathLike):
        yield from map(_converted, each(requests, recipe))
        return
    for number, request in enumerate(requests, there + 1):
        if isinstance(request, Mapping) and "batch_request" in request:
            yield {"batch_request_id": f"request-{number}", **request}
        else:
            named = replace(recipe, custom_ids=[f"request-{number}"])
            yield from map(_converted, each([request], named))


def _converted(line: Mapping[str, Any]) -> dict[str, Any]:
    if line["url"] != CHAT:
        raise ValueError(f"{line['url']} has no form here; add an object with `batch_request`.")
    return {"batch_request_id": line["custom_id"], "batch_request": {"chat_get_completion": line["body"]}}


def _page(batch_id: str, token: str | None) -> Flow[tuple[list[BatchResult], str | None]]:
    query: dict[str, str | float] = {"limit": _PAGE}
    if token is not None:
        query["pagination_token"] = token
    pacer = Pacer(monotonic, random)
    while True:
        reply = yield from send(Call("GET", batch_path(batch_id, "/results"), 60.0, query))
        if not reply.transient:
            break
        pacer.unanswered(reply)
        yield Pause(pacer.pause)
    if reply.error is not None:
        raise reply.error
    answer = reply.json() or {}
    if not isinstance(answer.get("results"), list):
        raise UnexpectedAnswer("The answer holds no results of a batch. Is this a server with xAI's batches?")
    return [_result(one) for one in answer["results"]], answer.get("pagination_token") or None


def _result(one: dict[str, Any]) -> BatchResult:
    result: dict[str, Any] = one.get("batch_result") or {}
    answers: dict[str, Any] = result.get("response") or {}
    body = next((body for body in answers.values() if body is not None), None)
    error: RequestError | None = None
    if (told := result.get("error")) is not None or one.get("error_message"):
        error = upstream_error(0, {"error": told})
        error.code = None if error.code is None else str(error.code)
        error.message = error.message or one.get("error_message")
    return BatchResult(custom_id=one["batch_request_id"], status_code=None if error else 200, body=body, error=error)

"""`client.batches`: openai's own calls, and what makes many requests one loop."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast
from uuid import uuid4

from openai import AsyncOpenAI, OpenAI
from openai.resources.batches import AsyncBatches, Batches
from openai.types import Batch as OpenAIBatch

from raincheck.client.batches import flow
from raincheck.client.batches.adding import AsyncOpenBatch, NamedBatch, OpenBatch
from raincheck.client.batches.bar import watching
from raincheck.client.batches.estimating import Tally
from raincheck.client.batches.files import BatchFiles, Fetching
from raincheck.client.batches.lines import Recipe, Requests
from raincheck.client.batches.models import Batch, Estimate, shown
from raincheck.client.batches.running import AsyncBatchRun, BatchRun
from raincheck.client.batches.spool import spooled
from raincheck.client.dialect import batch_path
from raincheck.client.downloads import adownload, download
from raincheck.client.drivers import arun, run
from raincheck.client.twins import share_docs

Observer = Callable[[Batch], object]
_RECORD = cast("type[dict[str, Any]]", dict)


class Lines(TypedDict, total=False):
    """What is filled in where the requests do not say it."""

    model: str | None
    endpoint: str | None
    """The path that all of them ask. Left out, it is what the first line of a file asks, else
    `/v1/chat/completions`."""
    custom_ids: Iterable[str] | None
    """One for each request; left out, they are called `request-1`, `request-2`, …"""
    params: Mapping[str, Any] | None
    """Members for every body, such as `{"temperature": 0}`; what a body says itself stands."""


class BatchOptions(Lines, total=False):
    """What may be said about a new batch."""

    completion_window: str | float | timedelta
    """By when it shall be done: `24h`, `90m`, `7d`, or seconds. What is not, expires."""
    metadata: Mapping[str, str] | None
    output_expires_after: float | None
    """Seconds for which its files are kept."""
    webhook_url: str | None
    """Where to POST its end."""
    webhook_events: Sequence[str] | None
    """Which ends to tell it: any of `completed`, `failed`, `cancelled`, `expired`. Left out, every one."""


class DeferrableBatches(Batches):
    """Everything openai's `batches` has, and `run`, `resume`, `create_and_wait`, `wait`, `download`, `open` and
    `estimate`."""

    def run(
        self,
        requests: Requests | None = None,
        *,
        progress: bool = False,
        batch_id: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> BatchRun:
        """Hand in requests and iterate their results as they finish.

        `requests` is the path of a `.jsonl` file of OpenAI's lines, or any iterable of prompts, of request bodies or of
        such lines; a generator of a million is written to disk, not held in memory. `progress` draws a bar while the
        results are iterated. With `batch_id` nothing is handed in: it is `resume`, so that a script can be started
        again as it is.

        Raises ValueError for what is no request, OSError for a file that cannot be read, openai's errors; the iteration
        raises `BatchFailed` when the lines are refused, telling which.
        """
        _check_names("run", options, BatchOptions)
        if batch_id is not None:
            return self.resume(batch_id, progress=progress)
        return BatchRun(self._client, _submit(self._client, requests, None, options), 0, progress=progress)

    def resume(self, batch_id: str, *, after: int = 0, progress: bool = False) -> BatchRun:
        """Iterate the results of a batch that was begun before, here or elsewhere: all of them, or those behind
        `after`, the `last` of a run whose client has died. Raises openai's NotFoundError for an unknown id."""
        batch = shown(self._client.get(batch_path(batch_id), cast_to=_RECORD))
        return BatchRun(self._client, batch, after, progress=progress)

    def create_and_wait(
        self,
        requests: Requests | None = None,
        *,
        input_file_id: str | None = None,
        timeout: float | None = None,
        polling_interval: float = 5.0,
        progress: bool = False,
        on_update: Observer | None = None,
        **options: Unpack[BatchOptions],
    ) -> Batch:
        """Hand in requests, or a file that was uploaded before, and return the batch when it has ended. Takes requests
        and options as `run` does, waits and raises as `wait` does."""
        _check_names("create_and_wait", options, BatchOptions)
        return self.wait(
            _submit(self._client, requests, input_file_id, options),
            timeout=timeout,
            polling_interval=polling_interval,
            progress=progress,
            on_update=on_update,
        )

    def wait(
        self,
        batch: str | OpenAIBatch,
        *,
        timeout: float | None = None,
        polling_interval: float = 5.0,
        progress: bool = False,
        on_update: Observer | None = None,
    ) -> Batch:
        """Wait until the batch has ended and its files are there: completed, cancelled or expired.

        Its window bounds the wait, so there is no `timeout` (in seconds) unless one is given. It is looked at every
        `polling_interval` seconds at the longest; restarts of the server and lost connections are waited out. Raises
        `BatchTimeout`, which has the id to come back with; `BatchFailed` when the lines were refused; openai's error.
        """
        known = _known(batch)
        with watching(known, progress=progress) as drawn:
            watched = _both(on_update, drawn)
            steps = flow.wait(known, timeout=timeout, polling_interval=polling_interval, observer=watched)
            return run(steps, self._client)

    def download(
        self,
        batch: str | OpenAIBatch,
        to: str | PathLike[str] = ".",
        *,
        errors: str | PathLike[str] | None = None,
        progress: bool = False,
    ) -> BatchFiles:
        """Fetch the files of a batch that has ended and return where they are. `to` is a folder or the output file's
        name; errors go beside it (`out.jsonl`, `out.errors.jsonl`) or where `errors` says. Both are in the order of the
        input. Raises RaincheckClientError while the batch is under way."""
        known = shown(self._client.get(batch_path(_id(batch)), cast_to=_RECORD))
        fetching = Fetching(known, Path(to), None if errors is None else Path(errors))
        for which, remote, path in fetching.wanted():
            fetching.saved[which] = download(self._client, remote, path, progress=progress)
        return fetching.files()

    def open(self, name: str, *, model: str | None = None, params: Mapping[str, Any] | None = None) -> OpenBatch:
        """Open a batch in xAI's manner: `add` to it as often as needed, `wait`, take its `results`. `model` and
        `params` are filled in where a request does not say them. Works at /v1 and at /xai/v1."""
        batch = self._client.post("/batches", body={"name": name}, cast_to=NamedBatch, options=_once())
        return OpenBatch(self._client, batch, model=model, params=params)

    def estimate(self, requests: Requests, **lines: Unpack[Lines]) -> Estimate:
        """How many requests and tokens these are, and roughly how long they would take. Nothing is handed in."""
        _check_names("estimate", lines, Lines)
        tally = Tally.of(requests, _recipe(lines))
        estimate = self._client.post("/batches/estimate", body=tally.body(), cast_to=Estimate)
        return _with_counts(estimate, tally)


class AsyncDeferrableBatches(AsyncBatches):
    async def run(
        self,
        requests: Requests | None = None,
        *,
        progress: bool = False,
        batch_id: str | None = None,
        **options: Unpack[BatchOptions],
    ) -> AsyncBatchRun:
        _check_names("run", options, BatchOptions)
        if batch_id is not None:
            return await self.resume(batch_id, progress=progress)
        batch = await _asubmit(self._client, requests, None, options)
        return AsyncBatchRun(self._client, batch, 0, progress=progress)

    async def resume(self, batch_id: str, *, after: int = 0, progress: bool = False) -> AsyncBatchRun:
        batch = shown(await self._client.get(batch_path(batch_id), cast_to=_RECORD))
        return AsyncBatchRun(self._client, batch, after, progress=progress)

    async def create_and_wait(
        self,
        requests: Requests | None = None,
        *,
        input_file_id: str | None = None,
        timeout: float | None = None,
        polling_interval: float = 5.0,
        progress: bool = False,
        on_update: Observer | None = None,
        **options: Unpack[BatchOptions],
    ) -> Batch:
        _check_names("create_and_wait", options, BatchOptions)
        return await self.wait(
            await _asubmit(self._client, requests, input_file_id, options),
            timeout=timeout,
            polling_interval=polling_interval,
            progress=progress,
            on_update=on_update,
        )

    async def wait(
        self,
        batch: str | OpenAIBatch,
        *,
        timeout: float | None = None,
        polling_interval: float = 5.0,
        progress: bool = False,
        on_update: Observer | None = None,
    ) -> Batch:
        known = _known(batch)
        with watching(known, progress=progress) as drawn:
            watched = _both(on_update, drawn)
            steps = flow.wait(known, timeout=timeout, polling_interval=polling_interval, observer=watched)
            return await arun(steps, self._client)

    async def download(
        self,
        batch: str | OpenAIBatch,
        to: str | PathLike[str] = ".",
        *,
        errors: str | PathLike[str] | None = None,
        progress: bool = False,
    ) -> BatchFiles:
        known = shown(await self._client.get(batch_path(_id(batch)), cast_to=_RECORD))
        fetching = Fetching(known, Path(to), None if errors is None else Path(errors))
        for which, remote, path in fetching.wanted():
            fetching.saved[which] = await adownload(self._client, remote, path, progress=progress)
        return fetching.files()

    async def open(
        self, name: str, *, model: str | None = None, params: Mapping[str, Any] | None = None
    ) -> AsyncOpenBatch:
        batch = await self._client.post("/batches", body={"name": name}, cast_to=NamedBatch, options=_once())
        return AsyncOpenBatch(self._client, batch, model=model, params=params)

    async def estimate(self, requests: Requests, **lines: Unpack[Lines]) -> Estimate:
        _check_names("estimate", lines, Lines)
        tally = Tally.of(requests, _recipe(lines))
        estimate = await self._client.post("/batches/estimate", body=tally.body(), cast_to=Estimate)
        return _with_counts(estimate, tally)


share_docs(DeferrableBatches, AsyncDeferrableBatches)


def _submit(client: OpenAI, requests: Requests | None, input_file_id: str | None, options: BatchOptions) -> Batch:
    if input_file_id is not None:
        body = _body(input_file_id, options.get("endpoint") or "/v1/chat/completions", options)
    else:
        with spooled(_given(requests), _recipe(options)) as spool:
            uploaded = client.files.create(file=(spool.name, spool.file), purpose="batch")
            body = _body(uploaded.id, spool.endpoint, options)
    return client.post("/batches", body=body, cast_to=Batch, options=_once())


async def _asubmit(
    client: AsyncOpenAI, requests: Requests | None, input_file_id: str | None, options: BatchOptions
) -> Batch:
    if input_file_id is not None:
        body = _body(input_file_id, options.get("endpoint") or "/v1/chat/completions", options)
    else:
        with spooled(_given(requests), _recipe(options)) as spool:
            uploaded = await client.files.create(file=(spool.name, spool.file), purpose="batch")
            body = _body(uploaded.id, spool.endpoint, options)
    return await client.post("/batches", body=body, cast_to=Batch, options=_once())


def _given(requests: Requests | None) -> Requests:
    if requests is None:
        raise ValueError("There are no requests: give the path of a file, or prompts, bodies or lines.")
    return requests


def _recipe(lines: Lines) -> Recipe:
    return Recipe(
        model=lines.get("model"),
        endpoint=lines.get("endpoint"),
        custom_ids=lines.get("custom_ids"),
        params=lines.get("params") or {},
    )


def _check_names(method: str, given: BatchOptions | Lines, known: type[BatchOptions | Lines]) -> None:
    """Raises TypeError, as of any function, for what is no option: a type checker is not always there to say so."""
    if wrong := given.keys() - known.__optional_keys__:
        name = min(wrong)
        raise TypeError(
            f"{method}() has no option {name!r}. What every body shall have goes into params={{{name!r}: …}}; "
            f"options are {', '.join(sorted(known.__optional_keys__))}."
        )


def _body(file_id: str, endpoint: str, options: BatchOptions) -> dict[str, Any]:
    window = _window(options.get("completion_window", "24h"))
    body: dict[str, Any] = {"input_file_id": file_id, "endpoint": endpoint, "completion_window": window}
    if metadata := options.get("metadata"):
        body["metadata"] = dict(metadata)
    if (kept := options.get("output_expires_after")) is not None:
        body["output_expires_after"] = {"anchor": "created_at", "seconds": int(kept)}
    told = {name: value for name in ("webhook_url", "webhook_events") if (value := options.get(name))}
    if told:
        body["raincheck"] = told
    return body


def _window(given: str | float | timedelta) -> str:
    if isinstance(given, str):
        return given
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    return f"{round(seconds)}s"


def _once() -> Any:
    """A connection that is lost and tried again makes one batch."""
    return {"headers": {"Idempotency-Key": uuid4().hex}}


def _id(batch: str | OpenAIBatch) -> str:
    return batch if isinstance(batch, str) else batch.id


def _known(batch: str | OpenAIBatch) -> Batch:
    if isinstance(batch, Batch):
        return batch
    record: dict[str, Any] = {"id": batch, "status": "validating"} if isinstance(batch, str) else batch.to_dict()
    return Batch.construct(**record)


def _both(one: Observer | None, other: Observer | None) -> Observer | None:
    observers = [each for each in (one, other) if each is not None]
    if not observers:
        return None

    def tell(batch: Batch) -> None:
        for observer in observers:
            observer(batch)

    return tell


def _with_counts(estimate: Estimate, tally: Tally) -> Estimate:
    estimate.requests, estimate.input_tokens = tally.requests, tally.input_tokens
    return estimate

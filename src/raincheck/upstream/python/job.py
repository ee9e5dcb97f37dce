"""What a handler is given (Job) and what it may raise: takes calls from any thread, hands them on to the event loop."""

import asyncio
import concurrent.futures
import math
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from raincheck.core.videos import Source
from raincheck.upstream.protocol import Brought, Report, Work


class Reject(Exception):
    """Raise it to refuse a payload for good: no further attempt is made. `status` is what a direct caller reads."""

    def __init__(self, message: str, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Busy(Exception):
    """Raise it when there is no place just now: the whole queue waits, `retry_after` seconds at the least."""

    def __init__(self, message: str = "The handler is busy.", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cancelled(BaseException):
    """Raised by `Job.raise_if_cancelled`; no Exception, so that `except Exception` in a handler lets it through."""


class Job:
    """One attempt, as a handler sees it. Every method may be called from any thread.

    An async handler is cancelled where it awaits. A sync one must look: read `cancelled` or call `raise_if_cancelled`
    at least once a second. One that never looks keeps its place, one of `max_concurrency`, until it returns by itself.
    """

    def __init__(self, work: Work, report: Report, loop: asyncio.AbstractEventLoop, over: threading.Event) -> None:
        self._work = work
        self._report = report
        self._loop = loop
        self._over = over
        self._remote_id = work.remote_id
        self._bringing: set[concurrent.futures.Future[Brought]] = set()

    @property
    def request_id(self) -> str:
        """The same in every attempt: a good idempotency key for whatever the handler sets off."""
        return self._work.request_id

    @property
    def operation(self) -> str:
        """What kind of call this is, as in `chat.completion`."""
        return self._work.operation

    @property
    def model(self) -> str:
        """The model that was asked for, when one handler serves several."""
        return self._work.model

    @property
    def attempt(self) -> int:
        """Counted from 1."""
        return self._work.attempt

    @property
    def remote_id(self) -> str | None:
        """What `remember` was last given, in this attempt or in an earlier one that was cut short."""
        return self._remote_id

    @property
    def folder(self) -> Path:
        """An empty folder for whatever the handler makes, on this machine's disk. It is made when first asked for and
        goes when the attempt has ended; files that are returned are kept with the result."""
        return self._work.bench.folder

    def input(self, what: str | Mapping[str, Any]) -> Path:
        """A picture, video or sound that the payload names, as a file in the folder: `job.input("video")`, or a member
        itself, as in `job.input(payload["reference_images"][0])`.

        What came with the call is copied from the object store, a URL is fetched under guard. Blocks until it is
        there; an async handler awaits `input_async`. What cannot be used (too large, no media, a private address)
        raises MediaRefused, which ends the request with the reason unless the handler knows better.
        """
        try:
            return self._bring(what).result().path
        except concurrent.futures.CancelledError:
            raise Cancelled from None

    async def input_async(self, what: str | Mapping[str, Any]) -> Path:
        """The same for async handlers."""
        return (await asyncio.wrap_future(self._bring(what))).path

    @property
    def cancelled(self) -> bool:
        """True once nobody wants the answer any longer."""
        return self._over.is_set()

    def raise_if_cancelled(self) -> None:
        """Leave the handler when nobody wants the answer any longer."""
        if self.cancelled:
            raise Cancelled

    def wait_cancelled(self, seconds: float) -> bool:
        """Sleep, but wake as soon as the job is cancelled; returns whether it is. For sync handlers that poll."""
        return self._over.wait(seconds)

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        """Tell how far the work is, from 0 to 1 (None: unknown), and a word for people."""
        if fraction is not None:
            fraction = min(max(float(fraction), 0.0), 1.0) if math.isfinite(fraction) else None
        self._tell(lambda: self._report.progress(fraction, message))

    def delta(self, obj: object) -> None:
        """Show a piece of the answer to those who watch. It is written as JSON here and now."""
        data = msgspec.json.encode(obj)
        self._tell(lambda: self._report.delta(data))

    def remember(self, remote_id: str | None) -> None:
        """Keep the id of a job started elsewhere; a later attempt finds it in `remote_id`. Returns when it is on disk.

        Call it before waiting for that job, so that a crash leads to waiting again and not to paying twice. None
        forgets it, when that job was lost.
        """
        self.raise_if_cancelled()
        self._remote_id = remote_id
        asyncio.run_coroutine_threadsafe(self._record(remote_id), self._loop).result()

    def let_go(self) -> None:
        """Nobody wants the answer any longer: a handler that waits for an input waits no more."""
        for bringing in list(self._bringing):
            bringing.cancel()

    def _tell(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is gone when a handler outlives the server
            self._loop.call_soon_threadsafe(lambda: None if self.cancelled else call())

    async def _record(self, remote_id: str | None) -> None:
        await self._report.remote(remote_id)

    def _bring(self, what: str | Mapping[str, Any]) -> concurrent.futures.Future[Brought]:
        source = self._source(what)
        self.raise_if_cancelled()
        bringing = asyncio.run_coroutine_threadsafe(self._work.bench.bring(source), self._loop)
        self._bringing.add(bringing)
        bringing.add_done_callback(self._bringing.discard)
        if self.cancelled:
            bringing.cancel()
        return bringing

    def _source(self, what: str | Mapping[str, Any]) -> Source:
        found = self._payload.get(what) if isinstance(what, str) else what
        if isinstance(found, str) and found.startswith(("http://", "https://")):
            return Source(url=found)
        with suppress(msgspec.ValidationError):
            source = msgspec.convert(found, Source)
            if (source.url is None) != (source.attachment is None):
                return source
        name = what if isinstance(what, str) else "that"
        raise Reject(f"The payload has no input {name!r}: a URL, or an uploaded file.", "input_missing")

    @cached_property
    def _payload(self) -> Mapping[str, Any]:
        return msgspec.json.decode(self._work.payload, type=dict[str, Any])

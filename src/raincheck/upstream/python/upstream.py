"""PythonUpstream: takes work, has the user's function do it, hands on its answer or what its exception means."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from raincheck.core.clock import SECOND, micros
from raincheck.core.errors import RaincheckError, SettingsInvalid
from raincheck.core.ids import new_id
from raincheck.core.operations import is_video, operation_of
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError, UpstreamError
from raincheck.upstream.protocol import Relayed, Report, Takes, Work
from raincheck.upstream.python import videos
from raincheck.upstream.python.direct import NO_FILES, NoBench, Unheard, relayed
from raincheck.upstream.python.files import Returned, Unwritable
from raincheck.upstream.python.function import load
from raincheck.upstream.python.job import Busy, Job, Reject
from raincheck.upstream.python.runners import GRACE, Runner, runner


class PythonUpstream:
    """A function of the user's, `max_concurrency` calls of it at the most at once, none on the server's event loop.

    Sync functions run in threads; async ones on one event loop of their own, so a line that blocks delays other calls
    of the same handler but never a heartbeat. A call that was cancelled and has not returned yet keeps its place: when
    such calls hold them all, work is given back untried rather than run beyond the limit.
    """

    def __init__(self, *, name: str, handler: str, models: Sequence[str], max_concurrency: int = 32) -> None:
        self.name = name
        self.max_concurrency = max_concurrency
        self._handler = handler
        self._models = models
        self._runner: Runner | None = None
        self._taken = 0

    @property
    def takes(self) -> Takes:
        return Takes.CALLS | Takes.VIDEOS

    async def start(self) -> None:
        """Import the function. Raises SettingsInvalid when there is none by that name."""
        if not self._models:
            raise SettingsInvalid(f"The upstream {self.name!r} of kind python names no models; set `models`.")
        if self._runner is None:
            self._runner = runner(self.name, load(self._handler), self.max_concurrency)

    async def close(self) -> None:
        if self._runner:
            closing, self._runner = self._runner, None
            await asyncio.to_thread(closing.close)

    async def probe(self) -> frozenset[str]:
        return frozenset(model for model in self._models if not any(mark in model for mark in "*?["))

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        if self._runner is None:
            return self._failure(FailureKind.UNREACHABLE, "The handler is not running.", "upstream_down")
        if self._taken >= self.max_concurrency:
            message = f"All {self.max_concurrency} places are taken, some by cancelled calls that have yet to return."
            return self._failure(FailureKind.BUSY, message, "handler_busy", retry_after=SECOND)
        loop = asyncio.get_running_loop()
        over = threading.Event()
        job = Job(work, report, loop, over)
        end: asyncio.Future[Returned | BaseException] = loop.create_future()

        def settle(returned: Returned | BaseException) -> None:
            self._taken -= 1
            end.set_result(returned)

        def ended(returned: Returned | BaseException) -> None:
            with suppress(RuntimeError):  # the loop is gone when a handler outlives the server
                loop.call_soon_threadsafe(settle, returned)

        self._taken += 1
        stop = self._runner.run(work.payload, job, ended)
        try:
            # Waited for in this way, the future is not cancelled with the task: it is the function that has to end.
            await asyncio.wait({end})
        finally:
            over.set()
            if not end.done():
                job.let_go()
                stop()
                await asyncio.wait({end}, timeout=GRACE)
        return self._answer(await _finished(end.result(), work), work.operation)

    async def abandon(self, remote_id: str) -> None:
        """What a function has started elsewhere only that function can stop, when it sees that it is cancelled."""

    @asynccontextmanager
    async def relay(self, path: str, payload: bytes) -> AsyncGenerator[Relayed]:
        """Run the function while the caller waits."""
        asked = msgspec.json.decode(payload, type=_Asked)
        if asked.stream is True:
            message = "Python handlers do not stream to a waiting caller; leave `stream` out, or defer the request."
            answer = self._failure(FailureKind.REJECTED, message, "stream_not_supported", status=400)
        else:
            model = asked.model if isinstance(asked.model, str) else ""
            work = Work(
                request_id=new_id("req"),
                operation=operation_of(path),
                path=path,
                model=model,
                payload=payload,
                attempt=1,
                bench=NoBench(),
            )
            answer = await self.perform(work, Unheard())
            if isinstance(answer, Reply) and answer.made:
                answer = self._failure(FailureKind.REJECTED, NO_FILES, "files_need_deferral", status=400)
        yield relayed(answer)

    def _answer(self, returned: Returned | BaseException, operation: str) -> Reply | Failure:
        match returned:
            case Returned(body) if operation == "chat.completion" and not body.lstrip().startswith(b"{"):
                message = "The handler's answer to a chat completion must be a JSON object."
                return self._failure(FailureKind.REJECTED, message, "handler_result_invalid", status=500)
            case Returned(body, usage, made):
                return Reply(body, usage=usage, made=made)
            case Reject(code=code, status=status):
                return self._failure(FailureKind.REJECTED, str(returned), code or "handler_rejected", status=status)
            case Busy(retry_after=seconds):
                retry_after = None if seconds is None else micros(seconds)
                return self._failure(FailureKind.BUSY, str(returned), "handler_busy", retry_after=retry_after)
            case Unwritable():
                return self._failure(FailureKind.REJECTED, str(returned), "handler_result_invalid", status=500)
            case RaincheckError():  # An input could not be had, and the error says whether another try may do.
                raise returned
            case _:
                message = f"{type(returned).__name__}: {returned}"
                return self._failure(FailureKind.TRANSIENT, message, "handler_error")

    def _failure(
        self, kind: FailureKind, message: str, code: str, *, status: int | None = None, retry_after: int | None = None
    ) -> Failure:
        type_ = "invalid_request_error" if status is not None and status < 500 else "server_error"
        return Failure(kind, RequestError(message, type_, code, upstream=UpstreamError(self.name, status)), retry_after)


async def _finished(returned: Returned | BaseException, work: Work) -> Returned | BaseException:
    if not (is_video(work.operation) and isinstance(returned, Returned)):
        return returned
    try:
        return await videos.finished(returned, work)
    except Unwritable as error:
        return error


class _Asked(msgspec.Struct):
    model: object = None
    stream: object = None

"""Work in, a job at another server begun, waited for and collected: what all such servers have in common.

The job's id is on disk before anything is waited for, so that whoever comes after a crash finds the job again (G4).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypedDict
from urllib.parse import quote

import msgspec

from raincheck.core.clock import SECOND
from raincheck.core.errors import BadInput, UpstreamBroke, UpstreamDown
from raincheck.core.outcome import Failure, FailureKind, Made, Reply, RequestError, envelope
from raincheck.core.videos import VideoAsk
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.openai import OpenAIUpstream, failures
from raincheck.upstream.protocol import Relayed, Report, Takes, Work, whole
from raincheck.upstream.videos import finish, verdict
from raincheck.upstream.videos.job import Job, Stage
from raincheck.upstream.videos.patience import NewPatience, Patience
from raincheck.upstream.videos.wire import TROUBLE, Answer, JobWire

_GONE = frozenset({404, 410})
_DEAF = frozenset({401, 403, 408, 425, 429})
"""Statuses of a server that did not take note of what it was told; those from 500 on say so too."""
_STOP_WITHIN = 4.0
"""Seconds for each call that stops a job: vLLM-Omni waits for its engine in it."""
_LAST_WORD = 3.0
"""Seconds that calls which begin jobs nobody wants any longer get to tell their ids when everything closes."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between looks at a job: grows from `first` to `longest`, unless the server asks for another."""

    first: float
    longest: float

    def after(self, wait: float) -> float:
        return min(wait * 1.25, self.longest)


@dataclass(frozen=True, slots=True)
class Over:
    """The job is no more, and gave nothing: the next attempt begins another."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class Collected:
    """What a job made, on this disk."""

    video: Path
    shown: tuple[Made, ...] = ()
    """The small pictures of it that the server had itself."""


Look = Callable[[], Awaitable[Job | Failure | Over]]
"""Look at a job that is done once more."""


class Dialect(Protocol):
    """In what words one kind of server is spoken to."""

    deletes: bool
    """Whether a job that was stopped is to be deleted as well."""

    async def prepare(self, work: Work, ask: VideoAsk) -> Callable[[], Awaitable[Answer]]:
        """The call that begins the job, its inputs ready. Raises BadInput, and what `Bench.bring` raises."""
        ...

    def read(self, answer: Answer) -> Job | None:
        """What an answer says of a job; None when it is none about a job."""
        ...

    async def collect(self, job: Job, folder: Path, look: Look, /) -> Collected | Failure | Over:
        """The video of a job that is done, as a file in the folder."""
        ...


class Speaks(Protocol):
    """Makes the dialect for one server."""

    def __call__(self, name: str, wire: JobWire, *, limits: MediaLimits, patience: NewPatience) -> Dialect:
        """`limits` bound what is fetched from links, and let the server's own host through."""
        ...


class Access(TypedDict, total=False):
    """How one server is reached: what every kind of `RemoteVideos` takes."""

    api_key: str | None
    silence_timeout: int
    """Microseconds."""
    limits: MediaLimits | None


class RemoteVideos:
    """One server that makes videos as jobs of its own."""

    def __init__(
        self,
        name: str,
        base_url: str,
        speaks: Speaks,
        pace: Pace,
        *,
        api_key: str | None = None,
        silence_timeout: int = 300 * SECOND,
        limits: MediaLimits | None = None,
    ) -> None:
        self._name = name
        self._pace = pace
        self._patience = partial(Patience, silence_timeout / SECOND, pace.first)
        self._wire = JobWire(base_url, api_key=api_key, silence_timeout=silence_timeout)
        allowed = limits or MediaLimits()
        allowed = replace(allowed, hosts=(*allowed.hosts, self._wire.host))
        self._dialect = speaks(name, self._wire, limits=allowed, patience=self._patience)
        self._silence = silence_timeout / SECOND
        self._leaving: set[asyncio.Task[None]] = set()
        self._models = OpenAIUpstream(name, base_url, api_key=api_key, silence_timeout=silence_timeout)
        """For the list of models, which is the same everywhere."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def takes(self) -> Takes:
        return Takes.VIDEOS

    async def start(self) -> None:
        """Open the client; nothing is sent yet."""
        await self._wire.open()
        await self._models.start()

    async def close(self) -> None:
        """Close every connection; the jobs go on."""
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_LAST_WORD)
        for task in self._leaving:
            task.cancel()
        await self._wire.close()
        await self._models.close()

    async def probe(self) -> frozenset[str]:
        """The models it lists; none when it has no such list, which is no fault."""
        return await self._models.probe()

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        """Begin a job, or re-attach to the one that is known, and bring home what it makes."""
        try:
            answer = await self._perform(work, _read(work.payload), report)
        except BadInput as error:
            return _rejected(error)
        except UpstreamBroke as error:
            return Failure(FailureKind.TRANSIENT, RequestError(error.message, error.kind, error.code))
        if isinstance(answer, Over):
            await report.remote(None)
            return answer.failure
        return answer

    async def abandon(self, remote_id: str) -> None:
        """Stop a job: cancel it where that exists, and delete it where that is how a job is stopped."""
        path = job_path(remote_id)
        calls = [("POST", f"{path}/cancel"), *([("DELETE", path)] if self._dialect.deletes else [])]
        stopped, trouble = False, None
        for method, target in calls:
            try:
                answer = await self._wire.ask(method, target, within=_STOP_WITHIN)
            except TROUBLE as error:
                trouble = failures.broke(self.name, error)
            else:
                deaf = answer.status in _DEAF or (answer.status >= 500 and answer.status != 501)
                trouble = answer.failure(self.name) if deaf else None
                stopped = stopped or answer.good
        if trouble is not None and not stopped:
            raise UpstreamDown(trouble.error.message)

    @asynccontextmanager
    async def relay(self, path: str, payload: bytes) -> AsyncGenerator[Relayed]:  # noqa: ARG002 - as the protocol has it
        """Refused, for nobody waits on a connection for a video."""
        what = "Videos are made as deferred requests; submit one and fetch it when it is done."
        refusal = RequestError(what, "invalid_request_error", "videos_are_deferred")
        yield whole(400, envelope(refusal))

    async def _perform(self, work: Work, ask: VideoAsk, report: Report) -> Reply | Failure | Over:
        job_id = work.remote_id or await self._begin(work, ask, report)
        if isinstance(job_id, Failure):
            return job_id

        async def look() -> Job | Failure | Over:
            return await self._follow(job_id, report)

        job = await look()
        if not isinstance(job, Job):
            return job
        report.progress(1.0, "downloading")
        collected = await self._dialect.collect(job, work.bench.folder, look)
        if not isinstance(collected, Collected):
            return collected
        reply = await finish.reply(self.name, ask, job, collected.video, collected.shown)
        return Over(reply) if isinstance(reply, Failure) else reply

    async def _begin(self, work: Work, ask: VideoAsk, report: Report) -> str | Failure:
        """The id of a new job, which is on disk now. A job that nobody will hear of is a stray."""
        call = await self._dialect.prepare(work, ask)
        creating = asyncio.create_task(self._create(call))
        try:
            job_id = await asyncio.shield(creating)
        except asyncio.CancelledError:
            # Hanging up would not keep the server from beginning it, but us from knowing it.
            leaving = asyncio.create_task(self._leave(creating, report))
            self._leaving.add(leaving)
            leaving.add_done_callback(self._leaving.discard)
            raise
        if isinstance(job_id, Failure):
            return job_id
        try:
            await report.remote(job_id)
        except Exception:  # A cancel is none: what is being recorded then will be.
            await report.stray(job_id)
            raise
        return job_id

    async def _create(self, call: Callable[[], Awaitable[Answer]]) -> str | Failure:
        try:
            answer = await call()
        except TROUBLE as error:
            return failures.broke(self.name, error)
        if not answer.good:
            return answer.failure(self.name)
        job = self._dialect.read(answer)
        if job is None or not job.id:
            return failures.transient(self.name, "upstream_not_json", "began a job and gave no id.", answer.body)
        return job.id

    async def _leave(self, creating: asyncio.Task[str | Failure], report: Report) -> None:
        """Nobody wants the job that is being begun: have it stopped as soon as its id is known."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._silence):
                job_id = await creating
            if not isinstance(job_id, Failure):
                await report.stray(job_id)

    async def _follow(self, job_id: str, report: Report) -> Job | Failure | Over:
        """Look until the job has ended. While it is known, a server that is away is waited for."""
        patience = self._patience()
        wait, absent = self._pace.first, False
        while True:
            seen = await self._look(job_id)
            if isinstance(seen, Over):
                if absent:
                    return seen
                absent = True  # One of several servers behind an address may not have heard of it yet.
                await asyncio.sleep(self._pace.first)
            elif isinstance(seen, Failure):
                pause = patience.pause((seen.retry_after or 0) / SECOND)
                if pause is None:
                    return Failure(FailureKind.TRANSIENT, seen.error)
                await asyncio.sleep(pause)
            elif seen.stage is Stage.WAITING:
                patience.heard()
                absent = False
                report.progress(seen.progress, seen.word)
                await asyncio.sleep(seen.poll_after or wait)
                wait = self._pace.after(wait)
            else:
                return self._ended(seen)

    async def _look(self, job_id: str) -> Job | Failure | Over:
        try:
            answer = await self._wire.ask("GET", job_path(job_id))
        except TROUBLE as error:
            return failures.broke(self.name, error)
        job = self._dialect.read(answer)
        if job is not None and job.id and job.stage is Stage.FAILED:
            return job  # Some tell of it under the status that the job met, which is not this call's.
        if answer.status in _GONE:
            return Over(verdict.lost(self.name))
        if not answer.good:
            return answer.failure(self.name)
        if job is None:
            return failures.transient(self.name, "upstream_not_json", "told of a job in no known way.", answer.body)
        return job

    def _ended(self, job: Job) -> Job | Over:
        if job.stage is Stage.FAILED:
            return Over(verdict.failed(self.name, job))
        if job.refused is not None:
            return Over(verdict.withheld(self.name, job.refused))
        return job


def job_path(job_id: str) -> str:
    """Where a job is, below the base URL."""
    return f"/videos/{quote(job_id, safe='')}"


def _read(payload: bytes) -> VideoAsk:
    try:
        return msgspec.json.decode(payload, type=VideoAsk)
    except msgspec.DecodeError as error:
        raise BadInput(f"This is no call for a video: {error}") from error


def _rejected(error: BadInput) -> Failure:
    return Failure(FailureKind.REJECTED, RequestError(error.message, error.kind, error.code, error.param))

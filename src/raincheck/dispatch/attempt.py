"""One attempt: a lease and a permit go in, one fenced outcome comes out."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial
from typing import assert_never

from msgspec import structs

from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import AttachmentGone, BadInput, NoObjectStore, RaincheckError
from raincheck.core.model import Beat, Fence, Finish, Lease, Remote
from raincheck.core.operations import is_video
from raincheck.core.outcome import Failure, FailureKind, Outcome, Released, Reply, RequestError
from raincheck.core.retry import RetryPolicy, decide, expired
from raincheck.dispatch import readings
from raincheck.dispatch.bench import Benches
from raincheck.dispatch.outage import endured
from raincheck.dispatch.stow import Stow, Unreadable, is_bulky
from raincheck.live import Live
from raincheck.store.protocol import Leases, Strays
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.protocol import Bench, Work

LONGEST_MESSAGE = 500


class Stop(Enum):
    """Why an attempt is stopped from outside."""

    LOST = auto()
    """Its fence holds no more: cancelled, or claimed by another. Whatever it does is not recorded."""
    LATE = auto()
    """The request's deadline passed."""
    CLOSING = auto()
    """This worker stops: the request is given back untried."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What every attempt needs beside its lease and its place. All durations are microseconds."""

    leases: Leases
    stow: Stow | None
    """Where files and big answers go; without it there are no files, and answers of any size stand in the record."""
    strays: Strays
    benches: Benches
    catalogue: Catalogue
    live: Live
    lease_for: int
    clock: Clock
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    jitter: Callable[[], float] = random.random


class Attempt:
    """Performs one lease at one upstream and records how it went."""

    def __init__(self, lease: Lease, member: Member, means: Means) -> None:
        self.lease = lease
        self.member = _holder(lease.remote, means.catalogue) or member
        """Where it is performed: at the upstream that has its job already, whoever's place it was given. (That place
        stays the one that is counted: to look at a job costs its upstream nothing, and the job runs anyway.)"""
        self._remote = lease.remote
        self._means = means
        self._bench = means.benches.bench(lease)
        self._call: asyncio.Task[Reply | Failure] | None = None
        self._noting: asyncio.Task[None] | None = None
        self._called_at = 0.0
        self._first_token: int | None = None
        self._stop: Stop | None = None
        self._putting: asyncio.Task[Finish] | None = None
        self._cut_off = False

    def stop(self, why: Stop) -> None:
        """Abort the call to the upstream; the first reason counts, and the call is cancelled once: a second time would
        abort what it does in order to stop."""
        if self._stop is None:
            self._stop = why
            if self._call is not None:
                self._call.cancel()
        if why is Stop.LOST:
            self.cut_off()

    def cut_off(self) -> None:
        """Put away no more of what was made: the request is given back untried, if it is still held."""
        self._cut_off = True
        if self._putting is not None:
            self._putting.cancel()

    async def perform(self) -> Finish | None:
        """Call the upstream; returns what to record, or None when the lease was lost on the way."""
        self._means.live.begin(self.lease.fence, self.lease.attempt)
        timer = self._watch_deadline()
        try:
            answer = await self._ask()
        finally:
            if timer is not None:
                timer.cancel()
            self._means.live.end(self.lease.fence)
        outcome = self._outcome(answer)
        if outcome is None:
            return None
        return Finish(
            self.lease.fence,
            outcome,
            self.member.name,
            tokens=readings.tokens(answer),
            congested=readings.congested(answer),
            first_token=self._first_token,
        )

    async def record(self, finish: Finish) -> bool:
        """Put away what is big and write the outcome, as often as either takes while its store is down. False when the
        fence had been lost, and then nothing is kept."""
        stow = self._means.stow
        if stow is not None and is_bulky(finish):
            finish = await self._put_away(finish, stow)
        lost = await endured(partial(self._means.leases.finish, [finish]))
        if lost and stow is not None:
            await stow.drop(finish)
        return not lost

    async def clear_away(self) -> None:
        """Remove what the attempt left on disk, once it has been recorded or is lost."""
        if self._noting is not None:
            self._noting.cancel()
        await self._bench.close()

    # --- what the upstream says on the way (upstream.protocol.Report)

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        # Words out of someone's Python function may hold half a character, or a novel.
        words = None if message is None else message[:LONGEST_MESSAGE].encode(errors="replace").decode()
        self._means.live.progress(self.lease.fence, fraction, words)

    def delta(self, data: bytes) -> None:
        if self._first_token is None:
            self._first_token = int((asyncio.get_running_loop().time() - self._called_at) * SECOND)
        self._means.live.delta(self.lease.fence, data)

    async def remote(self, remote_id: str | None) -> None:
        # On its own, since a stop must not leave it open whether the job is known.
        remote = None if remote_id is None else Remote(self.member.name, remote_id)
        self._noting = asyncio.create_task(self._note(remote))
        await asyncio.shield(self._noting)

    async def stray(self, remote_id: str) -> None:
        await self._stray(Remote(self.member.name, remote_id))

    # ---

    async def _note(self, remote: Remote | None) -> None:
        beat = Beat(self.lease.fence, remote=remote)
        held = await endured(partial(self._means.leases.extend, [beat], lease_for=self._means.lease_for))
        if self.lease.fence in held:
            self._remote = remote
            return
        if remote is not None and remote != self._remote:
            await self._stray(remote)  # Begun for a request that had just ended: the record never knew of it.
        self.stop(Stop.LOST)

    async def _stray(self, remote: Remote) -> None:
        await endured(partial(self._means.strays.add, [remote]))

    async def _ask(self) -> Reply | Failure | None:
        if self._stop is not None:
            return None
        self._called_at = asyncio.get_running_loop().time()
        self._call = asyncio.create_task(self._perform())
        try:
            answer = await self._call
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            if self._noting is not None:  # The end that is recorded next has to know of the job.
                await self._noting
            return None
        except RaincheckError as error:
            answer = _told(error)
        except Exception as error:  # noqa: BLE001 - a fault in an adapter must not take the worker with it
            text = f"The adapter for {self.member.name} broke: {type(error).__name__}: {error}"
            answer = Failure(FailureKind.TRANSIENT, RequestError(text, code="adapter_error"))
        if isinstance(answer, Failure) and answer.kind is FailureKind.UNREACHABLE:
            self._means.catalogue.mark_down(self.member, _why(answer.error))
        return answer

    async def _perform(self) -> Reply | Failure:
        if is_video(self.lease.operation) and self._means.benches.objects is None:
            return _told(NoObjectStore())  # Before anything is paid for: there is nowhere to keep it.
        if self._remote is not None and self._remote.upstream != self.member.name:
            name = self._remote.upstream
            self.progress(None, f"The upstream {name!r} that had its job cannot be called here: doing it anew.")
            await self._stray(self._remote)
            await self.remote(None)
        answer = await self.member.upstream.perform(_work(self.lease, self._remote, self._bench), self)
        if isinstance(answer, Failure) or not answer.made:
            return answer
        if self._means.benches.objects is None:
            return _told(NoObjectStore())
        if gone := [made.name for made in answer.made if not made.path.is_file()]:
            text = f"{self.member.name} made {', '.join(gone)}, it says, but there is no such file."
            return Failure(FailureKind.TRANSIENT, RequestError(text, code="adapter_error"))
        return answer

    async def _put_away(self, finish: Finish, stow: Stow) -> Finish:
        if self._cut_off:
            return structs.replace(finish, outcome=Released())
        self._putting = asyncio.create_task(endured(partial(stow.put, finish)))
        try:
            return await self._putting
        except asyncio.CancelledError:
            if not self._cut_off:
                raise
            return structs.replace(finish, outcome=Released())
        except Unreadable as error:
            failure = Failure(FailureKind.TRANSIENT, RequestError(str(error), code="adapter_error"))
            return structs.replace(finish, outcome=self._decided(failure))

    def _decided(self, answer: Reply | Failure) -> Outcome:
        return decide(self.lease, answer, self._means.policy, now=self._means.clock(), jitter=self._means.jitter)

    def _outcome(self, answer: Reply | Failure | None) -> Outcome | None:
        if answer is not None:
            return self._decided(answer)
        match self._stop:
            case Stop.LATE:
                return expired(None)
            case Stop.CLOSING:
                return Released()
            case Stop.LOST | None:
                return None
            case _:
                assert_never(self._stop)

    def _watch_deadline(self) -> asyncio.TimerHandle | None:
        if self.lease.deadline is None:
            return None
        left = max(0, self.lease.deadline - self._means.clock()) / SECOND
        return asyncio.get_running_loop().call_later(left, self.stop, Stop.LATE)

    @property
    def fence(self) -> Fence:
        return self.lease.fence


def _why(error: RequestError) -> str:
    """Why an upstream is down, fit for logs and for every tenant: what it said itself may quote someone's payload."""
    status = error.upstream and error.upstream.status
    return error.message if status is None else f"it answered {status} and takes nothing just now"


def _holder(remote: Remote | None, catalogue: Catalogue) -> Member | None:
    """The upstream that has the job, when it can be called from here."""
    if remote is None:
        return None
    return next((each for each in catalogue.members if each.name == remote.upstream and each.places), None)


def _told(error: RaincheckError) -> Failure:
    """Of an error with inputs or files: it ends the request when only the caller can mend it, or the operator."""
    for_good = isinstance(error, BadInput | AttachmentGone | NoObjectStore)
    kind = FailureKind.REJECTED if for_good else FailureKind.TRANSIENT
    return Failure(kind, RequestError(error.message, error.kind, error.code, error.param))


def _work(lease: Lease, remote: Remote | None, bench: Bench) -> Work:
    return Work(
        request_id=lease.fence.request_id,
        operation=lease.operation,
        path=lease.path,
        model=lease.model,
        payload=lease.payload,
        attempt=lease.attempt,
        bench=bench,
        remote_id=None if remote is None else remote.id,
        created_at=lease.created_at,
    )

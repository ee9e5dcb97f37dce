"""One attempt: a lease and a permit go in, one fenced outcome comes out."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import assert_never

from raincheck.core.clock import SECOND, Clock
from raincheck.core.errors import StoreUnavailable
from raincheck.core.model import Beat, Fence, Finish, Lease
from raincheck.core.outcome import Failure, FailureKind, Outcome, Released, Reply, RequestError
from raincheck.core.retry import RetryPolicy, decide, expired
from raincheck.dispatch import readings
from raincheck.live import Live
from raincheck.store.protocol import Leases
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.protocol import Work

LONGEST_MESSAGE = 500
RETRY_STORE_AFTER = 0.5
"""Seconds between tries to record an outcome while the store is unavailable."""


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
        self.member = member
        self._means = means
        self._call: asyncio.Task[Reply | Failure] | None = None
        self._called_at = 0.0
        self._first_token: int | None = None
        self._stop: Stop | None = None

    def stop(self, why: Stop) -> None:
        """Abort the call to the upstream; the first reason counts."""
        if self._stop is None:
            self._stop = why
        if self._call is not None:
            self._call.cancel()

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
        """Write the outcome, as often as it takes while the store is down. False when the fence had been lost."""
        while True:
            try:
                return not await self._means.leases.finish([finish])
            except StoreUnavailable:
                await asyncio.sleep(RETRY_STORE_AFTER)

    # --- what the upstream says on the way (upstream.protocol.Report)

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        # Words out of someone's Python function may hold half a character, or a novel.
        words = None if message is None else message[:LONGEST_MESSAGE].encode(errors="replace").decode()
        self._means.live.progress(self.lease.fence, fraction, words)

    def delta(self, data: bytes) -> None:
        if self._first_token is None:
            self._first_token = int((asyncio.get_running_loop().time() - self._called_at) * SECOND)
        self._means.live.delta(self.lease.fence, data)

    async def remote(self, remote_id: str) -> None:
        beat = Beat(self.lease.fence, remote_id=remote_id)
        while True:
            try:
                held = await self._means.leases.extend([beat], lease_for=self._means.lease_for)
            except StoreUnavailable:
                await asyncio.sleep(RETRY_STORE_AFTER)
            else:
                break
        if self.lease.fence not in held:
            self.stop(Stop.LOST)

    # ---

    async def _ask(self) -> Reply | Failure | None:
        if self._stop is not None:
            return None
        self._called_at = asyncio.get_running_loop().time()
        self._call = asyncio.create_task(self.member.upstream.perform(_work(self.lease), self))
        try:
            answer = await self._call
        except asyncio.CancelledError:
            if self._stop is None:
                raise
            return None
        except Exception as error:  # noqa: BLE001 - a fault in an adapter must not take the worker with it
            text = f"The adapter for {self.member.name} broke: {type(error).__name__}: {error}"
            answer = Failure(FailureKind.TRANSIENT, RequestError(text, code="adapter_error"))
        if isinstance(answer, Failure) and answer.kind is FailureKind.UNREACHABLE:
            self._means.catalogue.mark_down(self.member, _why(answer.error))
        return answer

    def _outcome(self, answer: Reply | Failure | None) -> Outcome | None:
        if answer is not None:
            return decide(self.lease, answer, self._means.policy, now=self._means.clock(), jitter=self._means.jitter)
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


def _work(lease: Lease) -> Work:
    return Work(
        request_id=lease.fence.request_id,
        operation=lease.operation,
        path=lease.path,
        model=lease.model,
        payload=lease.payload,
        attempt=lease.attempt,
        remote_id=lease.remote_id,
    )

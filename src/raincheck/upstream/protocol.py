"""What dispatch asks of an upstream: perform a piece of work and report on the way."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from raincheck.core.outcome import Failure, Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One attempt, as an upstream needs to know it."""

    request_id: str
    operation: str
    path: str
    """Below the upstream's base URL, as in `/chat/completions`."""
    model: str
    payload: bytes
    """The JSON body as the client sent it, without Raincheck's own members."""
    attempt: int
    remote_id: str | None = None
    """Set when an earlier attempt started a remote job: re-attach to it."""


class Report(Protocol):
    """How an upstream tells of work under way. Calls are cheap; none of them blocks."""

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        """How far the work is, between 0 and 1 (None: unknown), and a word for people."""
        ...

    def delta(self, data: bytes) -> None:
        """A piece of the answer as it came: one JSON chunk of the upstream's stream."""
        ...

    async def remote(self, remote_id: str) -> None:
        """Record the remote job's id durably. Returns when it is on disk; call it before waiting for the job."""
        ...


@dataclass(frozen=True, slots=True)
class Relayed:
    """An upstream's answer passed on as it comes: status, content type and the bytes of the body."""

    status: int
    headers: Mapping[str, str]
    """In lower case, and only those that are for the caller: the adapter leaves the others out."""
    body: AsyncIterator[bytes]


class Upstream(Protocol):
    """A server or function that does the work."""

    @property
    def name(self) -> str: ...

    async def start(self) -> None:
        """Get ready (open the client, start the child process). Raises RaincheckError when that can never work."""
        ...

    async def close(self) -> None:
        """Let go of everything. Safe to call at any time, more than once."""
        ...

    async def probe(self) -> frozenset[str]:
        """The models that are served right now. Raises UpstreamDown when it cannot be reached."""
        ...

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        """Do the work and answer with the whole of it, or say why not. Raises nothing that an upstream could cause.

        Cancelling the task aborts the call; when the cancellation has gone through, the remote side has been told to
        stop (G5).
        """
        ...

    def relay(self, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        """Pass a call through while the client waits, streaming when the payload asks for it.

        Entering raises UpstreamDown when nothing could be sent, UpstreamBroke when it was and no answer came; the body
        raises UpstreamBroke when it breaks off midway. Leaving early aborts the call.
        """
        ...

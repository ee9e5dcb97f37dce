"""What dispatch asks of an upstream: perform a piece of work and report on the way."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path
from typing import Protocol

from raincheck.core.outcome import Failure, Reply
from raincheck.core.videos import Source


class Takes(Flag):
    """What kinds of work an upstream is for."""

    CALLS = auto()
    """Anything that is answered by one HTTP exchange: text, embeddings, pictures."""
    VIDEOS = auto()


@dataclass(frozen=True, slots=True)
class Brought:
    """An input as a file on this machine."""

    path: Path
    content_type: str
    """By its first bytes, whatever it was called."""
    size: int


class Bench(Protocol):
    """Where one attempt does its work: a folder of its own, and its inputs as files."""

    @property
    def folder(self) -> Path:
        """An empty folder for whatever the attempt makes, on a disk of this machine; it goes when the attempt has been
        recorded. Made when first asked for."""
        ...

    async def bring(self, source: Source) -> Brought:
        """An input as a file in the folder: from the object store, or fetched from a URL under guard (size, time,
        no private addresses, no redirects), and only when its first bytes are those of a picture, a video or a sound.
        Asking again gives the same file. Raises MediaRefused, which says why and must end the request;
        UpstreamBroke when another try may do."""
        ...


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
    bench: Bench
    remote_id: str | None = None
    """Set when an earlier attempt started a remote job here: re-attach to it."""
    created_at: int | None = None
    """When the request was submitted, in microseconds, for answers that tell of it; None when it is made just now."""


class Report(Protocol):
    """How an upstream tells of work under way. Calls are cheap; none of them blocks."""

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        """How far the work is, between 0 and 1 (None: unknown), and a word for people."""
        ...

    def delta(self, data: bytes) -> None:
        """A piece of the answer as it came: one JSON chunk of the upstream's stream."""
        ...

    async def remote(self, remote_id: str | None) -> None:
        """Record the remote job's id durably, or that there is none any more (None: the next attempt starts anew).
        Returns when it is on disk; call it before waiting for the job."""
        ...

    async def stray(self, remote_id: str) -> None:
        """Hand over a remote job that was begun for nothing, to be stopped by whoever can. Returns when that is on
        disk; it may be called after `perform` was cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Relayed:
    """An upstream's answer passed on as it comes: status, content type and the bytes of the body."""

    status: int
    headers: Mapping[str, str]
    """In lower case, and only those that are for the caller: the adapter leaves the others out."""
    body: AsyncIterator[bytes]


class Relay(Protocol):
    """Passes a call on while its client waits."""

    def call(self, *, model: str, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        """Entering raises ModelUnknown, UpstreamBusy or UpstreamDown; leaving early aborts the call."""
        ...


JSON = {"content-type": "application/json"}


def whole(status: int, body: bytes, headers: Mapping[str, str] = JSON) -> Relayed:
    """An answer that is there already."""

    async def once() -> AsyncIterator[bytes]:
        yield body

    return Relayed(status, headers, once())


class Upstream(Protocol):
    """A server or function that does the work."""

    @property
    def name(self) -> str: ...

    @property
    def takes(self) -> Takes: ...

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

        Cancelling the task, which happens once, aborts the call; when the cancellation has gone through, the remote
        side has been told to stop (G5). But a job whose id was reported goes on, so that another worker can re-attach:
        `abandon` stops it. A job that is only being begun goes to `Report.stray` as soon as its id is known.
        Files that are `made` lie in the work's folder.
        """
        ...

    async def abandon(self, remote_id: str) -> None:
        """Stop a remote job that nobody wants any longer. One that is over or unknown is no error.
        Raises UpstreamDown when the upstream could not be told."""
        ...

    def relay(self, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        """Pass a call through while the client waits, streaming when the payload asks for it.

        Entering raises UpstreamDown when nothing could be sent, UpstreamBroke when it was and no answer came; the body
        raises UpstreamBroke when it breaks off midway. Leaving early aborts the call.
        """
        ...

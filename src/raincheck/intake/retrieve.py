"""Takes a request's id, hands on everything that is known about it: the View; or waits for news of it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from raincheck.core.clock import FOREVER, HOUR, Clock
from raincheck.core.errors import AttachmentGone, NotFound, RaincheckError, ResultGone, StoreUnavailable
from raincheck.core.model import Attachment, Attempt, Place, Request, Result
from raincheck.core.status import Status
from raincheck.intake.links import Links
from raincheck.live import Live, Watch
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Requests
from raincheck.upstream.catalogue import Catalogue

LOOK_AGAIN = 5.0
"""Seconds after which one who waits reads the record unasked: a hint may be lost."""

LINK_FOR = HOUR
"""Microseconds that a signed link to a big result can be followed. It is made at each read, so it need not last."""

Reason = Literal[
    "position", "rate_limited", "tenant_limit", "upstream_down", "paused", "scheduled", "retry", "not_served"
]


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """Why a pending request is not being worked on."""

    reason: Reason
    until: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Linked:
    """A file that a request has made, and where it can be fetched from without a key."""

    attachment: Attachment
    path: str
    """On this server."""


@dataclass(slots=True)
class View:
    """A request with all that belongs to it at this moment."""

    request: Request
    progress: float | None
    progress_message: str | None
    attempts: Sequence[Attempt] = ()
    place: Place | None = None
    waiting_for: WaitingFor | None = None
    result: Result | None = None
    link: str | None = None
    """Where a result in an object store can be fetched from without a key, when it can."""
    files: Sequence[Linked] = ()
    """What a completed request has made."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What reading needs."""

    requests: Requests
    catalogue: Catalogue
    live: Live
    clock: Clock
    links: Links
    objects: BlobStore | None = None

    async def view(self, tenant: str, request_id: str) -> View:
        """The request as it stands. Raises NotFound."""
        return await self.complete(await self.requests.get(tenant, request_id))

    async def complete(self, request: Request) -> View:
        """The view of a record that was just read."""
        progress, message = request.progress, request.progress_message
        tried = request.started_at is not None and not request.purged
        attempts = await self.requests.attempts(request.tenant, request.id) if tried else ()
        place = waiting_for = result = link = None
        files: Sequence[Linked] = ()
        if request.status is Status.PENDING:
            place = await self.requests.place(request.tenant, request.id)
            waiting_for = place and waiting_reason(request, place, self.catalogue, self.clock())
        elif request.status is Status.COMPLETED and not request.purged:
            result = await self.requests.result(request.tenant, request.id)
            link = await self._link(result)
            files = self.linked(request, result)
        elif (notes := self.live.notes(request.id)) is not None and not request.status.final:
            progress, message = notes.progress, notes.progress_message
        return View(request, progress, message, attempts, place, waiting_for, result, link, files)

    def linked(self, request: Request, result: Result | None) -> Sequence[Linked]:
        """The files of a result, each with a link that is good from now on.

        Links lead here, also to what is in a bucket: here they are recognised when they come back as inputs, end with
        the request, and reach whoever reaches this server.
        """
        if result is None or not result.attachments:
            return ()
        now, sign = self.clock(), self.links.sign
        return [Linked(each, sign(request.tenant, request.id, each.name, now)) for each in result.attachments]

    async def file(self, tenant: str, request_id: str, name: str) -> Attachment:
        """The output of this name, else the input. Raises NotFound, AttachmentGone once purged."""
        found = {each.role: each for each in await self.requests.attachments(tenant, request_id) if each.name == name}
        if (attachment := found.get("output") or found.get("input")) is not None:
            return attachment
        if (await self.requests.get(tenant, request_id)).purged:
            raise AttachmentGone("The file was purged when its retention ended; submit the request again.")
        raise NotFound(f"{request_id} has no file {name!r}; GET /v1/requests/{request_id} lists those it has.")

    async def read(self, blob: str, start: int, end: int, *, gone: RaincheckError) -> AsyncGenerator[bytes]:
        """Bytes from the object store, piece by piece. Raises `gone` when they are not there."""
        if self.objects is None:
            raise StoreUnavailable("The body is in an object store, and this server was given none: set store.blobs.")
        try:
            async for piece in self.objects.read(blob, start, end):
                yield piece
        except NotFound as error:
            raise gone from error

    async def body(self, result: Result) -> bytes:
        """The whole of a result, wherever it is kept. Raises ResultGone, StoreUnavailable."""
        if result.blob is None or result.size is None:
            return result.body
        gone = ResultGone("The result is not in the object store any more; submit the request again.")
        return b"".join([piece async for piece in self.read(result.blob, 0, result.size, gone=gone)])

    async def _link(self, result: Result | None) -> str | None:
        if result is None or result.blob is None or self.objects is None:
            return None
        with suppress(StoreUnavailable):  # The record can be read all the same.
            return await self.objects.sign(result.blob, expires_in=LINK_FOR)
        return None

    async def wait(self, watch: Watch, request: Request, *, seconds: float, since: Status | None = None) -> Request:
        """The record once the request has ended, or its status is no longer `since`, or the time is over, or the server
        stops.

        The watch was open before the record was read, so that nothing falls between.
        """
        now = asyncio.get_running_loop().time
        give_up = now() + seconds
        while True:
            left = 0.0 if self.live.closed else give_up - now()
            if request.status.final or left <= 0 or (since is not None and request.status is not since):
                return request
            await watch.news(min(left, LOOK_AGAIN))
            request = await self.requests.get(request.tenant, request.id)


def waiting_reason(request: Request, place: Place, catalogue: Catalogue, now: int) -> WaitingFor:
    """Why a pending request waits: its own time first, then what stops its queue, then those ahead of it."""
    if request.due_at is not None and request.due_at > now:
        if request.attempt:
            return WaitingFor("retry", request.due_at, f"attempt {request.attempt + 1} starts after a pause")
        return WaitingFor("scheduled", request.due_at, "it is scheduled for later")
    if not catalogue.serving(request.queue):
        words = f"no upstream serves {request.model!r} now; it waits until one does: cancel it, or bring the model back"
        return WaitingFor("not_served", None, words)
    if place.paused_until is not None and place.paused_until > now:
        if place.pause_reason is None:
            return WaitingFor("rate_limited", place.paused_until, "the upstream asked to be left alone for a while")
        return WaitingFor("paused", _known(place.paused_until), place.pause_reason)
    if (member := catalogue.down(request.queue)) is not None:
        why = f": {member.down_reason}" if member.down_reason else ""
        return WaitingFor("upstream_down", None, f"the upstream {member.name} is down{why}")
    if request.parked:
        return WaitingFor("tenant_limit", None, "its tenant runs as many requests as it may (max_running)")
    if place.held_until is not None and place.held_until > now:
        return WaitingFor("rate_limited", _known(place.held_until), place.held_reason or "a limit is used up")
    return WaitingFor("position", None, _ahead(place))


def _known(until: int) -> int | None:
    """When a pause ends; None when only someone's word will end it."""
    return None if until >= FOREVER else until


def _ahead(place: Place) -> str:
    if place.ahead == 0:
        return "it is next"
    about = "" if place.exact else "about "
    return f"{about}1 request is ahead" if place.ahead == 1 else f"{about}{place.ahead} requests are ahead"

"""GET /v1/requests/{id}/events: what happens to a request, as server-sent events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import islice

import msgspec
from litestar import get
from litestar.types import ASGIApp, Receive, Scope, Send

from raincheck.core.errors import RaincheckError
from raincheck.core.model import Request
from raincheck.core.status import Status
from raincheck.http.answer import send_stream
from raincheck.http.auth import caller
from raincheck.http.edge import Call, base_of, edge_of
from raincheck.http.openapi import EVENTS
from raincheck.http.presence import ClientGone, while_present
from raincheck.http.render import view_json
from raincheck.intake.retrieve import LOOK_AGAIN
from raincheck.live import Notes

HEADERS = (("content-type", "text/event-stream; charset=utf-8"),)


@get("/v1/requests/{request_id:str}/events", operation_class=EVENTS, tags=["Requests"])
async def follow_request(request: Call) -> ASGIApp:
    tenant = await caller(request, "read")
    request_id = request.scope["path_params"]["request_id"]
    await edge_of(request).store.requests.get(tenant.name, request_id)  # An unknown id is a 404, not an empty stream.
    return EventStream(request, tenant.name, request_id, _last_seen(request))


@dataclass(frozen=True, slots=True)
class EventStream:
    """The stream of one request, until its end, until the client hangs up or may no longer read, or until the server
    stops.
    """

    call: Call
    tenant: str
    request_id: str
    seen: tuple[int, int]
    """The fence and the number of the last delta the client has."""

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        # The answer has begun: of a client who hangs up there is nothing more to tell anyone.
        with suppress(ClientGone):
            await while_present(receive, self._tell(send))

    async def _tell(self, send: Send) -> None:
        async with aclosing(self._until_refused()) as events:
            await send_stream(send, 200, HEADERS, events)

    async def _until_refused(self) -> AsyncGenerator[bytes]:
        """The events; when the key, the request or the store is gone they just end: who connects again is told why."""
        async with aclosing(self._events()) as events:
            with suppress(RaincheckError):
                async for event in events:
                    yield event

    async def _events(self) -> AsyncGenerator[bytes]:
        clock = asyncio.get_running_loop().time
        edge = edge_of(self.call)
        live = edge.live
        teller = _Teller(self.seen)
        notes = request = None
        quiet_since = read_at = clock()
        with live.follow(self.request_id) as watch:
            while True:
                # Notes are gone when their attempt ends; what they had said by then is still to be told.
                before, notes = notes, live.notes(self.request_id)
                closed = live.closed
                if request is None or watch.moved or closed or notes is not before or clock() - read_at >= LOOK_AGAIN:
                    watch.moved = False
                    read_at = clock()
                    await caller(self.call, "read")  # Keys are revoked while streams are open.
                    request = await edge.store.requests.get(self.tenant, self.request_id)
                told = teller.notes(before)
                if request.status.final:
                    told += teller.notes(notes)
                if teller.is_news(request, notes):
                    told.append(await self._status(request))
                told += teller.notes(notes) if notes is not None else teller.record(request)
                for event in told:
                    yield event
                if request.status.final or closed:
                    return
                if told:
                    quiet_since = clock()
                elif clock() - quiet_since >= edge.limits.keep_alive_every:
                    yield b": keep-alive\n\n"
                    quiet_since = clock()
                patience = quiet_since + edge.limits.keep_alive_every - clock()
                await watch.news(max(0.0, min(LOOK_AGAIN, patience)))

    async def _status(self, request: Request) -> bytes:
        return _event("status", view_json(await edge_of(self.call).desk.complete(request), base_of(self.call)))


class _Teller:
    """Remembers what was told, so that nothing is told twice."""

    def __init__(self, seen: tuple[int, int]) -> None:
        self._fence, self._number = seen
        self._stand: tuple[Status, int] | None = None
        self._progress: tuple[float | None, str | None] = (None, None)
        self._attempt_here = 0
        """The last attempt that ran in this process: what it said itself is newer than what the record has of it."""
        self._told = False
        """Whether a note was told since the last status."""

    def is_news(self, request: Request, notes: Notes | None) -> bool:
        """True when the request does not stand where it stood when last asked, or begins anew.

        A request that was given back untried and claimed again stands where it stood; only its fence tells.
        """
        anew = self._told and notes is not None and notes.fence.number != self._fence
        before, self._stand = self._stand, (request.status, request.attempt)
        if self._stand == before and not anew:
            return False
        self._told = False
        return True

    def notes(self, notes: Notes | None) -> list[bytes]:
        """The deltas and the progress of a claim that are news."""
        if notes is None:
            return []
        self._attempt_here = notes.attempt
        if notes.fence.number != self._fence:
            self._fence, self._number, self._progress = notes.fence.number, 0, (None, None)
        told: list[bytes] = []
        if (dropped := notes.first - self._number - 1) > 0:
            # Whoever joins late or reads too slowly must not take what follows for the whole.
            told.append(_event("dropped", msgspec.json.encode({"deltas": dropped})))
            self._number += dropped
        for data in islice(notes.deltas, self._number + 1 - notes.first, None):
            self._number += 1
            told.append(_event("delta", data, f"{self._fence}-{self._number}"))
        told += self._progressed(notes.progress, notes.progress_message)
        self._told = self._told or bool(told)
        return told

    def record(self, request: Request) -> list[bytes]:
        """The progress of an attempt that runs in another process, as its heartbeats have written it."""
        if request.status is not Status.PROCESSING or request.attempt <= self._attempt_here:
            return []
        return self._progressed(request.progress, request.progress_message)

    def _progressed(self, fraction: float | None, message: str | None) -> list[bytes]:
        if (fraction, message) in (self._progress, (None, None)):
            return []
        self._progress = fraction, message
        return [_event("progress", msgspec.json.encode({"progress": fraction, "progress_message": message}))]


def _event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    # A newline can only be white space in JSON, and in an event it would end the data.
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    numbered = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return b"event: " + name.encode() + b"\n" + numbered + b"data: " + data + b"\n\n"


def _last_seen(call: Call) -> tuple[int, int]:
    """The `Last-Event-ID` header, as in `2-17`; anything else means from the beginning."""
    given = dict(call.scope["headers"]).get(b"last-event-id", b"").decode("latin-1")
    fence, _, number = given.partition("-")
    if fence.isdecimal() and number.isdecimal() and max(len(fence), len(number)) < 19:
        return int(fence), int(number)
    return 0, 0

"""GET /v1/requests/{id}/events: what happens to a request, as server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from litestar import get
from litestar.types import ASGIApp, Receive, Scope, Send

from raincheck.core.model import Request
from raincheck.core.status import Status
from raincheck.http.answer import send_stream
from raincheck.http.auth import caller
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.openapi import EVENTS
from raincheck.http.presence import while_present
from raincheck.http.render import view_json
from raincheck.intake.retrieve import LOOK_AGAIN
from raincheck.live import Notes

HEADERS = (("content-type", "text/event-stream; charset=utf-8"),)


@get("/v1/requests/{request_id:str}/events", operation_class=EVENTS, tags=["Requests"])
async def follow_request(request: Call) -> ASGIApp:
    tenant = await caller(request, "read")
    edge = edge_of(request)
    request_id = request.scope["path_params"]["request_id"]
    await edge.store.requests.get(tenant.name, request_id)  # An unknown id is a 404, not an empty stream.
    return EventStream(edge, tenant.name, request_id, _last_seen(request))


@dataclass(frozen=True, slots=True)
class EventStream:
    """The stream of one request, until its end or until the client hangs up."""

    edge: Edge
    tenant: str
    request_id: str
    seen: tuple[int, int]
    """The attempt and the number of the last delta the client has."""

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        await while_present(receive, send_stream(send, 200, HEADERS, self._events()))

    async def _events(self) -> AsyncIterator[bytes]:
        clock = asyncio.get_running_loop().time
        teller, notes, quiet_since = _Teller(self.seen), None, clock()
        with self.edge.live.follow(self.request_id) as watch:
            while True:
                request = await self.edge.store.requests.get(self.tenant, self.request_id)
                # Notes are gone when their attempt ends; what they had said by then is still to be told.
                before, notes = notes, self.edge.live.notes(self.request_id)
                said = teller.notes(before) + (teller.notes(notes) if notes is not before else [])
                status = [await self._status(request)] if teller.is_news(request) else []
                for event in said + status if request.status.final else status + said:
                    yield event
                if request.status.final:
                    return
                if said or status:
                    quiet_since = clock()
                elif clock() - quiet_since >= self.edge.limits.keep_alive_every:
                    yield b": keep-alive\n\n"
                    quiet_since = clock()
                patience = quiet_since + self.edge.limits.keep_alive_every - clock()
                await watch.news(max(0.0, min(LOOK_AGAIN, patience)))

    async def _status(self, request: Request) -> bytes:
        return _event("status", view_json(await self.edge.desk.complete(request)))


class _Teller:
    """Remembers what was told, so that nothing is told twice."""

    def __init__(self, seen: tuple[int, int]) -> None:
        self._attempt, self._number = seen
        self._status: tuple[Status, int] | None = None
        self._progress: tuple[float | None, str | None] = (None, None)

    def is_news(self, request: Request) -> bool:
        """True when the request does not stand where it stood when last asked."""
        before, self._status = self._status, (request.status, request.attempt)
        return self._status != before

    def notes(self, notes: Notes | None) -> list[bytes]:
        """The deltas and the progress of an attempt that are news."""
        if notes is None:
            return []
        if notes.attempt != self._attempt:
            self._attempt, self._number = notes.attempt, 0
        start = max(self._number + 1, notes.first)
        deltas = list(notes.deltas)[start - notes.first :]
        told = [_event("delta", data, f"{notes.attempt}-{start + place}") for place, data in enumerate(deltas)]
        self._number = max(self._number, start + len(deltas) - 1)
        progress = (notes.progress, notes.progress_message)
        if progress not in (self._progress, (None, None)):
            self._progress = progress
            shown = {"progress": notes.progress, "progress_message": notes.progress_message}
            told.append(_event("progress", msgspec.json.encode(shown)))
        return told


def _event(name: str, data: bytes, event_id: str | None = None) -> bytes:
    # A newline can only be white space in JSON, and in an event it would end the data.
    if b"\n" in data or b"\r" in data:
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    numbered = b"" if event_id is None else b"id: " + event_id.encode() + b"\n"
    return b"event: " + name.encode() + b"\n" + numbered + b"data: " + data + b"\n\n"


def _last_seen(call: Call) -> tuple[int, int]:
    """The `Last-Event-ID` header, as in `2-17`; anything else means from the beginning."""
    given = dict(call.scope["headers"]).get(b"last-event-id", b"").decode("latin-1")
    attempt, _, number = given.partition("-")
    if attempt.isdecimal() and number.isdecimal() and len(given) < 20:
        return int(attempt), int(number)
    return 0, 0

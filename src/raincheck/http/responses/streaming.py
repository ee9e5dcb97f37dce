"""The events of a response, from creation or from a number on: those of the running attempt as they come, and once it
has ended those that were kept."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import islice

import msgspec
from litestar.types import Receive, Scope, Send

from raincheck.core.errors import RaincheckError, ResultGone
from raincheck.core.model import Attachment, Fence, Request, Result
from raincheck.core.responses import EVENTS, ResponseStatus
from raincheck.core.status import Status
from raincheck.http.answer import Headers, send_stream
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.events import HEADERS
from raincheck.http.presence import ClientGone, while_present
from raincheck.http.responses.numbering import STRIDE, TERMINAL, Gap, Teller, event_of
from raincheck.http.responses.showing import STATUS, response_of
from raincheck.intake.retrieve import LOOK_AGAIN
from raincheck.live import Notes


@dataclass(frozen=True, slots=True)
class ResponseStream:
    """The stream of one response, until its end, until the client hangs up or may no longer read, or until the server
    stops. A client whose stream broke off goes on with `starting_after`, at any process."""

    call: Call
    tenant: str
    request_id: str
    after: int | None = None
    headers: Headers = ()

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        # The answer has begun: of a client who hangs up there is nothing more to tell anyone.
        with suppress(ClientGone):
            await while_present(receive, self._tell(send))

    async def _tell(self, send: Send) -> None:
        async with aclosing(self._until_refused()) as events:
            await send_stream(send, 200, [*HEADERS, *self.headers], events)

    async def _until_refused(self) -> AsyncGenerator[bytes]:
        """The events; when the key, the response or the store is gone they just end: who connects again is told why."""
        async with aclosing(_Following(self.call, self.tenant, self.request_id, self.after).events()) as events:
            with suppress(RaincheckError):
                async for event in events:
                    yield event


class _Following:
    """What one client is told, step by step."""

    def __init__(self, call: Call, tenant: str, request_id: str, after: int | None) -> None:
        self._call = call
        self._edge = edge_of(call)
        self._tenant = tenant
        self._id = request_id
        self._teller = Teller(after)
        self._fence: Fence | None = None
        """The claim whose notes are being told."""
        self._base = 0
        self._taken = 0
        """How many of its notes have been."""
        self._waits = False
        """Whether nothing more of that claim can be told before the end."""

    async def events(self) -> AsyncGenerator[bytes]:
        clock = asyncio.get_running_loop().time
        edge, live = self._edge, self._edge.live
        quiet_since = read_at = clock()
        request = None
        yield b": the events follow\n\n"
        with live.follow(self._id) as watch:
            while True:
                closed = live.closed
                if request is None or watch.moved or closed or clock() - read_at >= LOOK_AGAIN:
                    watch.moved = False
                    read_at = clock()
                    await caller(self._call, "read")  # Keys are revoked while streams are open.
                    request = await edge.store.requests.get(self._tenant, self._id)
                if request.status.final:
                    async with aclosing(self._ended(request)) as rest:
                        async for event in rest:
                            yield event
                    return
                told = await self._running() or await self._created()
                for event in told:
                    yield event
                if closed:
                    return
                if told:
                    quiet_since = clock()
                elif clock() - quiet_since >= edge.limits.keep_alive_every:
                    yield b": keep-alive\n\n"
                    quiet_since = clock()
                patience = quiet_since + edge.limits.keep_alive_every - clock()
                await watch.news(max(0.0, min(LOOK_AGAIN, patience)))

    async def _running(self) -> list[bytes]:
        """What the attempt that runs in this process has said since."""
        notes = self._edge.live.notes(self._id)
        if notes is None or (notes.fence != self._fence and not await self._joined(notes)) or self._waits:
            return []
        told = list[bytes]()
        for data in islice(notes.deltas, max(0, self._taken + 1 - notes.first), None):
            event = event_of(data)
            if event is not None and event.type in TERMINAL:
                self._waits = True
                break
            try:
                sent = self._teller.tell(data, self._base)
            except Gap:  # Its beginning was dropped from memory, or read too slowly.
                self._waits = True
                break
            told += [] if sent is None else [sent]
        self._taken = notes.last
        return told

    async def _created(self) -> list[bytes]:
        """That there is a response, for one who knows of nothing yet: by its id one can come back, or cancel."""
        if self._teller.seen is not None:
            return []
        requests = self._edge.store.requests
        tries = await requests.attempts(self._tenant, self._id)
        # Read after its tries: while it has not ended, what runs or will run is none of them.
        request = await requests.get(self._tenant, self._id)
        if request.status.final:
            return []
        return self._opening(await response_of(self._call, request), len(tries) * STRIDE, STATUS[request.status])

    async def _joined(self, notes: Notes) -> bool:
        """Begin with the notes of another claim; False when it ended meanwhile."""
        tries = await self._edge.store.requests.attempts(self._tenant, self._id)
        if self._edge.live.notes(self._id) is not notes:
            return False  # Its own try may be among those counted.
        self._fence, self._taken = notes.fence, 0
        self._base = len(tries) * STRIDE
        self._waits = not self._teller.can_follow(self._base)
        return True

    async def _ended(self, request: Request) -> AsyncGenerator[bytes]:
        """All that is left to tell."""
        requests = self._edge.store.requests
        tries = len(await requests.attempts(self._tenant, self._id))
        result = await requests.result(self._tenant, self._id) if request.status is Status.COMPLETED else None
        if result is None:
            # Behind whatever an attempt may have said, and the same for each who asks.
            for event in await self._without_answer(request, 0 if request.started_at is None else (tries + 1) * STRIDE):
                yield event
            return
        base = max(0, tries - 1) * STRIDE
        file = next((each for each in result.attachments if each.name == EVENTS), None)
        if file is None:
            for event in await self._without_events(request, result, base):
                yield event
            return
        async with aclosing(self._kept(file, base)) as events:
            async for event in events:
                yield event

    async def _kept(self, file: Attachment, base: int) -> AsyncGenerator[bytes]:
        """The rest of the events that were kept; for one who saw another attempt, the terminal one alone."""
        follows = self._teller.can_follow(base)
        async with aclosing(self._lines(file.blob, file.size)) as lines:
            async for line in lines:
                if not follows:
                    for event in self._teller.last_word(line, base):
                        yield event
                elif (sent := self._teller.tell(line, base, whole=True)) is not None:
                    yield sent

    async def _lines(self, blob: str, size: int) -> AsyncGenerator[bytes]:
        rest = bytearray()
        async with aclosing(self._edge.desk.read(blob, 0, size, gone=ResultGone())) as pieces:
            async for piece in pieces:
                *lines, last = piece.split(b"\n")
                for line in lines:
                    rest += line
                    yield bytes(rest)
                    rest.clear()
                rest += last
        if rest:
            yield bytes(rest)

    async def _without_answer(self, request: Request, base: int) -> list[bytes]:
        shown = await response_of(self._call, request)
        opening = self._opening(shown, base, "queued" if request.started_at is None else "in_progress")
        return opening + self._teller.say("response.failed", base + 1, response=shown)

    async def _without_events(self, request: Request, result: Result, base: int) -> list[bytes]:
        """What performed it told no events; its answer is told in one."""
        body = result.body
        if result.blob is not None and result.size is not None:
            reading = self._edge.desk.read(result.blob, 0, result.size, gone=ResultGone())
            body = b"".join([piece async for piece in reading])
        shown = msgspec.Raw(body or b"null")
        opening = self._opening(await response_of(self._call, request), base, "in_progress")
        return opening + self._teller.say("response.completed", base + 1, response=shown)

    def _opening(self, shown: dict[str, object], base: int, status: ResponseStatus) -> list[bytes]:
        """Clients that gather a response take nothing before its creation."""
        if self._teller.seen is not None:
            return []
        return self._teller.say("response.created", base, response=shown | {"status": status, "error": None})

"""Takes a completion that was recorded, hands on its answer chunk by chunk as its upstream streams it."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from itertools import islice

from raincheck.core.canonical import Canonical
from raincheck.core.model import Request, Tenant
from raincheck.core.responses import aside
from raincheck.grpc.call import Call
from raincheck.grpc.chat.chunks import Chunk, Chunks, as_chunk
from raincheck.grpc.chat.reading import completion, find, has_completion
from raincheck.grpc.problems import Ended, Problem
from raincheck.intake.retrieve import LOOK_AGAIN
from raincheck.live import Notes


async def follow(call: Call, tenant: Tenant, request_id: str) -> AsyncGenerator[Chunk]:
    """The chunks up to the last one; one for all when nothing could be heard of them, as when they came elsewhere.

    Raises Ended for one that did not come to an answer, or whose answer cannot be told any more as it was begun.
    """
    clock = asyncio.get_running_loop().time
    live, teller = call.edge.live, _Teller(request_id)
    notes = request = None
    read_at = clock()
    with live.follow(request_id) as watch:
        while True:
            # Notes are gone when their attempt ends; what they had said by then is still to be told.
            before, notes = notes, live.notes(request_id)
            closed = live.closed
            if request is None or watch.moved or closed or notes is not before or clock() - read_at >= LOOK_AGAIN:
                watch.moved = False
                read_at = clock()
                await call.caller("read")  # Keys are revoked while streams are open.
                request = await find(request_id, tenant, call.edge)
            for chunk in [*await teller.news(before), *await teller.news(notes)]:
                yield chunk
            if request.status.final:
                break
            if closed:
                raise still_under_way(request_id, "this server is stopping")
            if call.patience <= 0:
                raise still_under_way(request_id, "the time of this call is over")
            await watch.news(min(LOOK_AGAIN, call.patience))
    if teller.has_told(has_completion(request)):
        yield await teller.last()
    else:
        yield as_chunk(await completion(request, call.edge))


def still_under_way(request_id: str, why: str) -> Ended:
    """For a call that ends before what it waits for."""
    words = (
        f"This call ends here: {why}. {request_id} goes on by itself; once it has ended, read it with "
        f"GetStoredCompletion (client.chat.get_stored_completion({request_id!r}))."
    )
    return Ended(Problem(Canonical.ABORTED, words, "still_under_way"))


class _Teller:
    """Remembers what was told, so that nothing is told twice, and of one attempt alone."""

    def __init__(self, request_id: str) -> None:
        self._request_id = request_id
        self._chunks = Chunks(request_id)
        self._notes: Notes | None = None
        """Those of the attempt that is told of."""
        self._number = 0
        """Of the last piece of it that was heard."""
        self._told = False
        """Whether the caller has got any of it."""

    async def news(self, notes: Notes | None) -> Sequence[Chunk]:
        """What was not told yet. Raises Ended when it does not go on from what was."""
        if notes is None or notes.last < notes.first:
            return []
        if self._notes is not notes:
            if self._told:
                raise self._broken("its answer broke off and is made anew")
            self._chunks, self._notes, self._number = Chunks(self._request_id), notes, 0
        if notes.first > self._number + 1:
            if self._told:
                raise self._broken("its answer came faster than it was read")
            return []  # Too late for its beginning: it is told whole at the end.
        pieces = list(islice(notes.deltas, self._number + 1 - notes.first, None))
        self._number = notes.last
        take = self._chunks.take
        told = await aside(sum(map(len, pieces)), lambda: [chunk for piece in pieces for chunk in take(piece)])
        self._told = self._told or bool(told)
        return told

    def has_told(self, request: Request) -> bool:
        """Whether the caller has got its answer, but for the last chunk. Raises Ended when it was another one."""
        if self._told and self._notes is not None and self._notes.attempt != request.attempt:
            raise self._broken("its answer broke off and was made anew")
        return self._told

    async def last(self) -> Chunk:
        """What is only known at the end."""
        return await aside(self._chunks.size, self._chunks.end)

    def _broken(self, why: str) -> Ended:
        return still_under_way(self._request_id, why)

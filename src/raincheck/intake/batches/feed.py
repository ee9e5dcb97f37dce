"""Takes the next lines of a batch, hands on the requests that they become: a bite at a time."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from msgspec import structs

from raincheck.core.batches import Batch, BatchDialect, BatchLease, Cursor, NewRow
from raincheck.core.clock import Clock
from raincheck.core.errors import NoObjectStore, RaincheckError, StoreUnavailable
from raincheck.core.ids import new_id
from raincheck.core.model import NewRequest, Tenant
from raincheck.core.operations import is_video, operation_of
from raincheck.core.outcome import RequestError
from raincheck.intake.admit import Submission, admit
from raincheck.intake.batches.calls import VIDEO_URLS, VideoCalls
from raincheck.intake.batches.line import Asked, LineRefused, Lines, too_long
from raincheck.intake.batches.lines import Line
from raincheck.intake.batches.supply import Supply, name_of
from raincheck.intake.bodies import submission
from raincheck.intake.responses import PATH as RESPONSES
from raincheck.intake.responses import continued_submission, goes_on
from raincheck.intake.retrieve import Desk
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Batches, Blobs

LINES = 200
"""How many lines one bite has at most: a transaction that nobody has to wait for."""
BYTES = 4 << 20
"""About how many bytes it has at most; a line may be longer."""
CONVERSATION = 1 << 20
"""Bytes of what was said before, for a line that goes on from a response: all lines of a bite are held at once."""


class Bite(NamedTuple):
    """Lines on their way to becoming requests."""

    rows: Sequence[NewRow]
    cursor: Cursor
    """Behind them."""
    queues: Mapping[str, int]
    """How many of them are for which queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feeder:
    """Makes requests of lines."""

    batches: Batches
    blobs: Blobs
    objects: BlobStore | None
    videos: VideoCalls
    desk: Desk
    """Where responses are read that lines go on from."""
    clock: Clock
    max_attempts: int
    longest: int
    """Bytes of a line."""

    async def feed(self, lease: BatchLease, tenant: Tenant, supply: Supply, most: int = LINES) -> Bite | None:
        """Feed one bite of up to `most` lines; None when there are no more. Raises FenceLost, AttachmentGone,
        StoreUnavailable, and then nothing was fed."""
        lines = await supply.take(most, BYTES)
        if not lines:
            return None
        fresh = list[str]()
        try:
            bite = await self._bite(_Table(self, lease.batch, tenant), lines, supply.cursor, fresh)
            await self.batches.feed(lease.fence, bite.rows, bite.cursor)
        except BaseException:
            await self._drop(fresh)
            raise
        return bite

    async def _bite(self, table: "_Table", lines: Sequence[Line], cursor: Cursor, fresh: list[str]) -> Bite:
        # It takes milliseconds: nobody else shall wait for that.
        read = await asyncio.to_thread(table.read, lines)
        rows = [each if isinstance(each, NewRow) else await self._looked_up(table, *each, fresh) for each in read]
        return Bite(rows, cursor, table.queues)

    async def _looked_up(self, table: "_Table", number: int, asked: Asked, fresh: list[str]) -> NewRow:
        """A line whose inputs have to be fetched or looked up."""
        put = list[str]()
        try:
            made = await self._submission(table.tenant, asked, put)
            row = NewRow(number, asked.custom_id, table.request(made))
        except (StoreUnavailable, NoObjectStore):
            fresh += put
            raise
        except RaincheckError as error:
            await self._drop(put)
            return _refused(number, asked.custom_id, error)
        fresh += put
        return row

    async def _submission(self, tenant: Tenant, asked: Asked, put: list[str]) -> Submission:
        if asked.url in VIDEO_URLS:
            return await self.videos.submission(tenant, asked.url, asked.members, put)
        return await continued_submission(asked.members, tenant.name, self.desk, at_most=CONVERSATION)

    async def _drop(self, blobs: Sequence[str]) -> None:
        with suppress(StoreUnavailable):  # They will be found when their time is over.
            for blob in blobs:
                await self.blobs.expect(blob, keep_for=0)


class _Table:
    """Where one bite's lines are laid out."""

    def __init__(self, means: Feeder, batch: Batch, tenant: Tenant) -> None:
        self.tenant = tenant
        self.queues = Counter[str]()
        self._batch = batch
        self._means = means
        self._now = means.clock()
        xai = batch.dialect is BatchDialect.XAI
        # Without a catalogue: another process may serve what this one does not, and what nobody serves any more waits.
        self._lines = Lines(endpoint=batch.endpoint, xai=xai, videos=means.videos)

    def read(self, lines: Sequence[Line]) -> list[NewRow | tuple[int, Asked]]:
        """Each line as a row, or what it asks when that has to be looked up."""
        return [self._read(line) for line in lines]

    def _read(self, line: Line) -> NewRow | tuple[int, Asked]:
        try:
            asked = self._lines.read(line.text, line.number)
        except LineRefused as refused:
            # It was good when it was checked: the server's limits have changed, or what it takes.
            error = too_long(line.number, self._means.longest) if not line.text else refused.error
            return NewRow(line.number, name_of(line), None, RequestError(error.message, code=error.code))
        self.queues[asked.queue] += 1
        if asked.url in VIDEO_URLS:
            return line.number, asked
        try:
            if asked.path == RESPONSES and goes_on(asked.members):
                return line.number, asked
            made = submission(asked.path, asked.members, deferred=True)
            return NewRow(line.number, asked.custom_id, self.request(made))
        except RaincheckError as error:
            return _refused(line.number, asked.custom_id, error)

    def request(self, submission: Submission) -> NewRequest:
        """The request that a line becomes: what it says of its tier, and of who is told of it, is the batch's to
        say."""
        options = structs.replace(submission.options, webhook_url=None, webhook_events=(), include_result=False)
        plain = structs.replace(submission, service_tier=None, options=options)
        operation = operation_of(submission.path)
        new = admit(plain, self.tenant, new_id=_id_for(operation), max_attempts=self._means.max_attempts, now=self._now)
        return structs.replace(new, priority=self._batch.priority, deadline=self._batch.expires_at, max_pending=None)


def _refused(number: int, custom_id: str, error: RaincheckError) -> NewRow:
    return NewRow(number, custom_id, None, RequestError(error.message, error.kind, error.code, error.param))


def _id_for(operation: str) -> str:
    """What the request is read as at a route of its own, its id says."""
    if is_video(operation):
        return new_id("video")
    return new_id("resp") if operation == "response" else new_id("batch_req")

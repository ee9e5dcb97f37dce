"""Takes a batch, hands on what became of its lines, page by page, in the order in which they ended.

A reader who goes on from the mark of the page before misses none. Lines that were never fed come last, once the batch
has ended.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from msgspec.structs import replace

from raincheck.core.batches import Batch, Cursor, Row
from raincheck.core.errors import NotEnded, NotFound
from raincheck.core.model import Request, Result
from raincheck.core.operations import is_video
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status
from raincheck.intake.batches import telling
from raincheck.intake.batches.tokens import Mark
from raincheck.intake.batches.unfed import Source, Unfed
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Batches, Requests

AT_ONCE = 500
"""Rows that are read at once, if their answers are small."""
ENOUGH = 8 << 20
"""Bytes of answers after which a page is cut."""

ShowVideo = Callable[[Request, bytes, Result], bytes]
"""What reading a finished video says."""


@dataclass(frozen=True, slots=True)
class Ending:
    """A line that has ended."""

    id: str
    custom_id: str
    line: int
    ended: int | None
    """Its place among the ends; None for one that was never fed."""
    mark: Mark
    """Behind it."""
    row: Row | None
    """None for one that was never fed."""
    answer: bytes | None
    """The body of what came of it, as JSON in one line."""
    error: RequestError | None
    """Why there is no answer."""

    @property
    def request(self) -> Request | None:
        """What it became."""
        return None if self.row is None else self.row.request

    @property
    def told(self) -> telling.Told:
        """What a batch's file would say of it."""
        if self.row is None:
            return telling.without_response(self.error or telling.GONE)
        return telling.told(self.row, self.answer)


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what has ended."""

    endings: list[Ending]
    mark: Mark
    """Behind them."""
    has_more: bool
    """Whether there is more just now."""


@dataclass(frozen=True, slots=True)
class Results:
    """What reading results needs."""

    batches: Batches
    requests: Requests
    objects: BlobStore | None
    source: Source

    async def page(self, batch: Batch, after: Mark, limit: int, show_video: ShowVideo) -> Page:
        """What has ended behind a mark, of a batch that was read before: so none is missing when that had ended."""
        endings, has_more, mark = list[Ending](), False, after
        if not isinstance(mark, Cursor):
            endings, has_more = await self._ended(batch, mark, limit, show_video)
            mark = endings[-1].mark if endings else mark
        if has_more or len(endings) == limit:
            return Page(endings, mark, has_more=True)
        if not batch.status.final or batch.counts.fed >= batch.counts.total:
            return Page(endings, mark, has_more=False)
        return await self._never_fed(batch, endings, mark, limit)

    async def named(self, batch: Batch, custom_id: str, show_video: ShowVideo) -> Ending:
        """What became of one line. Raises NotFound for one that is unknown, or not begun; NotEnded."""
        row = await self.batches.row(batch.tenant, batch.id, custom_id)
        if row is not None:
            if row.ended is None:
                raise NotEnded(f"{custom_id[:256]!r} has not ended yet; ask again later.")
            return await self._ending(batch, row, await self._payloads([row]), show_video)
        if batch.status.final and batch.counts.fed < batch.counts.total:
            async with aclosing(self.source.never_fed(self.batches, batch)) as unfed:
                async for line in unfed:
                    if line.asked is not None and line.asked.custom_id == custom_id:
                        return _never_run(batch, line)
        raise NotFound(
            f"The batch has nothing to tell of {custom_id[:256]!r}: it is not one of its ids, or waits still."
        )

    async def _ended(self, batch: Batch, after: int, limit: int, show_video: ShowVideo) -> tuple[list[Ending], bool]:
        """Rows, and whether there may be more of them: a page is cut when it has become large."""
        endings, size = list[Ending](), 0
        while len(endings) < limit and size < ENOUGH:
            wanted = min(AT_ONCE, limit - len(endings))
            rows = await self.batches.ended(batch.tenant, batch.id, after=after, limit=wanted, most_bytes=ENOUGH - size)
            if not rows:
                return endings, False
            payloads = await self._payloads(rows)
            for row in rows:
                ending = await self._ending(batch, row, payloads, show_video)
                endings.append(ending)
                after = row.ended or after
                size += len(ending.answer or b"")
                if size >= ENOUGH:
                    break
        return endings, True

    async def _ending(self, batch: Batch, row: Row, payloads: dict[str, bytes], show_video: ShowVideo) -> Ending:
        request, result, answer = row.request, row.result, None
        if request is not None and result is not None:
            if is_video(request.operation):
                answer = show_video(request, payloads.get(request.id, b"{}"), result)
            else:
                answer = await self._answer(result)
        return Ending(
            id=telling.line_id(batch.id, row.line, request),
            custom_id=row.custom_id,
            line=row.line,
            ended=row.ended,
            mark=row.ended or 0,
            row=row,
            answer=answer,
            error=None if answer is not None else _why(row),
        )

    async def _payloads(self, rows: Sequence[Row]) -> dict[str, bytes]:
        videos = [row.request for row in rows if row.request is not None and is_video(row.request.operation)]
        if not videos:
            return {}
        return await self.requests.payloads(videos[0].tenant, [request.id for request in videos])

    async def _answer(self, result: Result) -> bytes | None:
        """The body as JSON, out of the object store when it is there; None when it is not there any more."""
        if result.blob is None:
            return telling.as_json(result)
        if self.objects is None:
            return None
        try:
            body = b"".join([piece async for piece in self.objects.read(result.blob, end=result.size)])
        except NotFound:
            return None
        return telling.as_json(replace(result, body=body, blob=None))

    async def _never_fed(self, batch: Batch, endings: list[Ending], after: Mark, limit: int) -> Page:
        lines: AsyncGenerator[Unfed]
        if isinstance(after, Cursor):
            lines = self.source.going_on(self.batches, batch, after)
        else:
            lines = self.source.never_fed(self.batches, batch)
        mark = after
        async with aclosing(lines) as unfed:
            async for line in unfed:
                if len(endings) == limit:
                    return Page(endings, mark, has_more=True)
                endings.append(_never_run(batch, line))
                mark = line.after
        return Page(endings, mark, has_more=False)


def _never_run(batch: Batch, line: Unfed) -> Ending:
    return Ending(
        id=telling.line_id(batch.id, line.line, None),
        custom_id="" if line.asked is None else line.asked.custom_id,
        line=line.line,
        ended=None,
        mark=line.after,
        row=None,
        answer=None,
        error=telling.ENDINGS.get(Status(batch.status.value), telling.GONE),
    )


def _why(row: Row) -> RequestError:
    request = row.request
    if request is None:
        return row.error or telling.GONE
    match request.status:
        case Status.CANCELLED | Status.EXPIRED:
            return telling.ENDINGS[request.status]
        case Status.FAILED if request.error is not None:
            return request.error
        case _:
            return telling.GONE

"""Takes a batch whose lines have all ended, streams them in input order into its output and its error file."""

import asyncio
from base64 import b64encode
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, AsyncIterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import msgspec

from raincheck.core.batches import BATCH_KEPT, Batch, BatchDialect, BatchLease, Conclusion, Row
from raincheck.core.clock import Clock
from raincheck.core.errors import AttachmentGone, NoObjectStore, NotFound, StoreUnavailable
from raincheck.core.ids import new_file_id
from raincheck.core.model import File, Result
from raincheck.core.operations import is_video
from raincheck.core.status import Status
from raincheck.intake.batches import telling
from raincheck.intake.batches.calls import VideoAnswers
from raincheck.intake.batches.line import made_up_name
from raincheck.intake.batches.sheet import CONTENT_TYPE, Sheet, drop
from raincheck.intake.batches.supply import Supply, name_of
from raincheck.intake.batches.telling import Told
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Batches, Blobs, Requests

PAGE = 1000
"""Rows read at once; fewer where their results are large. Each page costs a few milliseconds beside its rows."""
PAGE_BYTES = 1 << 20
"""Bytes of results after which a page has enough; the last of them may be as long again."""
UNFED = 1_000
"""Lines that were never fed, read at once."""
LONG = 1 << 18
"""Bytes of results above which a page is made into lines beside the event loop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembler:
    """Writes the files in which batches end."""

    batches: Batches
    requests: Requests
    blobs: Blobs
    objects: BlobStore | None
    videos: VideoAnswers
    clock: Clock
    longest: int
    """Bytes of a line of the input."""

    async def assemble(self, lease: BatchLease) -> Conclusion:
        """The two files, each None where there is no line for it; no row of the batch may be open any more.

        Raises NoObjectStore; StoreUnavailable, to be tried again. Whatever it raises, nothing of it is kept.
        """
        batch = lease.batch
        if batch.dialect is BatchDialect.XAI or not batch.counts.total:
            return Conclusion()
        if self.objects is None:
            raise NoObjectStore
        # Elsewhere for each claim, so that a late process never writes over the owner's.
        name = f"batches/{batch.id}.{lease.fence.number}"
        output = Sheet(self.blobs, self.objects, f"{name}.output")
        errors = Sheet(self.blobs, self.objects, f"{name}.errors")
        try:
            async with asyncio.TaskGroup() as tasks:
                await _Writing(self, self.objects, lease, output, errors, tasks).write()
                await output.finish()
                await errors.finish()
        except BaseExceptionGroup as several:
            await drop(self.blobs, output, errors)
            raise several.exceptions[0] from several
        except BaseException:
            await drop(self.blobs, output, errors)
            raise
        return Conclusion(self._file(batch, output, "output"), self._file(batch, errors, "error"))

    async def drop(self, conclusion: Conclusion) -> None:
        """Files that turned out to be nobody's go again; what was recorded after all stays."""
        with suppress(StoreUnavailable):  # They will be found when their time is over.
            for file in (conclusion.output, conclusion.errors):
                if file is not None:
                    await self.blobs.expect(file.blob, keep_for=0)

    def _file(self, batch: Batch, sheet: Sheet, kind: str) -> File | None:
        if (measures := sheet.measures) is None:
            return None
        now = self.clock()
        return File(
            id=new_file_id(),
            tenant=batch.tenant,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose="batch_output",
            content_type=CONTENT_TYPE,
            size=measures.size,
            digest=measures.digest,
            blob=sheet.blob,
            created_at=now,
            expires_at=now + (batch.output_expires_after or BATCH_KEPT),
        )


class _Long(NamedTuple):
    """A line whose body is copied out of the object store."""

    head: bytes
    blob: str
    result: Result


class _Lines(NamedTuple):
    """What a page of rows comes to."""

    output: list[bytes | _Long]
    errors: list[bytes]


@dataclass(slots=True)
class _Writing:
    """One batch on its way into its files."""

    means: Assembler
    objects: BlobStore
    lease: BatchLease
    output: Sheet
    errors: Sheet
    tasks: asyncio.TaskGroup

    async def write(self) -> None:
        async for page in self._pages():
            videos = await self._videos(page)
            lost = await self._lost(page)
            make = partial(self._lines, page, videos, lost)
            # Much of it takes long: nobody else shall wait for that.
            lines = await asyncio.to_thread(make) if _size(page) > LONG else make()
            await self._pass_on(lines)
        await self._never_fed()

    async def _pages(self) -> AsyncGenerator[list[Row]]:
        """Page after page, the next of which is read while one is made use of."""
        coming = self.tasks.create_task(self._page(0))
        while page := await coming:
            coming = self.tasks.create_task(self._page(page[-1].line))
            yield page

    async def _page(self, after: int) -> list[Row]:
        batch = self.lease.batch
        return await self.means.batches.results(batch.tenant, batch.id, after=after, limit=PAGE, most_bytes=PAGE_BYTES)

    async def _videos(self, page: Sequence[Row]) -> dict[str, bytes]:
        """What reading each finished video says, by request."""
        batch = self.lease.batch
        made = [
            (row.request, row.result)
            for row in page
            if row.request is not None and row.result is not None and is_video(row.request.operation)
        ]
        if not made:
            return {}
        payloads = await self.means.requests.payloads(batch.tenant, [request.id for request, _ in made])
        return {
            request.id: self.means.videos.answer(
                batch.endpoint or f"/v1{request.path}", request, payloads.get(request.id, b"{}"), result
            )
            for request, result in made
        }

    async def _lost(self, page: Sequence[Row]) -> set[str]:
        """The bodies that should be in the object store and are not: that must not keep the batch from ending."""
        lost = set[str]()
        for blob in [row.result.blob for row in page if row.result is not None and row.result.blob is not None]:
            try:
                await self.objects.size(blob)
            except NotFound:
                lost.add(blob)
        return lost

    def _lines(self, page: Sequence[Row], videos: dict[str, bytes], lost: set[str]) -> _Lines:
        lines = _Lines([], [])
        for row in page:
            request, result = row.request, row.result
            id_ = telling.line_id(self.lease.batch.id, row.line, request)
            if request is None or result is None or request.status is not Status.COMPLETED or result.blob in lost:
                lines.errors.append(telling.line(id_, row.custom_id, telling.told(row, None)))
                continue
            video = videos.get(request.id)
            if result.blob is not None and video is None:
                head = telling.opening(id_, row.custom_id, request.id, result.status)
                lines.output.append(_Long(head, result.blob, result))
                continue
            told = telling.told(row, telling.as_json(result) if video is None else video)
            lines.output.append(telling.line(id_, row.custom_id, told))
        return lines

    async def _pass_on(self, lines: _Lines) -> None:
        await self.errors.write(b"".join(lines.errors), self.tasks)
        ready = list[bytes]()
        for line in lines.output:
            if isinstance(line, bytes):
                ready.append(line)
                continue
            await self.output.write(b"".join([*ready, line.head]), self.tasks)
            ready.clear()
            async for piece in _copied(self.objects, line):
                await self.output.write(piece, self.tasks)
            ready.append(telling.CLOSING)
        await self.output.write(b"".join(ready), self.tasks)

    async def _never_fed(self) -> None:
        """The lines from the cursor on: they ended as the batch does."""
        batch = self.lease.batch
        if batch.ends_as is None or batch.counts.fed >= batch.counts.total:
            return
        told = telling.without_response(telling.ENDINGS[Status(batch.ends_as)])
        supply = Supply(batch, self.lease.cursor, self.means.batches, self.objects, longest=self.means.longest)
        left = batch.counts.total - batch.counts.fed
        async with aclosing(supply):
            with suppress(AttachmentGone):
                while lines := await supply.take(UNFED, PAGE_BYTES):
                    await self._end_unfed([(each.number, name_of(each)) for each in lines], told)
                    left -= len(lines)
        # Of an input that has gone, nobody knows the names any more; its lines are as many as before.
        first = supply.cursor.line
        for start in range(first, first + left, UNFED):
            numbers = range(start, min(start + UNFED, first + left))
            await self._end_unfed([(number, made_up_name(number)) for number in numbers], told)

    async def _end_unfed(self, lines: Sequence[tuple[int, str]], told: Told) -> None:
        id_of = partial(telling.line_id, self.lease.batch.id, request=None)
        ready = [telling.line(id_of(number), name, told) for number, name in lines]
        await self.errors.write(b"".join(ready), self.tasks)


def _size(page: Sequence[Row]) -> int:
    """Bytes of the results that came with it."""
    return sum(len(row.result.body) for row in page if row.result is not None)


async def _copied(objects: BlobStore, line: _Long) -> AsyncGenerator[bytes]:
    """A body that is kept in the object store, as JSON in one line."""
    content_type = line.result.content_type
    pieces = objects.read(line.blob, end=line.result.size)
    if telling.is_json(content_type):
        async for piece in pieces:
            yield telling.one_line(piece)
    elif content_type.startswith("text/"):
        async for piece in _as_string(pieces):
            yield piece
    else:
        async for piece in _as_data(pieces, content_type):
            yield piece


async def _as_string(pieces: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    decoder = getincrementaldecoder("utf-8")(errors="replace")
    yield b'"'
    async for piece in pieces:
        yield msgspec.json.encode(decoder.decode(piece))[1:-1]
    yield msgspec.json.encode(decoder.decode(b"", final=True))[1:-1] + b'"'


async def _as_data(pieces: AsyncIterable[bytes], content_type: str) -> AsyncGenerator[bytes]:
    yield b'"' + telling.data_uri(content_type)
    left = b""
    async for piece in pieces:
        whole = left + piece
        cut = len(whole) // 3 * 3  # Only whole groups of three bytes may be followed by more.
        yield b64encode(whole[:cut])
        left = whole[cut:]
    yield b64encode(left) + b'"'

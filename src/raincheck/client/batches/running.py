"""A batch that is under way: its results, taken as they finish."""

from collections import deque
from collections.abc import AsyncIterator, Iterator

from openai import AsyncOpenAI, OpenAI

from raincheck.client.batches.bar import watching
from raincheck.client.batches.flow import Following, Page
from raincheck.client.batches.models import Batch, BatchCounts, BatchResult, describe
from raincheck.client.cancelling import acancel, cancel
from raincheck.client.dialect import batch_path
from raincheck.client.drivers import arun, run
from raincheck.client.twins import share_docs


class _Run:
    """What both kinds know: the batch as last seen, and how far its results have been taken."""

    def __init__(self, batch: Batch, after: int, *, progress: bool) -> None:
        self.last = after
        """The cursor: `resume(id, after=last)` goes on behind the result that was handed out last."""
        self._following = Following(batch)
        self._progress = progress
        self._unread = deque[tuple[BatchResult, int | None]]()
        self._behind = after
        self._final = False

    @property
    def id(self) -> str:
        return self.batch.id

    @property
    def batch(self) -> Batch:
        """As last seen."""
        return self._following.batch

    @property
    def counts(self) -> BatchCounts:
        """How many lines there are, and what became of them, as last seen."""
        return self.batch.counts

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {describe(self.batch)}>"

    @property
    def _done(self) -> bool:
        return self._final and not self._unread

    def _turn(self, page: Page) -> None:
        self._unread.extend(zip(page.results, page.marks, strict=True))
        self._behind, self._final = page.last, page.final

    def _handed(self) -> Iterator[BatchResult]:
        """What is left of the page: all of it, unless the loop was left within one."""
        while self._unread:
            result, mark = self._unread.popleft()
            # The cursor moves before the result is seen, so that it covers the one in hand.
            self.last = self.last if mark is None else mark
            yield result
        self.last = self._behind


class BatchRun(_Run):
    """Iterate it for the results, in the order in which they finish; the loop ends when the batch has. It may be
    dropped: the id is enough to come back, `client.batches.resume(id)`."""

    def __init__(self, client: OpenAI, batch: Batch, after: int, *, progress: bool) -> None:
        super().__init__(batch, after, progress=progress)
        self._client = client

    def __iter__(self) -> Iterator[BatchResult]:
        with watching(self.batch, progress=self._progress) as observer:
            yield from self._handed()
            while not self._done:
                self._turn(run(self._following.look(self.last), self._client))
                if observer is not None:
                    observer(self.batch)
                yield from self._handed()

    def ready(self) -> Iterator[BatchResult]:
        """The results that are there by now, without waiting for others."""
        yield from self._handed()
        more = not self._done
        while more:
            page = run(self._following.look(self.last, held=0), self._client)
            more = page.more
            self._turn(page)
            yield from self._handed()

    def cancel(self) -> Batch:
        """Begin nothing more and stop what runs; results that are there stay. Harmless when the batch has ended."""
        return cancel(self._client, batch_path(self.id), Batch)


class AsyncBatchRun(_Run):
    def __init__(self, client: AsyncOpenAI, batch: Batch, after: int, *, progress: bool) -> None:
        super().__init__(batch, after, progress=progress)
        self._client = client

    async def __aiter__(self) -> AsyncIterator[BatchResult]:
        with watching(self.batch, progress=self._progress) as observer:
            for result in self._handed():
                yield result
            while not self._done:
                self._turn(await arun(self._following.look(self.last), self._client))
                if observer is not None:
                    observer(self.batch)
                for result in self._handed():
                    yield result

    async def ready(self) -> AsyncIterator[BatchResult]:
        for result in self._handed():
            yield result
        more = not self._done
        while more:
            page = await arun(self._following.look(self.last, held=0), self._client)
            more = page.more
            self._turn(page)
            for result in self._handed():
                yield result

    async def cancel(self) -> Batch:
        return await acancel(self._client, batch_path(self.id), Batch)


share_docs(BatchRun, AsyncBatchRun)

"""What is happening right now, in memory only: what running attempts say as they go, and who waits for news.

Dispatch writes, intake reads; nothing here is needed for a promise, the record in the store is.
"""

import asyncio
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field

from raincheck.core.model import Fence

MAX_DELTA_BYTES = 1 << 20
"""How much of one running attempt's answer is kept for those who join late."""


@dataclass(slots=True)
class Notes:
    """What one running attempt has said so far."""

    attempt: int
    fence: Fence
    progress: float | None = None
    progress_message: str | None = None
    deltas: deque[bytes] = field(default_factory=deque[bytes])
    first: int = 1
    """The number of the oldest delta kept; earlier ones were dropped to bound memory."""
    size: int = 0

    @property
    def last(self) -> int:
        return self.first + len(self.deltas) - 1


class Watch:
    """Someone who waits for news of one request."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.moved = True
        """Whether the status may have changed; whoever reads the record sets it back first."""

    def wake(self) -> None:
        self._event.set()

    async def news(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for news since the last call; False when there was none."""
        try:
            async with asyncio.timeout(timeout):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True


class Live:
    """The notes of all running attempts of this process, and the watches on any request."""

    def __init__(self) -> None:
        self._notes: dict[str, Notes] = {}
        self._watches: dict[str, set[Watch]] = {}
        self._followers: dict[str, set[Watch]] = {}
        self.closed = False

    # --- for those who wait

    @contextmanager
    def watch(self, request_id: str) -> Generator[Watch]:
        """News of a request's status. Open the watch before reading the record, so that nothing falls between."""
        with _joined(self._watches, request_id) as watch:
            yield watch

    @contextmanager
    def follow(self, request_id: str) -> Generator[Watch]:
        """News of a request's status and of all that its running attempt says."""
        with _joined(self._followers, request_id) as watch:
            yield watch

    def notes(self, request_id: str) -> Notes | None:
        """What the attempt that runs in this process has said, None when none runs here."""
        return self._notes.get(request_id)

    def waiting(self, request_id: str) -> int:
        """How many wait for news of a request just now."""
        return len(self._watches.get(request_id, ())) + len(self._followers.get(request_id, ()))

    # --- for those who work

    def begin(self, fence: Fence, attempt: int) -> None:
        self._notes[fence.request_id] = Notes(attempt, fence)

    def progress(self, fence: Fence, fraction: float | None, message: str | None) -> None:
        if notes := self._of(fence):
            notes.progress, notes.progress_message = fraction, message
            self._tell_followers(fence.request_id)

    def delta(self, fence: Fence, data: bytes) -> None:
        if notes := self._of(fence):
            notes.deltas.append(data)
            notes.size += len(data)
            while notes.size > MAX_DELTA_BYTES:
                notes.size -= len(notes.deltas.popleft())
                notes.first += 1
            self._tell_followers(fence.request_id)

    def end(self, fence: Fence) -> None:
        if self._of(fence):
            del self._notes[fence.request_id]

    def wake(self, request_id: str) -> None:
        """Tell everyone who waits that the status of this request is new."""
        for watch in self._watches.get(request_id, ()):
            watch.wake()
        for follower in self._followers.get(request_id, ()):
            follower.moved = True
            follower.wake()

    def close(self) -> None:
        """The server stops: everyone who waits is woken, and who looks at `closed` waits no more."""
        self.closed = True
        for request_id in [*self._watches, *self._followers]:
            self.wake(request_id)

    def _tell_followers(self, request_id: str) -> None:
        for watch in self._followers.get(request_id, ()):
            watch.wake()

    def _of(self, fence: Fence) -> Notes | None:
        notes = self._notes.get(fence.request_id)
        return notes if notes is not None and notes.fence == fence else None


@contextmanager
def _joined(watches: dict[str, set[Watch]], request_id: str) -> Generator[Watch]:
    watch = Watch()
    watches.setdefault(request_id, set()).add(watch)
    try:
        yield watch
    finally:
        others = watches[request_id]
        others.discard(watch)
        if not others:
            del watches[request_id]

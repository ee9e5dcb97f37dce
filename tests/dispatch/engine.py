"""A dispatcher on a real SQLite store with upstreams that do what a test says."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from msgspec.structs import replace

from raincheck.core.clock import SECOND, Clock, now
from raincheck.core.errors import UpstreamDown
from raincheck.core.ids import new_id
from raincheck.core.model import NewRequest, Request
from raincheck.core.outcome import Failure, FailureKind, Reply, RequestError
from raincheck.core.retry import RetryPolicy
from raincheck.dispatch.attempt import Means
from raincheck.dispatch.bench import Benches
from raincheck.dispatch.capacity import Capacity
from raincheck.dispatch.loop import Dispatcher
from raincheck.dispatch.stow import Stow
from raincheck.dispatch.sweep import Sweeper
from raincheck.live import Live
from raincheck.store.blobs import BlobStore, open_blobs
from raincheck.store.protocol import Change, Store
from raincheck.store.sqlite import open_store
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.protocol import Relayed, Report, Takes, Upstream, Work

Script = Callable[[Work, Report], Awaitable[Reply | Failure]]
DONE = Reply(b'{"answer":42}')


def failing(kind: FailureKind, *, retry_after: int | None = None) -> Failure:
    return Failure(kind, RequestError(f"it is {kind}", code=str(kind)), retry_after)


def answering(*answers: Reply | Failure) -> Script:
    """Each call gets the next answer, the last one for ever."""
    left = deque(answers)

    async def script(_: Work, __: Report) -> Reply | Failure:
        return left.popleft() if len(left) > 1 else left[0]

    return script


@dataclass
class Scripted:
    """An upstream that does what the test says and remembers what it was asked."""

    name: str = "up"
    script: Script = field(default_factory=lambda: answering(DONE))
    works: list[Work] = field(default_factory=list[Work])
    aborted: list[str] = field(default_factory=list[str])
    reachable: bool = True
    called: asyncio.Event = field(default_factory=asyncio.Event)
    takes: Takes = Takes.CALLS | Takes.VIDEOS
    abandoned: list[str] = field(default_factory=list[str])
    abandoning: Callable[[str], Awaitable[None]] | None = None
    """What stopping a job comes to, when it is not just done."""

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def probe(self) -> frozenset[str]:
        if not self.reachable:
            raise UpstreamDown("it does not answer")
        return frozenset({"small", "other"})

    async def perform(self, work: Work, report: Report) -> Reply | Failure:
        self.works.append(work)
        self.called.set()
        if not self.reachable:
            return failing(FailureKind.UNREACHABLE)
        try:
            return await self.script(work, report)
        except asyncio.CancelledError:
            self.aborted.append(work.request_id)
            raise

    async def abandon(self, remote_id: str) -> None:
        self.abandoned.append(remote_id)
        if self.abandoning is not None:
            await self.abandoning(remote_id)

    def relay(self, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        return self._relay(payload)

    @asynccontextmanager
    async def _relay(self, payload: bytes) -> AsyncGenerator[Relayed]:
        if not self.reachable:
            raise UpstreamDown("it does not answer")

        async def body() -> AsyncGenerator[bytes]:
            yield payload

        yield Relayed(200, {"content-type": "application/json"}, body())


@dataclass
class Engine:
    store: Store
    live: Live
    catalogue: Catalogue
    capacity: Capacity
    dispatcher: Dispatcher
    benches: Benches
    objects: BlobStore | None

    async def submit(self, *, queue: str = "small", **changes: object) -> str:
        new = NewRequest(
            id=new_id("req"),
            tenant="t",
            queue=queue,
            operation="chat.completion",
            path="/chat/completions",
            model=queue,
            payload=b"{}",
            created_at=now(),
        )
        [answer] = await self.store.requests.submit([replace(new, **changes)])
        assert not isinstance(answer, Exception), answer
        return answer.request.id

    async def until(self, request_id: str, wanted: Callable[[Request], bool]) -> Request:
        """The request, as soon as it is as wanted."""
        async with asyncio.timeout(10):
            with self.live.watch(request_id) as watch:
                while not wanted(request := await self.store.requests.get("t", request_id)):
                    await watch.news(1)
                return request

    async def ended(self, request_id: str) -> Request:
        return await self.until(request_id, lambda request: request.status.final)


@asynccontextmanager
async def an_engine(
    folder: Path,
    upstreams: Sequence[Upstream],
    *,
    places: int = 4,
    lease_for: int = 30 * SECOND,
    clock: Clock = now,
    wrap: Callable[[Store], Store] = lambda store: store,
    started: bool = True,
    keeps_files: bool = False,
) -> AsyncGenerator[Engine]:
    async with open_store(folder / "raincheck.db", clock=clock) as plain:
        store = wrap(plain)
        live = Live()
        catalogue = Catalogue([Member(upstream, (), places) for upstream in upstreams], clock)
        await catalogue.refresh()
        capacity = Capacity(catalogue)
        objects = open_blobs((folder / "blobs").as_uri()) if keeps_files else None
        benches = Benches(store.requests, objects, MediaLimits(hosts=("127.0.0.1",)), str(folder / "scratch"))
        means = Means(
            leases=store.leases,
            stow=objects and Stow(store.blobs, objects),
            strays=store.strays,
            benches=benches,
            catalogue=catalogue,
            live=live,
            lease_for=lease_for,
            clock=clock,
            policy=RetryPolicy(base=1_000, longest=1_000),
            jitter=lambda: 0.5,
        )
        dispatcher = Dispatcher(means=means, capacity=capacity, worker="w")
        sweeper = Sweeper(strays=store.strays, catalogue=catalogue, clock=clock)
        capacity.on_free = dispatcher.wake

        def spread(change: Change) -> None:
            dispatcher.on_change(change)
            sweeper.on_change(change)
            for request_id, _ in change.moved:
                live.wake(request_id)

        stop = store.changes.listen(spread)
        loop = asyncio.create_task(dispatcher.run()) if started else None
        beside = [asyncio.create_task(dispatcher.keep_alive()), asyncio.create_task(sweeper.run())]
        try:
            yield Engine(store, live, catalogue, capacity, dispatcher, benches, objects)
        finally:
            await dispatcher.close(0)
            if loop is not None:
                await loop
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            await benches.close()
            stop()

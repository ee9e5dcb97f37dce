"""A store, an object store and the engine of batches between them; the test is the worker that does the requests."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from raincheck.core.batches import Batch, BatchDialect, BatchLease, Body, NewBatch, NewPart
from raincheck.core.clock import DAY, HOUR, MINUTE
from raincheck.core.errors import BadInput
from raincheck.core.ids import new_id
from raincheck.core.model import Finish, Lease, Offer, Request, Result, Tenant
from raincheck.core.outcome import Ended, Reply, RequestError, Succeeded
from raincheck.core.status import Status
from raincheck.intake.admit import Submission
from raincheck.intake.batches.assemble import Assembler
from raincheck.intake.batches.calls import path_of
from raincheck.intake.batches.feed import Feeder
from raincheck.intake.batches.keeper import Keeper
from raincheck.intake.batches.steps import Steps
from raincheck.intake.links import Links
from raincheck.intake.retrieve import Desk
from raincheck.live import Live
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.intake.batches.inputs import CHAT, MIB, a_catalogue, objects_at, stored
from tests.store.builders import FakeClock

Json = dict[str, Any]
ANSWER = b'{"choices":[{"message":{"content":"hi"}}]}'


class Clips:
    """An edge whose videos are made of their prompt, which is put into the object store; "bad" ones are refused."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._numbers = count(1)

    def check(self, url: str, members: Mapping[str, msgspec.Raw]) -> str | None:
        return msgspec.json.decode(members["model"], type=str)

    async def submission(
        self, tenant: Tenant, url: str, members: Mapping[str, msgspec.Raw], fresh: list[str]
    ) -> Submission:
        blob = f"inputs/{next(self._numbers)}"
        await self._store.blobs.expect(blob, keep_for=HOUR)
        fresh.append(blob)
        if b"bad" in bytes(members["prompt"]):
            raise BadInput("This prompt will not do.", param="prompt")
        return Submission(path=path_of(url), model="small", payload=msgspec.json.encode(members))

    def answer(self, url: str, request: Request, payload: bytes, result: Result) -> bytes:
        prompt = msgspec.json.decode(payload)["prompt"]
        return msgspec.json.encode({"id": request.id, "url": url, "prompt": prompt, "status": "completed"})


@dataclass
class House:
    """Everything that batches pass through."""

    store: Store
    objects: BlobStore
    folder: Path
    clock: FakeClock
    steps: Steps
    keeper: Keeper
    troubles: list[Exception] = field(default_factory=list[Exception])

    async def batch(self, text: bytes, **changes: Any) -> Batch:
        """A batch whose lines are in a file."""
        blob = new_id("uploads/blob")
        await self.store.blobs.expect(blob, keep_for=HOUR)
        return await self._create(**{"endpoint": CHAT, "body": await stored(self.objects, text, blob)} | changes)

    async def open_batch(self, *parts: Sequence[bytes], **changes: Any) -> Batch:
        """One that lines are added to, one call after the other."""
        batch = await self._create(id=new_id("xai"), dialect=BatchDialect.XAI, name="mine", **changes)
        for lines in parts:
            batch = await self.add(batch, lines)
        return batch

    async def add(self, batch: Batch, lines: Sequence[bytes]) -> Batch:
        text = b"".join(line + b"\n" for line in lines)
        names = tuple(msgspec.json.decode(line)["custom_id"] for line in lines)
        body = Body(size=len(text), digest="", text=text)
        part = NewPart(body=body, names=names, queues={"small": len(lines)})
        return await self.store.batches.add(batch.tenant, batch.id, part)

    async def get(self, batch: Batch) -> Batch:
        return await self.store.batches.get(batch.tenant, batch.id)

    async def lease(self) -> BatchLease:
        lease = await self.store.batches.claim(worker="k", lease_for=MINUTE)
        assert lease is not None
        return lease

    async def step(self) -> int | None:
        """The batch that is due goes one step on; returns when it is due again."""
        lease = await self.lease()
        due_at = await self.steps.take(lease)
        if due_at is not None:
            await self.store.batches.release(lease.fence, due_at=due_at, total=lease.batch.counts.total)
        return due_at

    async def claimed(self, how_many: int = 1_000, queue: str = "small") -> list[Lease]:
        """Requests that are being worked on."""
        return (await self.store.leases.claim([Offer(queue, "up", how_many)], worker="w", lease_for=DAY)).leases

    async def answer(
        self, how_many: int = 1_000, reply: Callable[[Lease], Reply] = lambda _: Reply(ANSWER), queue: str = "small"
    ) -> int:
        """Complete up to so many requests; returns how many those were."""
        leases = await self.claimed(how_many, queue)
        await self.store.leases.finish([Finish(lease.fence, Succeeded(reply(lease)), "up") for lease in leases])
        return len(leases)

    async def fail(self, error: RequestError, how_many: int = 1) -> None:
        leases = await self.claimed(how_many)
        await self.store.leases.finish([Finish(lease.fence, Ended(Status.FAILED, error), "up") for lease in leases])

    async def files(self, batch: Batch) -> tuple[list[Json], list[Json]]:
        """The lines of a batch's output and of its error file."""
        batch = await self.get(batch)
        assert batch.status.final, batch.status
        return await self._lines(batch, batch.output_file_id), await self._lines(batch, batch.error_file_id)

    def blobs(self) -> list[str]:
        """What there is of files of batches."""
        return sorted(path.name for path in (self.folder / "objects").glob("batches/*"))

    async def _create(self, **changes: Any) -> Batch:
        now = self.clock.now()
        plain = NewBatch(
            id=new_id("batch"),
            tenant="t",
            dialect=BatchDialect.OPENAI,
            created_at=now,
            expires_at=now + DAY,
            completion_window="24h",
        )
        return (await self.store.batches.create(msgspec.structs.replace(plain, **changes))).batch

    async def _lines(self, batch: Batch, file_id: str | None) -> list[Json]:
        if file_id is None:
            return []
        file = await self.store.files.get(batch.tenant, file_id)
        body = b"".join([piece async for piece in self.objects.read(file.blob)])
        assert len(body) == file.size
        return [msgspec.json.decode(line) for line in body.splitlines()]


Opening = Callable[[Path, FakeClock], AbstractAsyncContextManager[Store]]


def in_sqlite(tmp_path: Path, clock: FakeClock) -> AbstractAsyncContextManager[Store]:
    return open_store(tmp_path / "store.db", clock=clock.now)


@asynccontextmanager
async def a_house(
    tmp_path: Path,
    *,
    opening: Opening = in_sqlite,
    with_objects: bool = True,
    change: Callable[[Store], Store] = lambda store: store,
) -> AsyncGenerator[House]:
    """`change` may put something between the engine and its store."""
    clock, objects, troubles = FakeClock(), objects_at(tmp_path), list[Exception]()
    async with opening(tmp_path, clock) as inner:
        store = change(inner)
        steps = await _steps(store, objects if with_objects else None, Clips(inner), clock)
        keeper = Keeper(
            batches=store.batches,
            steps=steps,
            worker="k",
            clock=clock.now,
            crashed=lambda error, _: troubles.append(error),
        )
        try:
            yield House(inner, objects, tmp_path, clock, steps, keeper, troubles)
        finally:
            await keeper.close()


async def _steps(store: Store, objects: BlobStore | None, videos: Clips, clock: FakeClock) -> Steps:
    catalogue = await a_catalogue()
    return Steps(
        batches=store.batches,
        registry=store.registry,
        catalogue=catalogue,
        feeder=Feeder(
            batches=store.batches,
            blobs=store.blobs,
            objects=objects,
            videos=videos,
            desk=Desk(store.requests, catalogue, Live(), clock.now, Links(b"s" * 32, HOUR), objects),
            clock=clock.now,
            max_attempts=3,
            longest=MIB,
        ),
        assembler=Assembler(
            batches=store.batches,
            requests=store.requests,
            blobs=store.blobs,
            objects=objects,
            videos=videos,
            clock=clock.now,
            longest=MIB,
        ),
        clock=clock.now,
    )

"""Several processes on one database at once, each with a store of its own: nothing twice, nothing lost, no deadlock."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random

import pytest
from msgspec import UNSET

from raincheck.core.clock import SECOND
from raincheck.core.errors import AlreadyEnded, AttachmentGone, NotEnded, NotFound, NotRequeueable
from raincheck.core.ids import new_id
from raincheck.core.model import (
    Attachment,
    Beat,
    File,
    Finish,
    Lease,
    Limits,
    Offer,
    Priority,
    Remote,
    Submitted,
    Tenant,
)
from raincheck.store.postgres import finishes, open_store
from raincheck.store.postgres.database import Transaction, connect
from raincheck.store.protocol import Store
from tests.store.builders import (
    ANSWER,
    LEASE,
    RETENTION,
    FakeClock,
    a_request,
    accepted,
    an_output,
    claimed,
    failure,
    ids,
    release,
    retry,
    running,
    status,
    submitted,
    success,
    uploaded,
)
from tests.store.postgres.databases import databases
from tests.store.postgres.server import psql

QUEUES = ("left", "right")
BODIES = [f"body-{number}" for number in range(6)]
"""What everyone's files and requests share."""
TENANTS = ("one", "two", "three")


@asynccontextmanager
async def processes(url: str, clock: FakeClock, how_many: int = 4) -> AsyncGenerator[list[Store]]:
    async with AsyncExitStack() as exits:
        opening = [open_store(url, clock=clock.now, retention=RETENTION) for _ in range(how_many)]
        yield [await exits.enter_async_context(each) for each in opening]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A database in which, when the test is over, nobody has been in anybody's way for ever."""
    url = await databases().lend()
    before = deadlocks(url)
    yield url
    assert deadlocks(url) == before
    databases().give_back(url)


def deadlocks(url: str) -> int:
    return int(psql(url, "select deadlocks from pg_stat_database where datname = current_database()"))


@pytest.fixture
async def stores(url: str, clock: FakeClock) -> AsyncIterator[list[Store]]:
    async with processes(url, clock) as stores:
        yield stores


async def test_no_request_is_handed_out_twice_and_all_are(stores: list[Store]) -> None:
    """G2, G4."""
    await submitted(stores[0], 300)

    async def work(store: Store) -> list[Lease]:
        held = list[Lease]()
        while got := await claimed(store, 7):
            held += got
        return held

    leases = [lease for held in await asyncio.gather(*(work(store) for store in stores * 2)) for lease in held]
    assert len(leases) == 300
    assert len(set(ids(leases))) == 300


async def test_a_fence_is_finished_once_however_many_try(stores: list[Store]) -> None:
    """G2, G6."""
    leases = [await running(stores[0]) for _ in range(20)]
    tries = [
        store.leases.finish([success(lease) for lease in order]) for store in stores for order in (leases, leases[::-1])
    ]
    lost = await asyncio.gather(*tries)
    assert Counter(fence for fences in lost for fence in fences) == {lease.fence: len(tries) - 1 for lease in leases}
    for lease in leases:
        assert len(await stores[0].upkeep.events("t", lease.fence.request_id)) == 1


@pytest.mark.slow("many transactions of four processes")
async def test_max_concurrency_is_exact_over_all_processes(stores: list[Store]) -> None:
    """G7."""
    await submitted(stores[0], 60)
    await stores[0].registry.set_limits("queue", "small", Limits(max_concurrency=7))
    for left in range(60, 0, -7):
        held = await asyncio.gather(*(claimed(store, 4) for store in stores * 2))
        assert sum(map(len, held)) == min(7, left)
        await asyncio.gather(
            *(
                store.leases.finish([success(lease) for lease in leases])
                for store, leases in zip(stores * 2, held, strict=True)
            )
        )


async def test_rates_are_exact_over_all_processes(stores: list[Store], clock: FakeClock) -> None:
    """G7: two queues of one upstream, which allows 25 requests a minute; one of them 10,000 tokens."""
    for queue in QUEUES:
        await submitted(stores[0], 100, queue=queue, tokens=1_000)
    await stores[0].registry.set_limits("upstream", "up", Limits(rpm=25))
    await stores[0].registry.set_limits("queue", "left", Limits(tpm=10_000))

    async def work(store: Store) -> list[Lease]:
        held = list[Lease]()
        for queue in QUEUES * 3:
            held += await claimed(store, 6, queue=queue)
        return held

    for _ in range(3):
        started = [lease for held in await asyncio.gather(*(work(store) for store in stores)) for lease in held]
        assert len(started) == 25
        assert Counter(lease.queue for lease in started)["left"] <= 10
        clock.advance(seconds=61)


@pytest.mark.slow("many transactions of four processes")
async def test_a_tenants_cap_is_exact_over_all_processes_and_nothing_of_it_sticks(stores: list[Store]) -> None:
    """G3, G7."""
    await stores[0].registry.put_tenant(Tenant("one", max_running=3))
    for queue in QUEUES:
        await submitted(stores[0], 30, queue=queue, tenant="one")
        await submitted(stores[0], 30, queue=queue, tenant="two")
    offers = [Offer(queue, "up", 3) for queue in QUEUES]
    done, most = Counter[str](), 0

    async def work(store: Store) -> list[Lease]:
        return (await store.leases.claim(offers, worker="w", lease_for=LEASE)).leases

    async with asyncio.timeout(30):
        while done.total() < 120:
            held = await asyncio.gather(*(work(store) for store in stores))
            at_work = Counter(lease.tenant for leases in held for lease in leases)
            most = max(most, at_work["one"])
            done += at_work
            for store, leases in zip(stores, held, strict=True):
                await store.leases.finish([success(lease) for lease in leases])
    assert (most, done) == (3, {"one": 60, "two": 60})


@pytest.mark.slow("many transactions of three processes")
async def test_finishes_and_claims_of_capped_tenants_are_in_nobodys_way(url: str, clock: FakeClock) -> None:
    """G7: also when a batch of finishes ends some requests, hands others back, and measures in between."""
    tenants = [f"t{number}" for number in range(6)]
    async with processes(url, clock, 3) as stores:
        for tenant in tenants:
            await stores[0].registry.put_tenant(Tenant(tenant, max_running=20))
        for number in range(240):
            await submitted(stores[0], tenant=tenants[number % 6], max_attempts=99)

        async def work(store: Store, random: Random) -> None:
            for _ in range(25):
                leases = await claimed(store, 20)
                outcomes = [success(lease) if random.random() < 0.1 else retry(lease, 0) for lease in leases]
                await store.leases.finish(outcomes)

        async with asyncio.timeout(30):
            await asyncio.gather(*(work(store, Random(number)) for number, store in enumerate(stores * 2)))


@pytest.mark.slow("many transactions of four processes")
async def test_forgetting_and_deleting_the_same_requests_is_in_nobodys_way(
    stores: list[Store], clock: FakeClock
) -> None:
    """G9: a request goes with its key, whoever takes it away."""
    made = [a_request(idempotency_key=f"{number}", fingerprint=b"f") for number in range(240)]
    await stores[0].requests.submit(made)
    await stores[0].leases.finish([success(lease) for lease in await claimed(stores[0], 240)])
    clock.advance(seconds=RETENTION / SECOND)
    assert await stores[0].upkeep.purge(limit=240) == 240
    clock.advance(seconds=RETENTION / SECOND)

    async def delete(store: Store, request_id: str) -> None:
        with suppress(NotFound):
            await store.requests.delete("t", request_id)

    for first in range(0, 240, 24):
        await asyncio.gather(
            *(store.upkeep.purge(limit=24) for store in stores[:2]),
            *(delete(store, new.id) for store in stores[2:] for new in made[first : first + 24]),
        )
    again = [a_request(idempotency_key=new.idempotency_key, fingerprint=b"f") for new in made]
    assert not any(accepted(answer).repeated for answer in await stores[0].requests.submit(again))


async def test_a_queue_is_forgotten_without_waiting_for_a_claim_that_looks_at_its_notes(
    url: str, stores: list[Store], clock: FakeClock
) -> None:
    """G3: and the note is seen to by the next claim."""
    [store, *_] = stores
    await store.registry.put_tenant(Tenant("one", max_running=1))
    first, second = await submitted(store, 2, tenant="one")
    [lease] = await claimed(store, 2)
    assert lease.fence.request_id == first.id
    await store.requests.cancel("one", second.id)
    await store.leases.finish([success(lease)])
    clock.advance(seconds=RETENTION / SECOND)
    database = await connect(url, clock.now)

    async def look(tx: Transaction) -> None:
        assert len(await tx.all("select queue from parked for update")) == 1
        assert await store.upkeep.tidy(limit=9) == 1

    async with asyncio.timeout(5):
        await database.write(look)
    await database.close()
    assert await store.leases.ready() == {"small"}
    assert await claimed(store) == []
    assert await store.leases.ready() == set()


class Melee:
    """One process that does anything to anyone's requests."""

    def __init__(self, store: Store, random: Random, everyones: list[tuple[str, str]]) -> None:
        self.store, self.random, self.everyones = store, random, everyones
        self.leases = list[Lease]()
        self.files = list[File]()

    async def act(self) -> None:
        acts = (self.submit, self.submit, self.claim, self.claim, self.finish, self.finish, self.extend)
        await self.random.choice((*acts, self.interfere, self.limit, self.care, self.upload))()

    async def submit(self) -> None:
        new = [
            a_request(
                queue=self.random.choice(QUEUES),
                tenant=self.random.choice(TENANTS),
                priority=self.random.choice([Priority.DEFAULT, Priority.BATCH]),
                max_attempts=99,
                tokens=5,
                attachments=self.inputs(),
            )
            for _ in range(self.random.randrange(1, 9))
        ]
        answers = await self.store.requests.submit(new)
        self.everyones += [
            (each.tenant, each.id) for each, answer in zip(new, answers, strict=True) if isinstance(answer, Submitted)
        ]

    def inputs(self) -> tuple[Attachment, ...]:
        some = self.random.sample(BODIES, self.random.choice([0, 0, 1, 3]))
        return tuple(Attachment("input", body, body, "image/png", 1, "") for body in some)

    async def upload(self) -> None:
        for body in self.random.sample(BODIES, 2):
            with suppress(AttachmentGone):
                self.files.append(await uploaded(self.store, body))
        self.random.shuffle(self.files)
        while len(self.files) > 2:
            await self.store.files.delete("t", self.files.pop().id)

    async def claim(self) -> None:
        offers = [Offer(queue, self.random.choice(["up", "down"]), 4) for queue in self.random.sample(QUEUES, 2)]
        lease_for = self.random.choice([LEASE, 0])  # Some are lost at once.
        self.leases += (await self.store.leases.claim(offers, worker="w", lease_for=lease_for)).leases

    async def finish(self) -> None:
        self.random.shuffle(self.leases)
        some, self.leases = self.leases[:6], self.leases[6:]
        await self.store.leases.finish([self.outcome(lease) for lease in some])

    def outcome(self, lease: Lease) -> Finish:
        match self.random.randrange(5):
            case 0:
                outputs = [an_output(body, body) for body in self.random.sample(BODIES, 2)]
                return success(lease, attachments=tuple(outputs))
            case 1:
                return failure(lease)
            case 2:
                return release(lease)
            case 3:
                return retry(lease, 0)
            case _:
                return release(lease, pause_until=1)

    async def extend(self) -> None:
        remotes = [UNSET, UNSET, None, Remote("up", "job")]
        beats = [Beat(lease.fence, 0.5, remote=self.random.choice(remotes)) for lease in self.leases]
        await self.store.leases.extend(beats, lease_for=LEASE)

    async def interfere(self) -> None:
        if not self.everyones:
            return
        tenant, request_id = self.random.choice(self.everyones)
        with suppress(AlreadyEnded, NotEnded, NotFound, NotRequeueable, AttachmentGone):
            await self.store.requests.cancel(tenant, request_id)
            await self.store.requests.requeue(tenant, request_id, new_id=new_id("req"))
            await self.store.requests.delete(tenant, request_id)

    async def limit(self) -> None:
        some = [Limits(), Limits(max_concurrency=20), Limits(max_concurrency="auto"), Limits(rpm=900, tpm=10**6)]
        limits = self.random.choice(some)
        await self.store.registry.set_limits("queue", self.random.choice(QUEUES), limits)
        await self.store.registry.put_tenant(Tenant("three", max_running=self.random.choice([None, 2])))

    async def care(self) -> None:
        await self.store.upkeep.expire(limit=9)
        await self.store.upkeep.purge(limit=9)
        await self.store.upkeep.tidy(limit=9)
        await self.store.upkeep.gauges()
        strays = await self.store.strays.due(["up"], limit=9)
        await self.store.strays.put_off(strays[:5], delay=0)
        await self.store.strays.swept(strays[3:])


MISCOUNTED = """
    select name, holders, doomed_at
      from blob b
     where (holders = 0) != (doomed_at is not null)
        or holders != (select count(*) from attachment a where a.blob = b.name)
                      + (select count(*) from file f where f.blob = b.name)
                      + (select count(*) from result r where r.blob = b.name)"""


@pytest.mark.slow("a thousand acts of four processes")
@pytest.mark.parametrize("seed", range(3))
async def test_in_a_melee_nobody_blocks_anybody_and_the_counters_stay_true(
    url: str, clock: FakeClock, seed: int
) -> None:
    """G2, G3."""
    async with processes(url, clock) as stores:
        everyones = list[tuple[str, str]]()

        async def fight(store: Store, number: int) -> None:
            one = Melee(store, Random(f"{seed}-{number}"), everyones)
            for _ in range(80):
                await one.act()

        async with asyncio.timeout(60):
            # Twice each: a process does many things at once.
            await asyncio.gather(*(fight(store, number) for number, store in enumerate(stores * 2)))
        await drained(stores[0], clock)
        assert all(not queue.pending and not queue.processing for queue in await stores[0].registry.queues())
        assert psql(url, "select count(*) from request where status in ('pending', 'processing')") == "0"
        assert psql(url, "select count(*) from flow where pending != 0") == "0"
        assert psql(url, MISCOUNTED) == ""
        assert psql(url, "select count(*) from event") == psql(url, "select count(*) from request")


async def drained(store: Store, clock: FakeClock) -> None:
    """Work on everything that is left until nothing is."""
    for queue in QUEUES:
        await store.registry.set_limits("queue", queue, Limits())
    await store.registry.put_tenant(Tenant("three"))
    clock.advance(seconds=LEASE / SECOND)
    async with asyncio.timeout(30):
        while await store.leases.ready():
            for queue in QUEUES:
                for _ in range(3):
                    await store.leases.finish([success(lease) for lease in await claimed(store, 200, queue=queue)])


async def test_a_finish_is_found_again_when_nobody_knows_whether_it_was_committed(url: str, clock: FakeClock) -> None:
    """G2: and what was lost, or went otherwise, is still lost."""
    async with processes(url, clock, 1) as [store]:
        done, lost = await running(store), await running(store)
        await store.leases.finish([success(done)])
        await store.requests.cancel("t", lost.fence.request_id)
        database = await connect(url, clock.now)
        again = [success(done), success(lost)]
        in_doubt = {finish.fence for finish in again}
        recorded = await database.write(lambda tx: finishes.record(tx, again, keep_for=RETENTION, in_doubt=in_doubt))
        assert recorded == [True, False]
        recorded = await database.write(
            lambda tx: finishes.record(tx, [failure(done)], keep_for=RETENTION, in_doubt=in_doubt)
        )
        assert recorded == [False]
        await database.close()
        result = await store.requests.result("t", done.fence.request_id)
        assert result is not None
        assert result.body == ANSWER


@pytest.mark.slow("many transactions of four processes")
async def test_a_pause_is_never_skipped_when_others_measure(stores: list[Store], clock: FakeClock) -> None:
    """G10."""
    leases = [await running(stores[0]) for _ in range(24)]
    until = clock.now() + 9 * SECOND
    finishes = [
        store.leases.finish([release(lease, pause_until=until - number) if number % 3 == 0 else success(lease)])
        for store in stores
        for number, lease in enumerate(leases)
        if number % len(stores) == stores.index(store)
    ]
    await asyncio.gather(*finishes)
    [throttle] = await stores[0].registry.throttles("queue")
    assert throttle.paused_until == until


async def test_text_that_no_column_can_hold_does_not_hold_up_others(stores: list[Store]) -> None:
    """A NUL or half a character in what an upstream said is replaced, so that its batch is written."""
    [store, *_] = stores
    first, second = await running(store), await running(store)
    await store.leases.extend([Beat(first.fence, 0.5, "a\0b\ud800"), Beat(second.fence)], lease_for=LEASE)
    record = await store.requests.get("t", first.fence.request_id)
    assert record.progress_message == "a\N{REPLACEMENT CHARACTER}b?"
    odd = success(first, usage=b'{"a":1}', content_type="text/\0plain")
    assert await store.leases.finish([odd, success(second)]) == []
    assert await status(store, second.fence.request_id) == "completed"

"""What store tests are made of: a clock to turn, requests to submit, and the ways an attempt can go."""

from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from itertools import count
from typing import Any, Literal, Protocol, get_args
from uuid import uuid4

from msgspec.structs import replace

from raincheck.core.batches import Batch, BatchDialect, BatchLease, Body, Cursor, NewBatch, NewPart, NewRow
from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND, micros
from raincheck.core.ids import new_file_id, new_id
from raincheck.core.model import (
    Attachment,
    Beat,
    File,
    Finish,
    Lease,
    Limits,
    NewRequest,
    Offer,
    Page,
    Priority,
    Query,
    Remote,
    Request,
    Scope,
    Submitted,
    Throttle,
)
from raincheck.core.outcome import Ended, Pause, Released, Reply, RequestError, Retry, Succeeded
from raincheck.core.status import Status
from raincheck.core.webhooks import (
    DELIVERY_LOG_KEPT,
    Delivery,
    DeliveryAttempt,
    DeliveryLease,
    DeliveryQuery,
    DeliveryStatus,
    Endpoint,
    FinishedDeliveries,
    Sent,
    Strangers,
)
from raincheck.store.protocol import Change, Store

START = 1_790_000_000 * SECOND
LEASE = MINUTE
PLENTY = Strangers(99, each=99)
RETENTION = 7 * DAY
WINDOW = DAY
ANSWER = b'{"choices": [{"text": "hi"}]}'
BROKEN = RequestError("The upstream broke.", code="upstream_failed")

Unsuccessful = Literal[Status.FAILED, Status.EXPIRED, Status.CANCELLED]
Way = Literal["completed", "retry", "released", "failed", "cancelled", "lapsed"]
WAYS: tuple[Way, ...] = get_args(Way)
"""How an attempt can stop running."""

_numbers = count(1)


class FakeClock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self._now = START

    def now(self) -> int:
        return self._now

    def advance(self, *, seconds: float) -> None:
        self._now += micros(seconds)

    def advance_to(self, moment: int) -> None:
        self._now = max(self._now, moment)


class Home(Protocol):
    """Where one store keeps its record; opened again, it is the same store."""

    @property
    def clock(self) -> FakeClock: ...

    def open(self, *, log_retention: int = DELIVERY_LOG_KEPT) -> AbstractAsyncContextManager[Store]: ...


def a_request(*, queue: str = "small", tenant: str = "t", **changes: Any) -> NewRequest:
    """A request that nothing is special about but what the test names."""
    plain = NewRequest(
        id=new_id("req"),
        tenant=tenant,
        queue=queue,
        operation="chat.completion",
        path="/chat/completions",
        model=queue,
        payload=b'{"number": %d}' % next(_numbers),
        created_at=START,
    )
    return replace(plain, **changes)


async def an_input(store: Store, blob: str = "uploads/a", name: str = "image.png") -> Attachment:
    """A file to be given with a request, whose body is in the object store."""
    await store.blobs.expect(blob, keep_for=HOUR)
    return Attachment("input", name, blob, "image/png", 5_000, "ab" * 32)


def an_output(blob: str = "outputs/a", name: str = "video.mp4") -> Attachment:
    """A file that a request made."""
    return Attachment("output", name, blob, "video/mp4", 7_000_000_000, "cd" * 32)


async def uploaded(store: Store, blob: str = "uploads/a", **changes: Any) -> File:
    """A file that a tenant has uploaded."""
    await store.blobs.expect(blob, keep_for=HOUR)
    plain = File(
        id=new_file_id(),
        tenant="t",
        filename="a.png",
        purpose="vision",
        content_type="image/png",
        size=5_000,
        digest="ab" * 32,
        blob=blob,
        created_at=START,
    )
    file = replace(plain, **changes)
    await store.files.add(file)
    return file


def a_batch(**changes: Any) -> NewBatch:
    """A batch out of a file, small enough to stand in the record."""
    plain = NewBatch(
        id=new_id("batch"),
        tenant="t",
        dialect=BatchDialect.OPENAI,
        created_at=START,
        expires_at=START + WINDOW,
        completion_window="24h",
        endpoint="/v1/chat/completions",
        input_file_id="file-1",
        body=Body(size=6, digest="ab" * 32, text=b"{}\n{}\n"),
    )
    return replace(plain, **changes)


def an_open_batch(**changes: Any) -> NewBatch:
    """A batch to which lines are added call by call."""
    plain = a_batch(
        id=str(uuid4()), dialect=BatchDialect.XAI, name="open", endpoint=None, input_file_id=None, body=None
    )
    return replace(plain, **changes)


def a_part(*names: str, queue: str = "small", **changes: Any) -> NewPart:
    """Lines to add, all for one queue."""
    text = b"{}\n" * len(names)
    body = Body(size=len(text), digest="cd" * 32, text=text)
    return replace(NewPart(body=body, names=names, queues={queue: len(names)}), **changes)


def a_line(number: int, **changes: Any) -> NewRow:
    """The line of this number, on its way to becoming a request."""
    plain = a_request(id=new_id("batch_req"), priority=Priority.BATCH, deadline=START + WINDOW)
    return NewRow(number, f"line-{number}", replace(plain, **changes))


def a_broken_line(number: int) -> NewRow:
    """A line that is no request after all."""
    return NewRow(number, f"line-{number}", None, BROKEN)


async def leased(store: Store, batch: Batch | None = None) -> BatchLease:
    """The lease of the batch that is due."""
    lease = await store.batches.claim(worker="keeper", lease_for=LEASE)
    assert lease is not None
    assert batch is None or lease.batch.id == batch.id
    return lease


async def under_way(store: Store, lines: int = 4, *, queue: str = "small", **changes: Any) -> BatchLease:
    """The lease of a batch whose file was found good; nothing of it is fed."""
    created = await store.batches.create(a_batch(**changes))
    lease = await leased(store, created.batch)
    await store.batches.accept(lease.fence, lines=lines, queues={queue: lines}, model=queue)
    return lease


async def feed(store: Store, lease: BatchLease, rows: Sequence[NewRow]) -> None:
    """Feed lines, and move the cursor behind the last of them."""
    line = rows[-1].line + 1
    await store.batches.feed(lease.fence, rows, Cursor(0, 3 * line, line))


async def fed(store: Store, lines: int = 4, **changes: Any) -> BatchLease:
    """The lease of a batch that is fed altogether."""
    lease = await under_way(store, lines, **changes)
    await feed(store, lease, [a_line(number) for number in range(1, lines + 1)])
    return lease


async def the(store: Store, lease: BatchLease) -> Batch:
    """The leased batch as it stands."""
    return await store.batches.get(lease.batch.tenant, lease.fence.request_id)


async def submitted(store: Store, how_many: int = 1, **changes: Any) -> list[Request]:
    """The records of so many new requests, submitted together."""
    answers = await store.requests.submit([a_request(**changes) for _ in range(how_many)])
    return [accepted(answer).request for answer in answers]


async def claimed(
    store: Store,
    how_many: int = 1,
    *,
    queue: str = "small",
    upstream: str = "up",
    worker: str = "w",
    lease_for: int = LEASE,
) -> list[Lease]:
    """Up to so many leases of one queue."""
    claimed = await store.leases.claim([Offer(queue, upstream, how_many)], worker=worker, lease_for=lease_for)
    return claimed.leases


async def capped(store: Store, max_concurrency: int | None, *, scope: Scope = "queue", name: str = "small") -> None:
    """Let no more than so many run at once."""
    await store.registry.set_limits(scope, name, Limits(max_concurrency=max_concurrency))


async def throttle(store: Store, name: str = "small", *, scope: Scope = "queue") -> Throttle:
    """The limits of one queue or upstream; one that has none and is not paused has the defaults."""
    found = {each.name: each for each in await store.registry.throttles(scope)}
    return found.get(name, Throttle(scope=scope, name=name))


async def stop(store: Store, clock: FakeClock, lease: Lease, way: Way) -> None:
    """Let an attempt stop running, one way or another."""
    match way:
        case "completed":
            await store.leases.finish([success(lease)])
        case "retry":
            await store.leases.finish([retry(lease, clock.now() + HOUR)])
        case "released":
            await store.leases.finish([release(lease, due_at=clock.now() + HOUR)])
        case "failed":
            await store.leases.finish([failure(lease)])
        case "cancelled":
            await store.requests.cancel(lease.tenant, lease.fence.request_id)
        case "lapsed":
            clock.advance_to(lease.lapses_at)
            await claimed(store, queue="somewhere else")


async def running(store: Store, **changes: Any) -> Lease:
    """The lease of a request that was just submitted and claimed."""
    [request] = await submitted(store, **changes)
    [lease] = await claimed(store, queue=request.queue)
    assert lease.fence.request_id == request.id
    return lease


async def with_a_job(store: Store, job: str = "job-7", **changes: Any) -> Lease:
    """The lease of a request that runs as a job at an upstream."""
    lease = await running(store, **changes)
    await store.leases.extend([Beat(lease.fence, remote=Remote("up", job))], lease_for=LEASE)
    return lease


async def completed(store: Store, body: bytes = ANSWER, **changes: Any) -> str:
    """The id of a request that has been completed."""
    lease = await running(store, **changes)
    assert await store.leases.finish([success(lease, body)]) == []
    return lease.fence.request_id


async def events(store: Store, request_id: str, tenant: str = "t") -> list[str]:
    """The types of the events a request has written."""
    return [event.type for event in await store.upkeep.events(tenant, request_id)]


async def status(store: Store, request_id: str, tenant: str = "t") -> Status:
    return (await store.requests.get(tenant, request_id)).status


async def pages(store: Store, query: Query, tenant: str = "t") -> AsyncIterator[Page]:
    """Page after page of a query."""
    while True:
        page = await store.requests.search(tenant, query)
        yield page
        if not page.has_more:
            return
        query = replace(query, after=page.requests[-1].id)


def accepted(answer: object) -> Submitted:
    assert isinstance(answer, Submitted), answer
    return answer


def ids(leases: list[Lease]) -> list[str]:
    return [lease.fence.request_id for lease in leases]


def success(lease: Lease, body: bytes = ANSWER, **reply: Any) -> Finish:
    return Finish(lease.fence, Succeeded(Reply(body, **reply)), lease.upstream)


def retry(lease: Lease, due_at: int) -> Finish:
    return Finish(lease.fence, Retry(BROKEN, due_at), lease.upstream)


def release(lease: Lease, *, pause_until: int | None = None, misses: int = 1, **changes: Any) -> Finish:
    pause = None if pause_until is None else Pause(pause_until, misses)
    return Finish(lease.fence, Released(pause=pause, **changes), lease.upstream)


def failure(lease: Lease, end: Unsuccessful = Status.FAILED, **error: Any) -> Finish:
    return Finish(lease.fence, Ended(end, RequestError(**error) if error else BROKEN), lease.upstream)


@contextmanager
def heard(store: Store, listener: Callable[[Change], None] | None = None) -> Generator[list[Change]]:
    """The hints that come while the block runs."""
    changes: list[Change] = []
    stop = store.changes.listen(listener or changes.append)
    yield changes
    stop()


HOOK = "https://hooks.example.com/mine"
PLACES = 8
DEAD_AFTER = 3 * DAY


def an_endpoint(*event_types: str, **changes: Any) -> Endpoint:
    """An endpoint that is told of every end, unless the test says of what."""
    plain = Endpoint(
        id=new_id("we"),
        tenant="t",
        name="mine",
        url="https://endpoint.example.com/",
        event_types=event_types or ("*",),
        created_at=START,
        updated_at=START,
    )
    return replace(plain, **changes)


async def listening(store: Store, *event_types: str, **changes: Any) -> Endpoint:
    """An endpoint that was just recorded."""
    endpoint = an_endpoint(*event_types, **changes)
    await store.endpoints.create(endpoint, f"whsec_of_{endpoint.id}")
    return endpoint


async def ended(store: Store, webhook_url: str | None = HOOK, **changes: Any) -> str:
    """The id of a request that has been completed, and whose `webhook_url` is to be told."""
    return await completed(store, webhook_url=webhook_url, **changes)


async def told(store: Store, tenant: str = "t", **query: Any) -> list[Delivery]:
    """A tenant's deliveries, oldest first."""
    page = await store.deliveries.list(tenant, replace(DeliveryQuery(limit=1_000), **query))
    return page.deliveries[::-1]


async def posted(
    store: Store,
    limit: int = 100,
    *,
    places: int = PLACES,
    strangers: int = 99,
    worker: str = "w",
    lease_for: int = LEASE,
) -> list[DeliveryLease]:
    """Up to so many leases of deliveries that are due, after everything that stood in their way was set aside."""
    leases = list[DeliveryLease]()
    while True:
        claimed = await store.deliveries.claim(
            worker=worker,
            lease_for=lease_for,
            limit=limit - len(leases),
            places=places,
            strangers=Strangers(strangers, each=strangers),
        )
        leases += claimed.leases
        if not claimed.more or len(leases) >= limit:
            return leases


async def sent(store: Store, *outcomes: Sent, places: int = PLACES) -> FinishedDeliveries:
    """Note how attempts went."""
    return await store.deliveries.finish(outcomes, places=places, disable_after=DEAD_AFTER)


def arrived(lease: DeliveryLease, **changes: Any) -> Sent:
    """The receiver took it."""
    attempt = an_attempt(lease, status_code=200, response="ok")
    return replace(Sent(fence=lease.fence, status=DeliveryStatus.DELIVERED, attempt=attempt), **changes)


def bounced(lease: DeliveryLease, due_at: int, **changes: Any) -> Sent:
    """The receiver did not take it; it is to be tried again."""
    attempt = an_attempt(lease, status_code=500, error_code="status", error="It answered 500.")
    return replace(Sent(fence=lease.fence, status=DeliveryStatus.PENDING, due_at=due_at, attempt=attempt), **changes)


def given_up(lease: DeliveryLease, **changes: Any) -> Sent:
    """The receiver did not take it, and that was the last try."""
    attempt = an_attempt(lease, status_code=500, error_code="status", error="It answered 500.")
    return replace(Sent(fence=lease.fence, status=DeliveryStatus.FAILED, attempt=attempt), **changes)


def an_attempt(lease: DeliveryLease, **changes: Any) -> DeliveryAttempt:
    """One try of a delivery, as its sender tells of it."""
    plain = DeliveryAttempt(number=lease.delivery.attempt, started_at=START, ended_at=START + SECOND)
    return replace(plain, **changes)

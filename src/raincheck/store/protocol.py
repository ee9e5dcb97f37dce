"""The store in small roles; a room is handed only the roles it uses.

Private to Raincheck: the seam may be reshaped at any release. Every write takes a sequence, so that one transaction
serves many callers; the contract suite (`tests/store/contract`) has at least one test per sentence below. Any method
may raise StoreUnavailable, and then nothing of that call has been recorded (or the error says that nobody knows: the
store went away during a commit and did not come back to tell).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from raincheck.core.batches import (
    MOST_READ,
    Batch,
    BatchDialect,
    BatchLease,
    BatchPage,
    Conclusion,
    CreatedBatch,
    Cursor,
    LineError,
    NewBatch,
    NewPart,
    NewRow,
    Pace,
    Part,
    Row,
)
from raincheck.core.errors import RaincheckError
from raincheck.core.events import Event
from raincheck.core.model import (
    ApiKey,
    Attachment,
    Attempt,
    Beat,
    Claimed,
    Fence,
    File,
    FilePage,
    Finish,
    Limits,
    NewRequest,
    Offer,
    Page,
    Place,
    Priority,
    Query,
    Queue,
    Remote,
    Request,
    Result,
    Scope,
    Stray,
    Submitted,
    Tenant,
    Throttle,
    Worker,
)
from raincheck.core.status import Status
from raincheck.store.outbox import Deliveries, Endpoints


class Requests(Protocol):
    """What the front desk does with requests. Every question names the tenant: another's id is unknown (G8)."""

    async def submit(self, batch: Sequence[NewRequest]) -> list[Submitted | RaincheckError]:
        """Record requests; when this returns, they are on disk (G1).

        One answer per request, in order; one that is refused does not touch the others. A repeated idempotency key
        with an equal fingerprint answers with the request of the first time and records nothing (G9); with another
        fingerprint it is an IdempotencyConflict. A retry (`is_retry`) whose fingerprint was submitted before its
        `repeat_until` is answered in the same way. More pending requests than `max_pending` is QuotaExceeded. The
        attachments are kept from now on; one whose blob is unknown, or doomed and due, is AttachmentGone.
        """
        ...

    async def get(self, tenant: str, request_id: str) -> Request:
        """The record of a request. Raises NotFound."""
        ...

    async def repeated(self, tenant: str, idempotency_key: str) -> Request | None:
        """The request that was submitted first under this key (G9), None when there is none."""
        ...

    async def place(self, tenant: str, request_id: str) -> Place | None:
        """Where a pending request stands; None when it is not pending. Raises NotFound."""
        ...

    async def attempts(self, tenant: str, request_id: str) -> list[Attempt]:
        """The tries so far, oldest first, without one that is still running. Raises NotFound."""
        ...

    async def result(self, tenant: str, request_id: str) -> Result | None:
        """The result of a completed request with its output attachments, None while it has none, in one trip to the
        database. Raises NotFound, ResultGone once purged."""
        ...

    async def results(self, tenant: str, request_ids: Sequence[str]) -> dict[str, Result]:
        """The same for several in one trip, by request; those that have none now, or are another's, are left out."""
        ...

    async def payloads(self, tenant: str, request_ids: Sequence[str]) -> dict[str, bytes]:
        """What was submitted, by request; those that are unknown, another's or purged are left out."""
        ...

    async def attachments(self, tenant: str, request_id: str) -> list[Attachment]:
        """The files that belong to a request, inputs first, each in the order given; none once purged.
        Raises NotFound."""
        ...

    async def search(self, tenant: str, query: Query) -> Page:
        """Requests that match every part of the query, by when they were submitted. Raises NotFound for an unknown
        cursor."""
        ...

    async def cancel(self, tenant: str, request_id: str) -> Request:
        """End a pending or processing request as cancelled, with its event; when this returns it cannot be claimed.

        The lease of a processing one is void at once: its fence matches nothing any more (G5). Cancelling what is
        already cancelled changes nothing and answers with the record. Raises NotFound, AlreadyEnded.
        """
        ...

    async def requeue(self, tenant: str, request_id: str, *, new_id: str, max_pending: int | None = None) -> Request:
        """Submit a copy of a failed, cancelled or expired request under a new id, ready at once, without a deadline.

        The copy has the same inputs. Raises NotFound, NotRequeueable, ResultGone when the payload was purged,
        QuotaExceeded as `submit` does.
        """
        ...

    async def delete(self, tenant: str, request_id: str) -> None:
        """Forget an ended request, its result and history. Raises NotFound; NotEnded, also for a row of a batch that
        has not ended, whose files would lack it."""
        ...


class Leases(Protocol):
    """What the engine does with requests. Every write carries the fence of its claim (G2)."""

    async def claim(self, offers: Sequence[Offer], *, worker: str, lease_for: int) -> Claimed:
        """Lease up to `places` ready requests per offer for `lease_for` microseconds.

        In a queue: by priority, then fair tag, then arrival. Requests whose wait is over are made ready first, and
        those whose lease lapsed are pending again (the lost attempt counts); one that has no attempts left is failed
        and one whose deadline passed is expired, each with its event, instead of being handed out. Each lease has a
        fence that no earlier claim had.

        Limits hold over all workers (G7): while a queue or an upstream is paused, at its `max_concurrency`, or has
        used up its `rpm` or `tpm` of the last minute, nothing more of it is handed out; a request whose estimate is
        above the whole `tpm` starts when nothing else was spent in that minute. What a tenant has beyond its
        `max_running` is passed over and delays nobody: a claim that could not pass over all of it holds the queue back
        no more than a lack of places does, and hints that there is more.
        """
        ...

    async def extend(self, beats: Sequence[Beat], *, lease_for: int) -> set[Fence]:
        """Push the end of held leases to now + `lease_for` and note progress; returns the fences that still hold.

        A remote job, or that there is none any more, is on disk when this returns. It is remembered until the request
        ends, also between attempts. A fence that is not returned has been lost: stop the work.
        """
        ...

    async def finish(self, finishes: Sequence[Finish]) -> list[Fence]:
        """Record how attempts went; when this returns, it is on disk. Returns the fences that had been lost.

        Succeeded, Retry, Released and Ended are written with the attempt's history in one transaction; an end also
        writes its result, with the attachments of its reply, and its one event (G6). A lost fence writes nothing at
        all. `tokens` corrects what the claim's minute spent; `congested` and `first_token` move the level of an
        adaptive `max_concurrency`.
        """
        ...

    async def next_due(self) -> int | None:
        """When the next waiting request becomes ready, lease lapses, pause ends or rate limit lets something through;
        None when there is none."""
        ...

    async def ready(self) -> set[str]:
        """The queues that have something to claim now, whether or not a limit holds it back."""
        ...


class Strays(Protocol):
    """Remote jobs to be stopped. A request that ends in any way but completed while it has a remote job leaves one, in
    the transaction that ends it: whoever cancelled it, and whether or not a worker still holds it (G5)."""

    async def add(self, remotes: Sequence[Remote]) -> None:
        """Note jobs that no request will ever know of, to be stopped at once. When this returns, it is on disk."""
        ...

    async def due(self, upstreams: Sequence[str], *, limit: int) -> list[Stray]:
        """Up to `limit` strays at these upstreams whose time to try has come, oldest first."""
        ...

    async def put_off(self, strays: Sequence[Stray], *, delay: int) -> None:
        """They could not be stopped: count that, and try again in `delay` microseconds."""
        ...

    async def swept(self, strays: Sequence[Stray]) -> None:
        """Forget them: they have been stopped, or nobody will ever reach them."""
        ...


class Files(Protocol):
    """What tenants have uploaded. Every question names the tenant: another's id is unknown (G8)."""

    async def add(self, file: File) -> None:
        """Record a file whose blob is in the object store. When this returns, it is on disk.
        Raises AttachmentGone as `Requests.submit` does."""
        ...

    async def get(self, tenant: str, file_id: str) -> File:
        """The record of a file. Raises NotFound, also when its `expires_at` has passed."""
        ...

    async def list(
        self, tenant: str, *, purpose: str | None = None, after: str | None = None, limit: int = 20, newest: bool = True
    ) -> FilePage:
        """A tenant's files that have not expired, by when they were made. Raises NotFound for an unknown cursor."""
        ...

    async def delete(self, tenant: str, file_id: str) -> None:
        """Forget a file; requests that it was given to keep what they need of it. Raises NotFound."""
        ...


class Batches(Protocol):
    """Many requests handed in together. The desk's questions name the tenant (G8); the engine's writes carry the fence
    of their lease on the batch (G2), and one whose fence was lost writes nothing at all and raises FenceLost."""

    # --- the desk

    async def create(self, new: NewBatch) -> CreatedBatch:
        """Record a batch; when this returns, it is on disk (G1), and its input's blob is held. One with a body is
        `validating`, one without is `in_progress`. Repetition as in `Requests.submit` (G9).
        Raises IdempotencyConflict, AttachmentGone."""
        ...

    async def repeated(self, new: NewBatch) -> Batch | None:
        """The batch that creating this one would repeat (G9), whatever has become of its input since; None when it
        would be a new one. Raises IdempotencyConflict."""
        ...

    async def get(self, tenant: str, batch_id: str) -> Batch:
        """The record of a batch. Raises NotFound."""
        ...

    async def add(self, tenant: str, batch_id: str, part: NewPart) -> Batch:
        """Add lines to a batch without a file that is in progress, and wakes its feeding; when this returns, they are
        on disk. All or none: DuplicateLine names a custom id that the batch has already. Again with the same
        idempotency key changes nothing, nor does a retry of what was just added (G9). Raises NotFound, BatchClosed."""
        ...

    async def cancel(self, tenant: str, batch_id: str, *, limit: int) -> Batch:
        """Feed nothing more of it, and end up to `limit` of its open requests as cancelled; `stop` ends the others.
        It becomes `finalizing` towards `cancelled`. Cancelling again ends more of them, and changes nothing else.
        Raises NotFound, AlreadyEnded for another end."""
        ...

    async def parts(self, tenant: str, batch_id: str, *, start: int = 0, line: int = 0, limit: int) -> list[Part]:
        """Where its lines are, in order, from the part at position `start` on, and from the part that has line `line`
        on; up to `limit`, since those that stand in the record come with their lines. Raises NotFound; one whose purge
        has begun has none."""
        ...

    async def rows(self, tenant: str, batch_id: str, *, after: int = 0, limit: int) -> list[Row]:
        """Up to `limit` lines that were fed, from the one behind line `after` on, in input order, without results.
        Raises NotFound."""
        ...

    async def results(
        self, tenant: str, batch_id: str, *, after: int = 0, limit: int, most_bytes: int = MOST_READ
    ) -> list[Row]:
        """The same with results: no more once their bodies have `most_bytes` between them, and none only when there
        are no more."""
        ...

    async def ended(
        self, tenant: str, batch_id: str, *, after: int = 0, limit: int, most_bytes: int = MOST_READ
    ) -> list[Row]:
        """Rows with their results in the order in which they ended, those behind the `after`-th end, as many as
        `results` would give. A reader who goes on from the last `ended` it saw misses none. Raises NotFound."""
        ...

    async def row(self, tenant: str, batch_id: str, custom_id: str) -> Row | None:
        """The line of this custom id with its result; None when it was not fed. Raises NotFound."""
        ...

    async def paces(self, queues: Sequence[str]) -> list[Pace]:
        """How fast these queues are, those that were ever used."""
        ...

    # --- the engine

    async def claim(self, *, worker: str, lease_for: int, long: bool = True) -> BatchLease | None:
        """Lease the batch that has been due longest, None when none is. One whose window is over and that is not
        finalizing yet becomes so, towards `expired`. Without `long`, those are passed over that have a file of more
        than LONG_INPUT bytes or LONG_LINES lines to be checked or finalized. Not flushed: losing a lease costs
        nothing."""
        ...

    async def extend(self, fence: Fence, *, lease_for: int) -> None:
        """Push the end of a held lease to now + `lease_for`."""
        ...

    async def release(self, fence: Fence, *, due_at: int | None, total: int) -> None:
        """Give a lease back; the batch is due again at `due_at`, and at the end of its window in any case. `total` is
        how many lines it had for the holder: when some were added since then it is due at once."""
        ...

    async def accept(self, fence: Fence, *, lines: int, queues: Mapping[str, int], model: str | None) -> None:
        """Its file is good and has so many lines: from validating to in progress, due now under the same lease."""
        ...

    async def refuse(self, fence: Fence, errors: Sequence[LineError]) -> None:
        """Its file is not: from validating to failed, with its event (G6)."""
        ...

    async def feed(self, fence: Fence, rows: Sequence[NewRow], cursor: Cursor) -> None:
        """Make requests of lines, in order, and move the cursor, in one transaction: no line is fed twice or left out.
        A row without a request ends at once as failed. Not flushed: what a power cut undoes, it undoes together."""
        ...

    async def rise(self, fence: Fence, priority: Priority, *, limit: int) -> int:
        """Give this priority to up to `limit` of the batch's pending requests; returns how many of those got it. When
        those were fewer, it is the batch's from now on."""
        ...

    async def stop(self, fence: Fence, *, limit: int) -> int:
        """End up to `limit` open requests of a finalizing batch as it ends itself, each with its event; returns how
        many were ended."""
        ...

    async def conclude(self, fence: Fence, conclusion: Conclusion) -> Batch:
        """From finalizing to its end, with its files and its event, in one transaction: files are recorded and their
        blobs held; lines that were never fed are counted as it ends. It is forgotten BATCH_KEPT after that, or after
        the retention of results where that is longer."""
        ...

    async def next_due(self, *, long: bool = True) -> int | None:
        """When the next batch is due that `claim` would lease, None when there is none."""
        ...

    async def events(self, tenant: str, batch_id: str) -> list[Event]:
        """The events a batch has written: none before its end, one after."""
        ...

    # --- (last, since its name hides the type)

    async def list(
        self, tenant: str, *, dialect: BatchDialect | None = None, after: str | None = None, limit: int = 20
    ) -> BatchPage:
        """A tenant's batches, newest first. Raises NotFound for an unknown cursor."""
        ...


class Registry(Protocol):
    """Tenants, their keys, queues, and what all processes share."""

    async def secret(self, name: str) -> bytes:
        """32 random bytes by a name, the same in every process on this store; made when first asked for."""
        ...

    async def put_tenant(self, tenant: Tenant) -> None:
        """Create the tenant or replace its share and caps."""
        ...

    async def tenant(self, name: str) -> Tenant:
        """The tenant; one that was never put has the defaults."""
        ...

    async def tenants(self) -> list[Tenant]:
        """Every tenant that was put or has a key, by name."""
        ...

    async def add_key(self, key: ApiKey, digest: bytes) -> None:
        """Keep a key by the digest of its secret."""
        ...

    async def find_key(self, digest: bytes) -> ApiKey | None:
        """The key with this digest, unless there is none or it is revoked."""
        ...

    async def keys(self) -> list[ApiKey]:
        """All keys, revoked ones too, oldest first."""
        ...

    async def revoke_key(self, key_id: str) -> ApiKey:
        """Make a key useless from now on. Revoking twice changes nothing. Raises NotFound."""
        ...

    async def queues(self) -> list[Queue]:
        """Every queue that was ever used and is not forgotten, by name."""
        ...

    async def throttles(self, scope: Scope) -> list[Throttle]:
        """All queues or upstreams that have limits or are paused, by name."""
        ...

    async def set_limits(self, scope: Scope, name: str, limits: Limits) -> None:
        """Replace the limits of a queue or an upstream over all workers; a pause and what was learned stay."""
        ...

    async def pause(self, scope: Scope, name: str, *, until: int | None, reason: str = "paused by an operator") -> None:
        """Let nothing of a queue or for an upstream be claimed before `until` (None opens it), for a reason that
        everyone may read."""
        ...

    async def put_worker(self, worker: Worker) -> None:
        """Note a worker's sign of life; `seen_at` is the store's own time. (`running` is counted, not kept.)"""
        ...

    async def workers(self) -> list[Worker]:
        """Workers that were seen of late or hold leases, by name; those that never said who they are too."""
        ...

    async def drop_worker(self, name: str) -> None:
        """Forget a worker that has stopped."""
        ...


class Upkeep(Protocol):
    """What the caretaker does, in small bites."""

    async def expire(self, *, limit: int) -> int:
        """End up to `limit` pending requests whose deadline passed, each with its event; returns how many."""
        ...

    async def purge(self, *, limit: int) -> int:
        """Take up to `limit` steps of forgetting that are due; returns how many were taken.

        First a request's payload, result, attachments and history go (reading the result raises ResultGone); after as
        long again its row goes as well (NotFound), and with it the idempotency key and the event. Files go when their
        `expires_at` has passed, batches with their parts when they were kept long enough; deliveries when their event
        is older than the log is kept (those still to be sent: and than WHOLE_SCHEDULE), unless one is being sent just
        now, and those of an endpoint that was deleted at once. A row of a batch is kept as if it had ended when the
        batch's window does, and in any case until the batch has ended: when it is due before, that is put off by the
        time for which results are kept, an hour at least.
        """
        ...

    async def tidy(self, *, limit: int) -> int:
        """Forget up to `limit` queues in which nothing waits or runs, that have no limits and no pause, and in which
        nothing was completed for as long as results are kept; returns how many. Workers that were not seen for a day
        are forgotten with them (not counted), and up to `limit` strays that nobody could stop for two days, as when
        their upstream was taken out of the configuration, and receivers of webhooks that were not used for as long as
        the delivery log is kept."""
        ...

    async def check(self) -> None:
        """Write something that changes nothing. Raises StoreUnavailable when nothing could be accepted now."""
        ...

    async def gauges(self) -> dict[tuple[str, Status], int]:
        """How many requests stand at pending and at processing, per queue."""
        ...

    async def events(self, tenant: str, request_id: str) -> list[Event]:
        """The events a request has written: none before its end, one after."""
        ...


class Blobs(Protocol):
    """The names of bodies in the object store. Each is noted before the body is written, so that no body is lost sight
    of: what is doomed and due belongs to nobody."""

    async def expect(self, name: str, *, keep_for: int) -> None:
        """Note a name before its body is written: doomed in `keep_for` microseconds, unless something holds it by then.

        Noting it again puts that time off; a name that something holds by then is left as it is. A result, an
        attachment and a file hold their blob; when the last of them goes, by the end of retention or by deletion, the
        blob is doomed at once.
        """
        ...

    async def doomed(self, *, limit: int) -> list[str]:
        """Up to `limit` names whose time has come."""
        ...

    async def gone(self, names: Sequence[str]) -> None:
        """Forget names whose bodies have been deleted."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """What one commit changed, for those who would otherwise have to poll."""

    ready: frozenset[str]
    """Queues in which something became claimable, or got a time at which it will be."""
    moved: tuple[tuple[str, Status], ...]
    """Requests whose status changed, with the new one."""
    freed: bool = False
    """A place came free under some limit: what was held back may try again."""
    strays: bool = False
    """Jobs were noted by `Strays.add`. (An end that leaves one shows in `moved`.)"""
    batches: frozenset[str] = frozenset()
    """Batches whose status changed, or that are due at once."""
    deliveries: bool = False
    """Something is to be delivered at once."""
    elsewhere: bool = False
    """Another process made the commit."""


NOTHING = Change(frozenset(), ())


class Changes(Protocol):
    """Hints after commits. A hint may be lost (listeners look for themselves now and then), never early."""

    def listen(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call `listener` on the event loop after each commit; returns the function that stops it."""
        ...


@dataclass(frozen=True, slots=True)
class Store:
    """The roles, as one store keeps them."""

    requests: Requests
    leases: Leases
    strays: Strays
    files: Files
    batches: Batches
    endpoints: Endpoints
    deliveries: Deliveries
    registry: Registry
    upkeep: Upkeep
    blobs: Blobs
    changes: Changes

"""Batches: many requests that were handed in together, as frozen records; times are microseconds since the epoch.

A batch's lines are read from its parts (an uploaded file, or what was added call by call) and fed to the queues a few
at a time; from then on each is a request like any other. So a batch of a million lines costs the others nothing, and
ending one early ends what was fed and forgets the rest.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from raincheck.core.clock import DAY, HOUR, MINUTE
from raincheck.core.model import Fence, File, NewRequest, Priority, Request, Result
from raincheck.core.outcome import RequestError

MOST_ERRORS = 100
"""How many of a bad file's errors are told."""
MOST_ADDED = 10_000
"""How many lines one call may add."""
BATCH_KEPT = 30 * DAY
"""How long a batch is told of after its end, and how long its files are kept unless it says otherwise: OpenAI's time
for batch files."""
LONG_INPUT = 4 << 20
"""Bytes of a batch's file above which to check it, and to write its results, is a long step; many lines are as well."""
LONG_LINES = 2_000
MOST_READ = 8 << 20
"""Bytes of results after which no more rows are read at once, unless the reader says otherwise."""
PUT_OFF = HOUR
"""A row whose time is over before its batch has ended is kept for so long at a time, or for as long as results are."""
LONGEST_WINDOW = 30 * DAY
SHORTEST_WINDOW = MINUTE
ENDED_BY_CANCEL = 200
"""Requests that are ended while the caller waits who cancels a batch; the others are ended by and by."""


class BatchStatus(StrEnum):
    """Where a batch stands, in OpenAI's words but for `cancelling`: that is `finalizing` towards `cancelled`."""

    VALIDATING = "validating"
    """Its lines are being checked; none is fed before all are known to be good."""
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    """Nothing more is fed; what still runs is ended, and the files are written."""
    COMPLETED = "completed"
    FAILED = "failed"
    """Its lines were refused; nothing was fed."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self not in BATCH_MOVES


BATCH_MOVES: Mapping[BatchStatus, frozenset[BatchStatus]] = {
    BatchStatus.VALIDATING: frozenset({BatchStatus.IN_PROGRESS, BatchStatus.FAILED, BatchStatus.FINALIZING}),
    BatchStatus.IN_PROGRESS: frozenset({BatchStatus.FINALIZING}),
    BatchStatus.FINALIZING: frozenset({BatchStatus.COMPLETED, BatchStatus.CANCELLED, BatchStatus.EXPIRED}),
}

EndsAs = Literal[BatchStatus.COMPLETED, BatchStatus.CANCELLED, BatchStatus.EXPIRED]
"""What a batch becomes when it is finalized."""


class BatchDialect(StrEnum):
    """Whose batch it is: how it was made says how it is told of, and what becomes of it."""

    OPENAI = "openai"
    """All its lines are in one file; when all have ended it is finalized into an output and an error file."""
    XAI = "xai"
    """Lines may be added until it expires or is cancelled; results are listed, no files are written."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens and cost, as far as upstreams told them."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    total_tokens: int = 0
    cost_ticks: int = 0
    """In xAI's unit, 1e-10 USD."""

    def __add__(self, other: "Usage") -> "Usage":
        pairs = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return Usage(*(one + two for one, two in pairs))


class LineError(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is wrong with a line of a batch's input."""

    code: str
    message: str
    line: int | None = None
    """Counted from 1, as an editor does; None when it is about the whole file."""
    param: str | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many lines a batch has, and what became of them. They are kept in the transactions that end requests."""

    total: int = 0
    fed: int = 0
    """Lines that have become requests (or were refused as they did)."""
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0

    @property
    def ended(self) -> int:
        return self.completed + self.failed + self.cancelled + self.expired

    @property
    def pending(self) -> int:
        return self.total - self.ended


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it stands in the record."""

    id: str
    tenant: str
    dialect: BatchDialect
    name: str | None
    endpoint: str | None
    """The path that all its lines ask, as in `/v1/chat/completions`; None where each line says its own."""
    model: str | None
    """The one model that all its lines ask; None while unknown, and with several."""
    status: BatchStatus
    ends_as: EndsAs | None
    """Set once it is finalizing."""
    completion_window: str
    """As it was asked for: `24h`."""
    metadata: Mapping[str, str]
    webhook_url: str | None
    webhook_events: tuple[str, ...]
    """Of which ends that address is told; none named: of each."""
    input_file_id: str | None
    output_file_id: str | None
    error_file_id: str | None
    output_expires_after: int | None
    """How long its files are kept, from when they are written."""
    errors: tuple[LineError, ...]
    counts: Counts
    usage: Usage
    priority: Priority
    """What its lines are fed with; it rises as the window closes."""
    created_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    ended_at: int | None
    expires_at: int

    @property
    def cancelling(self) -> bool:
        return self.status is BatchStatus.FINALIZING and self.ends_as is BatchStatus.CANCELLED


class BatchPage(msgspec.Struct, frozen=True):
    """Some of a tenant's batches."""

    batches: list[Batch]
    has_more: bool


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of a part: small ones stand in the record (`text`), others in the object store (`blob`)."""

    size: int
    """Bytes."""
    digest: str
    """SHA-256, in hex."""
    blob: str | None = None
    text: bytes | None = None


class NewBatch(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it is handed to the store: admitted, with its id; its lines are still to be checked."""

    id: str
    tenant: str
    dialect: BatchDialect
    created_at: int
    expires_at: int
    completion_window: str
    name: str | None = None
    endpoint: str | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    output_expires_after: int | None = None
    input_file_id: str | None = None
    body: Body | None = None
    """The input file's; with it the batch takes no further lines, without it is in progress at once."""
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    repeat_until: int | None = None
    is_retry: bool = False
    """These four as in NewRequest."""


class CreatedBatch(msgspec.Struct, frozen=True):
    """What became of one creation: the record, and whether it was there already."""

    batch: Batch
    repeated: bool = False


class NewPart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines to add to a batch: checked, in the form of OpenAI's batch files."""

    body: Body
    names: tuple[str, ...]
    """Their custom ids, in order: one per line."""
    queues: Mapping[str, int]
    """How many of them wait in which queue."""
    idempotency_key: str | None = None
    """Adding with the same key again changes nothing."""
    fingerprint: bytes | None = None
    """What the call said. With it, and no key, a call that a client sends again by itself, within two minutes,
    changes nothing either."""
    is_retry: bool = False
    """Whether it says that it is such a call; one that is not adds its lines, however often they were said before."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a batch's lines, as they lie."""

    position: int
    first_line: int
    """The number of its first line in the batch, counted from 1."""
    lines: int | None
    """None until they are counted."""
    body: Body


class Cursor(NamedTuple):
    """How far a batch has been fed: the next line to read."""

    part: int = 0
    offset: int = 0
    """Bytes into the part."""
    line: int = 1
    """Its number in the batch, counted from 1; blank lines count too."""


class Appetite(NamedTuple):
    """How much one queue has left of a batch."""

    queue: str
    unfed: int
    """Lines of the batch that are still to be fed to it."""
    pending: int
    """Requests of the batch's tenant that wait there at the batch's priority."""
    pace: float | None
    """Microseconds between two ends in that queue; None before anything was measured."""


class Crowd(NamedTuple):
    """A tenant's batches that have not ended."""

    batches: int
    waiting: int
    """At most so many of their requests wait."""


class BatchLease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to go on with one batch until `lapses_at`."""

    fence: Fence
    batch: Batch
    cursor: Cursor
    appetites: tuple[Appetite, ...]
    crowd: Crowd | None
    """The batches of its tenant, itself among them; None where nothing caps what waits of that tenant."""
    long: bool
    """Whether the next step reads or writes many lines."""
    lapses_at: int


class NewRow(NamedTuple):
    """A line on its way to becoming a request."""

    line: int
    custom_id: str
    request: NewRequest | None
    """None when it was refused after all; then `error` says why."""
    error: RequestError | None = None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line that was fed."""

    line: int
    custom_id: str
    ended: int | None
    """Its place among the ends of its batch, counted from 1 without gaps; None before."""
    request: Request | None
    """None when it was refused as it was fed, and once its request has been forgotten."""
    result: Result | None = None
    """Of a completed one, where it was asked for."""
    error: RequestError | None = None
    """Why it was refused as it was fed."""


class Conclusion(msgspec.Struct, frozen=True):
    """The files in which a batch ends; each None where there is nothing for it."""

    output: File | None = None
    errors: File | None = None


class Pace(NamedTuple):
    """How fast a queue is, for estimates."""

    queue: str
    pending: int
    service: float | None
    """Microseconds that one request takes."""
    pace: float | None
    """Microseconds between two ends while it is at work; both None before anything was measured."""

"""The things the house speaks of, as frozen records; times are microseconds since the epoch.

They are msgspec structs: built for every call, and several times faster at that than dataclasses.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Literal, NamedTuple

import msgspec

from raincheck.core.clock import MINUTE
from raincheck.core.outcome import Outcome, RequestError
from raincheck.core.settings import DEFAULT_MAX_ATTEMPTS
from raincheck.core.status import Status

RESENT_WITHIN = 2 * MINUTE
"""How long a call that a client's library sends again is recognised by its content, when it is answered at once: the
xai-sdk's five tries take seconds. Longer, and one that met a restart could be taken for another one, made before."""
LOCAL_TENANT = "default"
"""The tenant of everything submitted while no API key exists."""


class Priority(IntEnum):
    """Who goes first in a queue; the names are the values of `service_tier`."""

    PRIORITY = 0
    DEFAULT = 1
    FLEX = 2
    BATCH = 3


class Attachment(msgspec.Struct, frozen=True):
    """A file that belongs to a request: an input given with it, or an output that it made.

    Several may share one blob: it is kept for as long as any of them is.
    """

    role: Literal["input", "output"]
    name: str
    """What the payload or the result calls it, as in `video.mp4`; unique per request and role."""
    blob: str
    content_type: str
    size: int
    """Bytes."""
    digest: str
    """SHA-256 of the bytes, in hex."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """Something a tenant has uploaded, to be named in requests."""

    id: str
    tenant: str
    filename: str
    purpose: str
    content_type: str
    size: int
    digest: str
    blob: str
    created_at: int
    expires_at: int | None = None


class FilePage(msgspec.Struct, frozen=True):
    """Some of a tenant's files."""

    files: list[File]
    has_more: bool


class NewRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it is handed to the store: valid, admitted, with its id."""

    id: str
    tenant: str
    queue: str
    operation: str
    path: str
    """Where the upstream takes it, below its base URL: `/chat/completions`."""
    model: str
    payload: bytes
    created_at: int
    priority: Priority = Priority.DEFAULT
    weight: float = 1.0
    """The tenant's share of a queue, for the fair tag."""
    not_before: int | None = None
    deadline: int | None = None
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    """Of which moments (`events.MOMENTS`) that address is told; none named: of each end."""
    webhook_result: bool = False
    """Whether what it is told of the end carries the result, up to a size."""
    tokens: int = 0
    """An estimate of what it will use, prompt and answer, for limits on tokens per minute."""
    max_pending: int | None = None
    """The tenant's cap on pending requests, checked in the submitting transaction."""
    attachments: tuple["Attachment", ...] = ()
    """Its inputs, whose bodies are in the object store already."""
    idempotency_key: str | None = None
    fingerprint: bytes | None = None
    """A hash of everything that makes this request what it is; with a key or `repeat_until` set."""
    repeat_until: int | None = None
    """Until when the same fingerprint from this tenant may be recognised as a client's retry."""
    is_retry: bool = False
    """The client says that this is a retry: an equal fingerprint seen before is the same request."""


class Attempt(msgspec.Struct, frozen=True):
    """One try, as the history keeps it."""

    number: int
    upstream: str | None
    started_at: int
    ended_at: int
    outcome: str
    """succeeded, retry, released, failed, expired, cancelled or lapsed."""
    error: RequestError | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request as it stands in the record."""

    id: str
    tenant: str
    queue: str
    operation: str
    path: str
    model: str
    status: Status
    priority: Priority
    attempt: int
    max_attempts: int
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    due_at: int | None = None
    """While pending: when it may be claimed, None for now. While processing: when its lease lapses."""
    parked: bool = False
    """While pending: set aside because its tenant runs as many as it may; ready again when one of those ends."""
    deadline: int | None = None
    purge_at: int | None = None
    """When the result (and later the row) is purged; None until the end."""
    progress: float | None = None
    """Between 0 and 1."""
    progress_message: str | None = None
    error: RequestError | None = None
    usage: bytes | None = None
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    webhook_result: bool = False
    batch: str | None = None
    """The batch that it is a row of."""
    purged: bool = False
    """True when payload and result are gone and only this row is left."""


class Submitted(msgspec.Struct, frozen=True):
    """What became of one submit: the record, and whether it was there already."""

    request: Request
    repeated: bool = False


class Result(msgspec.Struct, frozen=True):
    """What a completed request has to show."""

    status: int
    content_type: str
    body: bytes
    blob: str | None = None
    """The body's name in the object store when it is kept there; `body` is empty then."""
    size: int | None = None
    """How many bytes the blob has; None without one."""
    attachments: tuple[Attachment, ...] = ()
    """The files that belong to it: the request's outputs."""


class Place(msgspec.Struct, frozen=True):
    """Where a pending request stands in its queue, and why it is not yet claimed."""

    ahead: int
    """How many are claimed before it."""
    exact: bool
    """False when `ahead` is an estimate (beyond 1,000)."""
    eta: int | None
    """Microseconds until it is likely to end, from the queue's measured pace; None before anything was measured."""
    paused_until: int | None
    """Set when the whole queue is closed until then."""
    pause_reason: str | None = None
    """Why, in an operator's words; None when an upstream asked for the pause."""
    held_until: int | None = None
    """Set when a rate limit or a paused upstream lets nothing of the queue start until then."""
    held_reason: str | None = None
    """Which limit that is, in words for everyone."""


class Fence(NamedTuple):
    """Proof of one claim. It stops matching as soon as anyone claims again, cancels or finishes."""

    request_id: str
    number: int


class Offer(NamedTuple):
    """Free places for requests of one queue at one upstream."""

    queue: str
    upstream: str
    places: int


class Remote(NamedTuple):
    """A job at an upstream that goes on by itself."""

    upstream: str
    id: str
    """What the upstream calls it."""


class Stray(msgspec.Struct, frozen=True):
    """A remote job that nobody wants any longer: its request has ended without it."""

    id: int
    remote: Remote
    since: int
    tries: int
    """How often it could not be stopped."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The right to try one request until `lapses_at`, and all that the try needs."""

    fence: Fence
    tenant: str
    queue: str
    upstream: str
    """Whose place it was given."""
    operation: str
    path: str
    model: str
    payload: bytes
    attempt: int
    max_attempts: int
    misses: int = 0
    """How often in a row the queue's upstream has asked to be left alone."""
    created_at: int
    claimed_at: int
    lapses_at: int
    deadline: int | None = None
    remote: Remote | None = None
    """The job at an upstream, when an earlier attempt got that far: re-attach, do not submit again."""


class Claimed(NamedTuple):
    """What came of offers."""

    leases: list[Lease]
    held_back: frozenset[tuple[str, str]]
    """The offers, as queue and upstream, that a limit (not a lack of places) kept from being filled."""


class Beat(msgspec.Struct, frozen=True):
    """A worker's sign of life for one lease, with what it learned since the last."""

    fence: Fence
    progress: float | None = None
    progress_message: str | None = None
    remote: Remote | msgspec.UnsetType | None = msgspec.UNSET
    """The remote job to remember; None: there is none any more; unset: nothing new."""


class Finish(msgspec.Struct, frozen=True):
    """How one attempt went, written under its fence."""

    fence: Fence
    outcome: Outcome
    upstream: str | None = None
    tokens: int | None = None
    """What it used in truth, to correct the estimate it was claimed with; None when the upstream did not say."""
    congested: bool = False
    """The upstream showed that it has more than it can do: 429, 503 or a timeout."""
    first_token: int | None = None
    """Microseconds until the first piece of the answer came; None when it came in one piece."""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to list; `after` is the last id of the page before, in the same order."""

    status: Status | None = None
    model: str | None = None
    queue: str | None = None
    operation: str | None = None
    """One, as in `video.edit`, or all of a family, as in `video`."""
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    created_after: int | None = None
    created_before: int | None = None
    after: str | None = None
    oldest_first: bool = False
    limit: int = 20


class Page(msgspec.Struct, frozen=True):
    """Some of what a query matches."""

    requests: list[Request]
    has_more: bool


class Tenant(msgspec.Struct, frozen=True):
    """Whose requests they are, with its share and its caps."""

    name: str
    weight: float = 1.0
    max_pending: int | None = None
    max_running: int | None = None
    """How many of its requests are worked on at once, over all queues and workers."""
    max_body_bytes: int | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key as it may be shown: never the key itself, only its first characters."""

    id: str
    tenant: str
    name: str
    hint: str
    scopes: frozenset[str]
    created_at: int
    revoked_at: int | None = None


Scope = Literal["queue", "upstream"]
"""What a limit is set on."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue or an upstream may be asked for, over all workers; None: no limit."""

    max_concurrency: int | Literal["auto"] | None = None
    """How many requests run at once; "auto" finds the number that the upstream bears."""
    rpm: int | None = None
    """How many attempts start in any minute."""
    tpm: int | None = None
    """How many tokens those use, by an estimate that the usage they report corrects."""


class Throttle(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one queue or upstream as they stand."""

    scope: Scope
    name: str
    limits: Limits = Limits()
    level: float | None = None
    """With "auto": the concurrency found so far."""
    running: int = 0
    paused_until: int | None = None
    pause_reason: str | None = None
    """Why, in an operator's words; None when an upstream asked for the pause."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """A named line, with how many wait and run."""

    name: str
    pending: int
    processing: int
    waiting_since: int | None = None
    """When the request was submitted that is next in line; None while nothing is ready."""
    held_until: int | None = None
    """As in `Place`: until when a rate limit or a paused upstream lets nothing of it start."""
    held_reason: str | None = None


class Worker(msgspec.Struct, frozen=True, kw_only=True):
    """A process that claims, by its last sign of life."""

    name: str
    host: str
    pid: int
    version: str
    started_at: int
    seen_at: int
    running: int = 0
    """How many leases it holds."""

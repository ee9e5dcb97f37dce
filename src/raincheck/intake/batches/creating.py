"""Takes a call for a batch as an edge understood it (a Plan), hands on its record once that is on disk (G1)."""

from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from raincheck.core.batches import (
    LONGEST_WINDOW,
    SHORTEST_WINDOW,
    Batch,
    BatchDialect,
    Body,
    Counts,
    CreatedBatch,
    NewBatch,
    Usage,
)
from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import BadInput, NoObjectStore, NotFound
from raincheck.core.events import ENDS
from raincheck.core.model import File
from raincheck.core.units import parse_duration, show_duration
from raincheck.intake.admit import (
    NO_TEXT,
    REPEAT_WINDOW,
    Options,
    fit_key,
    fit_metadata,
    fit_webhook_events,
    fit_webhook_url,
)
from raincheck.intake.batches.calls import path_of
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Batches, Files

PURPOSE = "batch"
"""What a file is uploaded for that shall be a batch's input."""
DEFAULT_WINDOW = "24h"
LONGEST_NAME = 256
FARTHEST = 365 * DAY


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A call for a batch, whatever the dialect it came in."""

    dialect: BatchDialect
    name: str | None = None
    endpoint: str | None = None
    input_file_id: str | None = None
    completion_window: str = DEFAULT_WINDOW
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict[str, str])
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    output_seconds: int | None = None
    """How long its files are to be kept."""


class Repetition(msgspec.Struct, frozen=True, kw_only=True):
    """How a client marks a call that it may send twice (G9)."""

    idempotency_key: str | None = None
    client_retry: int | None = None
    """Which retry of its own the client says this is; None when it does not say."""


async def create(
    plan: Plan,
    tenant: str,
    repetition: Repetition,
    *,
    new_id: str,
    batches: Batches,
    files: Files,
    objects: BlobStore | None,
    now: int,
    webhook_hosts: Sequence[str] = (),
) -> CreatedBatch:
    """Record a batch; `webhook_hosts` as in `admit`. Raises BadInput, NotFound for an unknown file, NoObjectStore, and
    what the store does."""
    key = fit_key(repetition.idempotency_key)
    repeatable = key is None and repetition.client_retry is not None
    new = NewBatch(
        id=new_id,
        tenant=tenant,
        dialect=plan.dialect,
        created_at=now,
        expires_at=now + _window(plan.completion_window),
        completion_window=plan.completion_window.strip(),
        name=_name(plan.name),
        endpoint=_endpoint(plan.endpoint),
        metadata=fit_metadata(plan.metadata),
        webhook_url=fit_webhook_url(plan.webhook_url, webhook_hosts),
        webhook_events=fit_webhook_events(plan.webhook_events, ENDS),
        output_expires_after=_kept_for(plan.output_seconds),
        input_file_id=plan.input_file_id,
        idempotency_key=key,
        fingerprint=_fingerprint(plan) if key is not None or repeatable else None,
        # With a key the key alone decides; content would join batches whose callers told them apart.
        repeat_until=now + REPEAT_WINDOW if repeatable else None,
        is_retry=repeatable and bool(repetition.client_retry),
    )
    if plan.input_file_id is not None:
        if objects is None:
            raise NoObjectStore
        try:
            file = await _input(files, tenant, plan.input_file_id, plan.dialect)
        except NotFound:
            # Gone since; the batch that was made of it may be there all the same.
            if (before := await batches.repeated(new)) is not None:
                return CreatedBatch(before, repeated=True)
            raise
        new = msgspec.structs.replace(new, body=Body(size=file.size, digest=file.digest, blob=file.blob))
    return await batches.create(new)


def check_options(options: Options) -> None:
    """Of what may be asked of a request, a batch has metadata and a webhook; its window is its deadline. Raises
    BadInput."""
    for name in ("not_before", "deadline", "expires_in", "max_attempts"):
        if getattr(options, name) is not None:
            raise BadInput(
                f"A batch has no {name}; say with `completion_window` until when its lines are worked on.", param=name
            )
    if options.include_result:
        raise BadInput(
            "A batch has no include_result: its webhook names the files with the results.", param="include_result"
        )


def receipt(batch: Batch) -> Batch:
    """A batch as it is shown to a key that may only write: what it said itself, and where that stands."""
    return msgspec.structs.replace(
        batch, counts=Counts(), usage=Usage(), errors=(), model=None, output_file_id=None, error_file_id=None
    )


async def _input(files: Files, tenant: str, file_id: str, dialect: BatchDialect) -> File:
    """The file with the lines. Raises NotFound, BadInput when it can be none."""
    try:
        file = await files.get(tenant, file_id)
    except NotFound:
        raise NotFound(
            f"No file {file_id[:100]!r}: upload one to /v1/files with the purpose `{PURPOSE}` and give its id; "
            "files expire, by default 30 days after their upload.",
            param="input_file_id",
        ) from None
    # xAI's clients do not say what a file is for.
    if dialect is BatchDialect.OPENAI and file.purpose != PURPOSE:
        raise BadInput(
            f"{file_id} was uploaded for {file.purpose!r}; upload it with the purpose `{PURPOSE}`.",
            param="input_file_id",
        )
    if file.size == 0:
        raise BadInput(f"{file_id} is empty; a batch needs at least one line.", param="input_file_id")
    return file


def _window(text: str) -> int:
    """Raises BadInput for what is no length of time, or one that no batch may take."""
    try:
        window = parse_duration(text)
    except ValueError as error:
        raise BadInput(f"completion_window {error}, such as 24h.", param="completion_window") from None
    if not SHORTEST_WINDOW <= window <= LONGEST_WINDOW:
        raise BadInput(
            f"completion_window may be from {show_duration(SHORTEST_WINDOW)} to {show_duration(LONGEST_WINDOW)}, "
            f"not {text[:40]!r}.",
            param="completion_window",
        )
    return window


def _endpoint(url: str | None) -> str | None:
    if url is not None:
        try:
            path_of(url)
        except BadInput as error:
            raise BadInput(error.message, param="endpoint") from None
    return url


def _name(name: str | None) -> str | None:
    if name is not None and (len(name) > LONGEST_NAME or NO_TEXT.search(name)):
        raise BadInput(
            f"name may have at most {LONGEST_NAME} characters, and no NUL or halves of characters.", param="name"
        )
    return name


def _kept_for(seconds: int | None) -> int | None:
    if seconds is None:
        return None
    if not 0 < seconds <= FARTHEST // SECOND:
        raise BadInput(
            "output_expires_after.seconds must be a number of seconds, at most 365 days.", param="output_expires_after"
        )
    return seconds * SECOND


def _fingerprint(plan: Plan) -> bytes:
    """What makes two calls the same, whoever sends them and whenever."""
    return sha256(b"batch\0" + msgspec.json.encode(plan, order="deterministic")).digest()

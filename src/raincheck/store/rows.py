"""Rows to records and back, for both stores: the one place that knows the order of columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from raincheck.core import batches
from raincheck.core.batches import (
    Batch,
    BatchDialect,
    BatchStatus,
    Body,
    Counts,
    EndsAs,
    LineError,
    Part,
    Usage,
)
from raincheck.core.errors import NotFound
from raincheck.core.model import (
    ApiKey,
    Attachment,
    File,
    Limits,
    Priority,
    Queue,
    Remote,
    Request,
    Result,
    Scope,
    Throttle,
)
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status
from raincheck.core.webhooks import Delivery, DeliveryAttempt, DeliveryStatus, Endpoint, SigningKey
from raincheck.store.parking import PARKED


class Row(Protocol):
    """A row as either database's client gives it."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


MAX_SEQ = (1 << 63) - 1
"""No row has a higher number."""

_encode = msgspec.json.encode
_error = msgspec.json.Decoder(RequestError)
_metadata = msgspec.json.Decoder(dict[str, str])
_line_errors = msgspec.json.Decoder(tuple[LineError, ...])
_previous = msgspec.json.Decoder(tuple[tuple[str, int], ...])
_outputs = msgspec.json.Decoder(list[tuple[int, str, str, str, int, str]])


class Open(NamedTuple):
    """A request that has not ended, as the running transaction sees it; selected in this order."""

    seq: int
    id: str
    tenant: str
    operation: str
    webhook_url: str | None
    queue: str
    priority: int
    status: str
    fence: int
    attempt: int
    claimed_at: int | None
    upstream: str | None
    """Whose place it has while it runs."""
    tokens: int
    """What it is expected to use."""
    batch_seq: int | None
    """The batch that it is a row of."""
    line: int | None
    """Its line there."""
    webhook_events: str | None
    """Of which moments its own webhook_url is told; null: of every end."""
    webhook_result: bool
    """Whether with the result."""

    @property
    def flow(self) -> tuple[str, int, str]:
        """The tenant's share of a queue that it belongs to: queue, priority, tenant."""
        return self.queue, self.priority, self.tenant


def request(row: Row) -> Request:
    """A row of the view `record`."""
    return Request(
        id=row[0],
        tenant=row[1],
        queue=row[2],
        operation=row[3],
        path=row[4],
        model=row[5],
        status=Status(row[6]),
        priority=Priority(row[7]),
        attempt=row[8],
        max_attempts=row[9],
        created_at=row[10],
        started_at=row[11],
        ended_at=row[12],
        due_at=None if row[13] == PARKED else row[13],
        parked=row[13] == PARKED,
        deadline=row[14],
        purge_at=row[15],
        progress=row[16],
        progress_message=row[17],
        webhook_url=row[18],
        purged=bool(row[19]),
        metadata=_metadata.decode(row[20]) if row[20] else {},
        error=_error.decode(row[21]) if row[21] else None,
        usage=row[22].encode() if row[22] else None,
        batch=row[23],
        webhook_events=words(row[24]),
        webhook_result=bool(row[25]),
    )


def result(row: Row) -> Result | None:
    """status, content_type, body, blob, size, outputs; None where there is no result."""
    status, content_type, body, blob, size, files = row
    return None if status is None else Result(status, content_type, body or b"", blob, size, outputs(files))


def outputs(text: str | None) -> tuple[Attachment, ...]:
    """A JSON list, in any order, of lists: position, name, blob, content type, size, digest."""
    found = sorted(_outputs.decode(text)) if text else ()
    return tuple(
        Attachment("output", name, blob, content_type, size, digest)
        for _, name, blob, content_type, size, digest in found
    )


def file(row: Row) -> File:
    """id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at."""
    id_, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at = row
    return File(
        id=id_,
        tenant=tenant,
        filename=filename,
        purpose=purpose,
        content_type=content_type,
        size=size,
        digest=digest,
        blob=blob,
        created_at=created_at,
        expires_at=expires_at,
    )


BATCH = """id, tenant, dialect, name, endpoint, model, status, ends_as, completion_window, metadata, webhook_url,
           input_file_id, output_file_id, error_file_id, output_expires_after, errors, total, fed, completed, failed,
           cancelled, expired, input_tokens, cached_tokens, output_tokens, reasoning_tokens, total_tokens, cost_ticks,
           priority, created_at, in_progress_at, finalizing_at, ended_at, expires_at, webhook_events"""
"""The columns of a batch in the order that `batch` expects; too many to be named in each statement."""
BATCH_WIDTH = BATCH.count(",") + 1


def batch(row: Row) -> Batch:
    """The columns `BATCH`."""
    ends_as: EndsAs | None = None if row[7] is None else BatchStatus(row[7])  # pyright: ignore[reportAssignmentType]
    return Batch(
        id=row[0],
        tenant=row[1],
        dialect=BatchDialect(row[2]),
        name=row[3],
        endpoint=row[4],
        model=row[5],
        status=BatchStatus(row[6]),
        ends_as=ends_as,
        completion_window=row[8],
        metadata=_metadata.decode(row[9]) if row[9] else {},
        webhook_url=row[10],
        input_file_id=row[11],
        output_file_id=row[12],
        error_file_id=row[13],
        output_expires_after=row[14],
        errors=_line_errors.decode(row[15]) if row[15] else (),
        counts=Counts(row[16], row[17], row[18], row[19], row[20], row[21]),
        usage=Usage(row[22], row[23], row[24], row[25], row[26], row[27]),
        priority=Priority(row[28]),
        created_at=row[29],
        in_progress_at=row[30],
        finalizing_at=row[31],
        ended_at=row[32],
        expires_at=row[33],
        webhook_events=words(row[34]),
    )


def part(row: Row) -> Part:
    """position, first_line, lines, size, digest, blob, body."""
    position, first_line, lines, size, digest, blob, text = row
    return Part(
        position=position,
        first_line=first_line,
        lines=lines,
        body=Body(size=size, digest=digest, blob=blob, text=text),
    )


def batch_row(row: Sequence[Any], found: Result | None = None) -> batches.Row:
    """line, custom_id, ended, error; then a row of the view `record`, null where there is no request."""
    line, custom_id, ended, refused = row[:4]
    return batches.Row(
        line=line,
        custom_id=custom_id,
        ended=ended,
        request=None if row[4] is None else request(row[4:]),
        result=found,
        error=error(refused),
    )


def endpoint(row: Row) -> Endpoint:
    """id, tenant, name, url, event_types, include_result, signature, created_at, updated_at, disabled_at,
    disabled_reason; then failures, failing_since, open_until of its receiver, null when that is not known yet."""
    return Endpoint(
        id=row[0],
        tenant=row[1],
        name=row[2],
        url=row[3],
        event_types=words(row[4]),
        include_result=bool(row[5]),
        signature=row[6],
        created_at=row[7],
        updated_at=row[8],
        disabled_at=row[9],
        disabled_reason=row[10],
        failures=row[11] or 0,
        failing_since=row[12],
        open_until=row[13],
    )


DELIVERY = """d.id, d.tenant, d.event_id, d.type, d.object_id, d.endpoint_id, coalesce(e.url, d.url), d.created_at,
              d.detail, d.include_result, d.status, d.attempt, d.due_at, d.worker is not null, d.ended_at,
              d.status_code, d.error, d.test,
              (select r.failures from receiver r where r.name = d.receiver),
              (select r.open_until from receiver r where r.name = d.receiver)"""
"""A delivery `d` with its endpoint `e`, if it goes to one, in the order that `delivery` expects."""
DELIVERY_WIDTH = 20


def delivery(row: Row) -> Delivery:
    """The columns `DELIVERY`."""
    return Delivery(
        id=row[0],
        tenant=row[1],
        event_id=row[2],
        type=row[3],
        object_id=row[4],
        endpoint_id=row[5],
        url=row[6],
        created_at=row[7],
        detail=row[8].encode() if row[8] else None,
        include_result=bool(row[9]),
        status=DeliveryStatus(row[10]),
        attempt=row[11],
        due_at=row[12],
        sending=bool(row[13]),
        ended_at=row[14],
        status_code=row[15],
        error=row[16],
        test=bool(row[17]),
        failures=row[18] or 0,
        open_until=row[19],
    )


def delivery_attempt(row: Row) -> DeliveryAttempt:
    """number, started_at, ended_at, status_code, error_code, error, response."""
    number, started_at, ended_at, status_code, error_code, error, response = row
    return DeliveryAttempt(
        number=number,
        started_at=started_at,
        ended_at=ended_at,
        status_code=status_code,
        error_code=error_code,
        error=error,
        response=response,
    )


def signing_key(row: Row) -> SigningKey | None:
    """secret, created_at, previous; None where there is no secret."""
    secret, created_at, previous = row
    return None if secret is None else SigningKey(secret, created_at, _previous.decode(previous))


def previous_text(key: SigningKey) -> str:
    """The secrets before, as `signing_key` reads them."""
    return _encode(key.previous).decode()


def remote(upstream: str, remote_id: str | None) -> Remote | None:
    """The job to go on with. One that was noted before upstreams were noted with it is taken for its next one's."""
    return None if remote_id is None else Remote(upstream, remote_id)


def api_key(row: Row) -> ApiKey:
    """id, tenant, name, hint, scopes, created_at, revoked_at."""
    id_, tenant, name, hint, scopes, created_at, revoked_at = row
    return ApiKey(
        id=id_,
        tenant=tenant,
        name=name,
        hint=hint,
        scopes=frozenset(scopes.split()),
        created_at=created_at,
        revoked_at=revoked_at,
    )


def queue(row: Row) -> Queue:
    """name, pending, processing, waiting_since, held_until, held_reason."""
    name, pending, processing, waiting_since, held_until, held_reason = row
    return Queue(
        name=name,
        pending=pending,
        processing=processing,
        waiting_since=waiting_since,
        held_until=held_until,
        held_reason=held_reason,
    )


def throttle(scope: Scope, row: Row) -> Throttle:
    """name, max_concurrency, rpm, tpm, level, running, paused_until, pause_reason, whether it is paused now."""
    name, cap, rpm, tpm, level, running, paused_until, pause_reason, paused = row
    return Throttle(
        scope=scope,
        name=name,
        limits=Limits(max_concurrency=cap if level is None else "auto", rpm=rpm, tpm=tpm),
        level=level,
        running=running,
        paused_until=paused_until if paused else None,
        pause_reason=pause_reason if paused else None,
    )


def error(text: str | None) -> RequestError | None:
    return _error.decode(text) if text else None


def error_text(error: RequestError | None) -> str | None:
    """As JSON, in which a NUL is spelled out, so that PostgreSQL's text can hold it."""
    if error is None:
        return None
    try:
        return _encode(error).decode()
    except UnicodeEncodeError:
        # A message out of someone's Python function may hold half a character.
        message = error.message.encode(errors="replace").decode()
        return _encode(RequestError(message, error.type, error.code, error.param, error.upstream)).decode()


def errors_text(errors: Sequence[LineError]) -> str:
    """A file's errors as JSON."""
    return _encode(errors).decode()


def metadata_text(metadata: Mapping[str, str]) -> str | None:
    return _encode(metadata).decode() if metadata else None


def words(text: str | None) -> tuple[str, ...]:
    """What stands between spaces."""
    return tuple(text.split()) if text else ()


def words_text(words: Sequence[str]) -> str | None:
    return " ".join(words) or None


def unknown(request_id: str) -> NotFound:
    """The same words for an id that never was, was deleted, or is another tenant's (G8)."""
    return NotFound(f"No request {request_id!r}; check the id and that the API key belongs to the tenant that made it.")


def unknown_file(file_id: str) -> NotFound:
    """The same words for an id that never was, was deleted, has expired, or is another tenant's (G8)."""
    return NotFound(f"No file {file_id!r}; check the id and that the API key belongs to the tenant that uploaded it.")


def unknown_batch(batch_id: str) -> NotFound:
    """The same words for an id that never was, has been forgotten, or is another tenant's (G8)."""
    return NotFound(f"No batch {batch_id!r}; check the id and that the API key belongs to the tenant that made it.")


def unknown_endpoint(endpoint_id: str) -> NotFound:
    """The same words for an id that never was, was deleted, or is another tenant's (G8)."""
    return NotFound(
        f"No webhook endpoint {endpoint_id!r}; check the id and that the API key belongs to the tenant that made it."
    )


def unknown_delivery(delivery_id: str) -> NotFound:
    """The same words for an id that never was, has been forgotten, or is another tenant's (G8)."""
    return NotFound(
        f"No webhook delivery {delivery_id!r}; check the id and that the API key belongs to the tenant it was made for."
    )

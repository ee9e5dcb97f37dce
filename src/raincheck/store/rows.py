"""Rows to records and back, for both stores: the one place that knows the order of columns."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

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
from raincheck.store.parking import PARKED


class Row(Protocol):
    """A row as either database's client gives it."""

    def __getitem__(self, index: int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


_encode = msgspec.json.encode
_error = msgspec.json.Decoder(RequestError)
_metadata = msgspec.json.Decoder(dict[str, str])
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


def metadata_text(metadata: Mapping[str, str]) -> str | None:
    return _encode(metadata).decode() if metadata else None


def unknown(request_id: str) -> NotFound:
    """The same words for an id that never was, was deleted, or is another tenant's (G8)."""
    return NotFound(f"No request {request_id!r}; check the id and that the API key belongs to the tenant that made it.")


def unknown_file(file_id: str) -> NotFound:
    """The same words for an id that never was, was deleted, has expired, or is another tenant's (G8)."""
    return NotFound(f"No file {file_id!r}; check the id and that the API key belongs to the tenant that uploaded it.")

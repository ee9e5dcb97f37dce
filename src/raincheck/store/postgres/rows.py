"""Rows to records and back: the one place that knows the order of columns, and what PostgreSQL's text can hold."""

from collections.abc import Mapping

import msgspec

from raincheck.core.errors import NotFound
from raincheck.core.model import Priority, Request
from raincheck.core.outcome import RequestError
from raincheck.core.status import Status
from raincheck.store.parking import PARKED
from raincheck.store.postgres.database import Row

_encode = msgspec.json.encode
_error = msgspec.json.Decoder(RequestError)
_metadata = msgspec.json.Decoder(dict[str, str])


def request(row: Row) -> Request:
    """A row of the view `record`."""
    due_at = row[13]
    parked = due_at == PARKED
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
        due_at=None if parked else due_at,
        parked=parked,
        deadline=row[14],
        purge_at=row[15],
        progress=row[16],
        progress_message=row[17],
        webhook_url=row[18],
        purged=row[19],
        metadata=_metadata.decode(row[20]) if row[20] else {},
        error=_error.decode(row[21]) if row[21] else None,
        usage=row[22].encode() if row[22] else None,
    )


def error(text: str | None) -> RequestError | None:
    return _error.decode(text) if text else None


def error_text(error: RequestError | None) -> str | None:
    """As JSON, in which a NUL is spelled out, so that the column can hold it."""
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


def holds(*texts: str | None) -> bool:
    """Whether PostgreSQL's text can hold all of these: it has no NUL, and no half of a surrogate pair."""
    together = "".join([text for text in texts if text is not None])
    if "\0" in together:
        return False
    if together.isascii():
        return True
    try:
        together.encode()
    except UnicodeEncodeError:
        return False
    return True


def unknown(request_id: str) -> NotFound:
    """The same words for an id that never was, was deleted, or is another tenant's (G8)."""
    return NotFound(f"No request {request_id!r}; check the id and that the API key belongs to the tenant that made it.")

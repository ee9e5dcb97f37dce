"""How a server speaks about a deferred request: which call asks for it, and what its reply means.

Pure: takes a `Reply`, hands on a `Request`, or says that it is worth asking again, or to ask in the other way.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, cast
from urllib.parse import quote

from openai import APIError

from raincheck.client.models import Request
from raincheck.client.steps import Call, Reply


class Dialect(Enum):
    """A Raincheck server has a record for every request and can hold a reply until something happens. Any other server
    of the deferred protocol, the hosted original included, only says `not yet` or gives the completion."""

    RAINCHECK = "raincheck"
    DEFERRED = "deferred"
    UNKNOWN = "unknown"

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> "Dialect":
        """What a successful reply to a submit tells about the server."""
        return cls.RAINCHECK if "raincheck-version" in headers else cls.DEFERRED


class NotRaincheck(Exception):
    """The server does not know the native paths: ask in the plain deferred protocol."""


class AskAgain(Exception):
    """No usable answer this time, and good hope for the next."""

    def __init__(self, retry_after: float, error: APIError | None) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after
        self.error = error


def request_path(request_id: str, action: str = "") -> str:
    return f"/requests/{_segment(request_id)}{action}"


def video_path(video_id: str, part: str = "") -> str:
    return f"/videos/{_segment(video_id)}{part}"


def batch_path(batch_id: str, part: str = "") -> str:
    return f"/batches/{_segment(batch_id)}{part}"


def endpoint_path(endpoint_id: str, action: str = "") -> str:
    return f"/webhook_endpoints/{_segment(endpoint_id)}{action}"


def delivery_path(delivery_id: str, action: str = "") -> str:
    return f"/webhook_deliveries/{_segment(delivery_id)}{action}"


def deferred_path(request_id: str) -> str:
    return f"/chat/deferred-completion/{_segment(request_id)}"


def _segment(request_id: str) -> str:
    """The id as one segment of a path. Raises ValueError for what would lead to another path."""
    if not request_id.strip(" .") or "/" in request_id:
        raise ValueError(f"{request_id!r} is no id of a request, as in req_0199…")
    return quote(request_id, safe="")


def question(dialect: Dialect, seen: Request, wait: float, timeout: float) -> Call:
    """The status read. A Raincheck server may hold it up to `wait` seconds, until the status is another than `seen`."""
    if dialect is Dialect.DEFERRED:
        return Call("GET", deferred_path(seen.id), timeout)
    if wait <= 0:
        return Call("GET", request_path(seen.id), timeout)
    return Call("GET", request_path(seen.id), timeout, {"wait": round(wait, 3), "since": seen.status})


def understand(dialect: Dialect, request_id: str, reply: Reply) -> Request:
    """The request as this reply shows it. Raises openai's error when the reply is final and bad."""
    if reply.transient:
        raise AskAgain(reply.retry_after, reply.error)
    if dialect is Dialect.DEFERRED:
        return _deferred(request_id, reply)
    record = reply.json() or {}
    if reply.error is None and "status" in record:
        return Request.construct(**record)
    # Only a server that is no Raincheck, or a proxy in front of one, answers the native path with a page or an error
    # of its own. A refused key is a refused key everywhere.
    if reply.version is None and reply.status not in (401, 403):
        raise NotRaincheck if dialect is Dialect.UNKNOWN else AskAgain(reply.retry_after, reply.error)
    raise reply.error or AskAgain(reply.retry_after, None)


def _deferred(request_id: str, reply: Reply) -> Request:
    """Not yet is a 202, its body empty or not; or a completion without choices."""
    if reply.error is not None:
        raise reply.error
    body = reply.json() or {}
    if reply.status == 200 and body.get("choices"):
        return completed(request_id, body)
    status = body.get("status")
    status = cast("str", status) if status in ("pending", "processing") else "pending"
    return Request.construct(id=request_id, status=status, operation="chat.completion", model=body.get("model"))


def completed(request_id: str, completion: Mapping[str, Any]) -> Request:
    """A record for a completion that came from a server which keeps none."""
    return Request.construct(
        id=request_id,
        status="completed",
        operation="chat.completion",
        model=completion.get("model"),
        result=completion,
        result_status=200,
    )

"""What a deferred submit adds to an ordinary call, and what its answer means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import Any, cast
from uuid import uuid4

import httpx2
from openai import Timeout
from openai._utils import maybe_transform
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from typing_extensions import TypedDict

from raincheck.client.dialect import Dialect, completed
from raincheck.client.errors import NoRequestId
from raincheck.client.flows import LONGEST_POLL
from raincheck.client.models import Request
from raincheck.client.steps import Reply, Submit

WHOLE = "return=representation"
MARGIN = 2.0
"""Seconds by which an HTTP timeout is longer than what the server may use of them."""


class DeferOptions(TypedDict, total=False):
    """What Raincheck understands beyond the call itself. Other servers of the deferred protocol know none of these,
    so nothing is sent of what is not given."""

    webhook_url: str
    """Where to POST the end of the request; `raincheck.webhooks.verify` is for what comes there."""
    webhook_events: Sequence[str]
    """What to tell it: any of `processing`, `progress`, `completed`, `failed`, `cancelled`, `expired`. Left out, every
    end."""
    include_result: bool
    """Whether it gets the result along, up to a size that the server sets."""
    not_before: float | str | datetime
    """Earliest start: Unix seconds, RFC 3339, or a datetime (a naive one is local time)."""
    deadline: float | str | datetime
    """When the request expires if it is not done by then."""
    expires_in: float
    """The same in seconds from now."""
    max_attempts: int
    """How many tries the request gets."""
    request_metadata: Mapping[str, str]
    """Labels on the request, for `client.requests.list(metadata=…)`. (OpenAI's own `metadata` goes to the upstream.)"""
    idempotency_key: str
    """The same key and body give the same request again. One is made up for each submit when it is not given, so that
    a retried connection never submits twice."""


class ChatParams(CompletionCreateParamsNonStreaming, DeferOptions, total=False):
    """Everything `chat.completions.create` takes, but for streaming, and the options above."""

    extra_headers: Mapping[str, str]
    extra_query: Mapping[str, object]
    extra_body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Submission:
    """The additions to one call: members of its body and headers, and the call's own parameters without the options."""

    params: dict[str, Any]
    body: dict[str, object]
    headers: dict[str, str]


def submission(params: Mapping[str, Any], prefer: str) -> Submission:
    """Part the options from the parameters of the call. `prefer` is what is asked of a server that knows RFC 7240."""
    rest = {name: value for name, value in params.items() if name not in DeferOptions.__annotations__}
    given = {name: params[name] for name in DeferOptions.__annotations__ if params.get(name) is not None}
    key = header_text(given.pop("idempotency_key", None) or uuid4().hex, "idempotency_key")
    headers = {"Idempotency-Key": key, "Prefer": prefer}
    options = {_WIRE_NAMES.get(name, name): plain(value) for name, value in given.items()}
    return Submission(rest, {"raincheck": options} if options else {}, headers)


def header_text(text: str, name: str) -> str:
    """The text as it is, if a header can carry it. Raises ValueError, which does not repeat it: it may be a key."""
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    raise ValueError(f"{name} must be printable ASCII on one line, without spaces around it.")


def chat_submission(params: ChatParams) -> dict[str, Any]:
    """The arguments for `chat.completions.create` that make it a deferred submit."""
    extra = submission(cast("Mapping[str, Any]", params), WHOLE)
    body: dict[str, Any] = {"deferred": True, **extra.body, **(extra.params.pop("extra_body", None) or {})}
    headers: dict[str, str] = {**extra.headers, **(extra.params.pop("extra_headers", None) or {})}
    return {**extra.params, "extra_body": body, "extra_headers": headers}


def waiting_submit(params: ChatParams, usual: float | Timeout | None) -> Callable[[float], Submit]:
    """The deferred submit that a Raincheck server answers with the request's end, if that comes in time; a maker of it,
    given the seconds that are left. `usual` is the client's own HTTP timeout.

    Each one has the same idempotency key. Servers that are no Raincheck ignore the preference, as they ignore others.
    """
    call = chat_submission(params)
    extra: dict[str, object] = call.pop("extra_body")
    headers: dict[str, str] = call.pop("extra_headers")
    query: Mapping[str, object] = call.pop("extra_query", None) or {}
    body = {**cast("dict[str, object]", maybe_transform(call, CompletionCreateParamsNonStreaming)), **extra}

    def submit_for(left: float) -> Submit:
        timeout = bounded(usual, None if left == inf else left)
        read = timeout.read if isinstance(timeout, Timeout) else timeout
        held = min(LONGEST_POLL, left, inf if read is None else max(0.0, read - MARGIN))
        prefer = f"{headers['Prefer']}, wait={round(held, 3):g}"
        return Submit("/chat/completions", timeout, body, {**headers, "Prefer": prefer}, query)

    return submit_for


def bounded(usual: float | Timeout | None, limit: float | None) -> float | Timeout | None:
    """The HTTP timeout of a submit whose whole way may take `limit` seconds. Never below ten: a submit that is cut off
    has perhaps been accepted, and its id is lost."""
    if limit is None:
        return usual
    limit = max(limit + MARGIN, 10.0)
    if isinstance(usual, Timeout):
        return Timeout(
            **{name: limit if value is None else min(value, limit) for name, value in usual.as_dict().items()}
        )
    return limit if usual is None else min(usual, limit)


def accepted(headers: Mapping[str, str], content: bytes) -> tuple[Request, Dialect]:
    """The request that a submit brought about. A server that knows nothing of deferring answers with the completion
    itself: that is a request that has ended already. Raises `NoRequestId` when the answer names none."""
    body = Reply(200, body=content).json() or {}
    dialect = Dialect.of(headers)
    if body.get("object") == "request":
        return Request.construct(**body), dialect
    request_id = body.get("request_id") or body.get("id")
    if not isinstance(request_id, str):
        raise NoRequestId(content)
    if body.get("choices"):
        return completed(request_id, body), Dialect.DEFERRED
    status = body.get("status")
    seen: dict[str, Any] = {
        "id": request_id,
        "status": status if isinstance(status, str) else "pending",
        "model": body.get("model"),
    }
    return Request.construct(**seen, operation="chat.completion"), dialect


def accepted_natively(response: httpx2.Response) -> Request:
    """The same for a call that only a Raincheck server can defer: any other has simply done it, or something else."""
    if Dialect.of(response.headers) is not Dialect.RAINCHECK:
        raise NoRequestId(response.content)
    request, _ = accepted(response.headers, response.content)
    return request


_WIRE_NAMES = {"request_metadata": "metadata"}


def plain(value: object) -> object:
    """A time as the server wants it; anything else as it is."""
    return value.timestamp() if isinstance(value, datetime) else value

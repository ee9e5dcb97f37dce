"""Takes what a status read says about waiting, hands on the record when there is news."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from raincheck.core.errors import BadInput
from raincheck.core.model import Request, Tenant
from raincheck.core.status import Status
from raincheck.http.auth import caller
from raincheck.http.edge import Call, edge_of
from raincheck.http.presence import while_present
from raincheck.live import Watch

LONGEST = 60.0
"""Seconds; some clients give up after 100, and proxies before that."""


@dataclass(frozen=True, slots=True)
class Wait:
    """How long to wait, and how the answer confirms it."""

    seconds: float = 0
    since: Status | None = None
    applied: tuple[tuple[str, str], ...] = ()


NO_WAIT = Wait()


async def read(call: Call, tenant: Tenant, request_id: str, wait: Wait) -> Request:
    """The record, at once or when there is news. Raises NotFound, ClientGone."""
    edge = edge_of(call)
    if wait.seconds <= 0:
        return await edge.store.requests.get(tenant.name, request_id)
    with edge.live.watch(request_id) as watch:
        request = await edge.store.requests.get(tenant.name, request_id)
        return await wait_on(call, watch, request, wait)


async def wait_on(call: Call, watch: Watch, request: Request, wait: Wait) -> Request:
    """The same from a record at hand, which was read or written after the watch was opened.

    Raises ClientGone, and what `caller` does when the key was revoked meanwhile.
    """
    if request.status.final or (wait.since is not None and request.status is not wait.since):
        return request
    news = edge_of(call).desk.wait(watch, request, seconds=wait.seconds, since=wait.since)
    request = await while_present(call.receive, news)
    await caller(call, "read")
    return request


def wait_of(call: Call) -> Wait:
    """What the call asks for, by `?wait=` or by `Prefer: wait=`. Raises BadInput."""
    query = call.scope["query_string"]
    headers = dict(call.scope["headers"])
    if not query and b"prefer" not in headers:
        return NO_WAIT
    since = call.query_params.get("since") if query else None
    text = call.query_params.get("wait") if query else None
    if text is not None:
        return Wait(min(_seconds(text), _patience(headers)), _status(since))
    preferred = preferences(call).get("wait")
    if preferred is None:
        return Wait(since=_status(since))
    length, seconds = preferred_wait(preferred, headers)
    return Wait(seconds, _status(since), (("preference-applied", f"wait={length:g}"),))


def preferred_wait(preferred: str, headers: Mapping[bytes, bytes]) -> tuple[float, float]:
    """The seconds of `Prefer: wait=` as they are confirmed, and as they are waited for this client."""
    length = min(_lenient(preferred), LONGEST)
    return length, min(length, _patience(headers))


def preferences(call: Call) -> dict[str, str]:
    """The call's preferences (RFC 7240): names in lower case, with their values or empty."""
    found: dict[str, str] = {}
    for name, value in call.scope["headers"]:
        if name == b"prefer":
            for part in value.decode("latin-1").split(","):
                key, _, given = part.partition(";")[0].partition("=")
                found.setdefault(key.strip().lower(), given.strip().strip('"'))
    return found


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= LONGEST:
        raise BadInput(f"wait must be a number of seconds from 0 to {LONGEST:g}, not {text!r}.", param="wait")
    return value


def _lenient(text: str) -> float:
    """A preference that makes no sense is ignored, as RFC 7240 asks."""
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return max(0.0, value) if math.isfinite(value) else 0.0


def _status(text: str | None) -> Status | None:
    if text is None:
        return None
    try:
        return Status(text)
    except ValueError:
        raise BadInput(f"since must be one of {', '.join(Status)}, not {text!r}.", param="since") from None


def _patience(headers: Mapping[bytes, bytes]) -> float:
    """How long the client itself will wait for an answer, by what the OpenAI clients announce, less a second."""
    try:
        return max(0.0, float(headers[b"x-stainless-read-timeout"]) - 1)
    except (KeyError, ValueError):
        return math.inf

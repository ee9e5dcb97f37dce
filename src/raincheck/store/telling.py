"""Takes what happened and who wants to know, hands on the deliveries to be written: for both stores."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from raincheck.core.events import ENDS
from raincheck.core.ids import new_id

GONE = "gone"
"""Why an endpoint was disabled: it answered 410."""
FAILING = "failing"
"""Why an endpoint was disabled: nothing has arrived there for too long."""
FORGOTTEN = 0
"""`used_at` of a receiver whose endpoint was deleted: it stands until the last of its deliveries is purged."""

_PORTS = {"http": 80, "https": 443}


class Happening(NamedTuple):
    """What is to be told, and to whose endpoints."""

    event_id: str
    tenant: str
    type: str
    object_id: str
    moment: int
    detail: str | None = None
    """Members of `data` as JSON, when they are to be told as they were."""
    has_result: bool = False
    """Whether a result may go with it; otherwise nobody gets one, whoever asked for it."""


class Own(NamedTuple):
    """The `webhook_url` of what it happened to."""

    url: str
    include_result: bool = False


class Listener(NamedTuple):
    """An endpoint that subscribed to it."""

    endpoint_id: str
    include_result: bool
    disabled: bool


class Told(NamedTuple):
    """A delivery to be written; its status is `pending`."""

    id: str
    tenant: str
    receiver: str
    endpoint_id: str | None
    url: str | None
    event_id: str
    type: str
    object_id: str
    created_at: int
    detail: str | None
    include_result: bool
    due_at: int | None
    """Now, and null for an endpoint that is disabled: it is parked."""


TOLD = ", ".join(Told._fields)
"""The columns of `delivery` that are written of one."""


def tell(what: Happening, own: Own | None, listeners: Iterable[Listener]) -> list[Told]:
    """One delivery to the `webhook_url`, if that is to be told, and one to each endpoint."""
    told = [_to_endpoint(what, each) for each in listeners]
    return told if own is None else [_to_url(what, own), *told]


def _to_url(what: Happening, own: Own) -> Told:
    told = _told(what, receiver_of(what.tenant, own.url), include_result=own.include_result)
    return told._replace(url=own.url)


def _to_endpoint(what: Happening, listener: Listener) -> Told:
    told = _told(what, listener.endpoint_id, include_result=bool(listener.include_result))
    return told._replace(endpoint_id=listener.endpoint_id, due_at=None if listener.disabled else what.moment)


def _told(what: Happening, receiver: str, *, include_result: bool) -> Told:
    """What is the same wherever it goes."""
    return Told(
        id=new_id("whd"),
        tenant=what.tenant,
        receiver=receiver,
        endpoint_id=None,
        url=None,
        event_id=what.event_id,
        type=what.type,
        object_id=what.object_id,
        created_at=what.moment,
        detail=what.detail,
        include_result=include_result and what.has_result,
        due_at=what.moment,
    )


def wants(webhook_events: str | None, moment: str, kind: str) -> bool:
    """Whether a webhook_url is told of this moment; where none is named, it is told of every end.

    A name may mean what has happened, or the event that tells of it: a video that was cancelled can be `video.failed`.
    """
    if webhook_events is None:
        return moment in ENDS
    return not {moment, kind.rpartition(".")[2]}.isdisjoint(webhook_events.split())


def receiver_of(tenant: str, url: str) -> str:
    """What shares a breaker and places: all that a tenant sends to one origin."""
    return f"{tenant} {origin(url)}"


@lru_cache(1_024)
def origin(url: str) -> str:
    """Scheme, host and port of a URL in lower case. One that is none is nobody's origin but its own: an end is never
    lost over it, and its delivery fails with the reason."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
    except (ValueError, KeyError):
        return "nowhere"
    return f"{parts.scheme}://[{host}]:{port}" if ":" in host else f"{parts.scheme}://{host}:{port}"


def key_owner(tenant: str, endpoint_id: str | None) -> str:
    """Whose signing key it is: an endpoint's, or a tenant's for its webhook_urls."""
    return f"tenant:{tenant}" if endpoint_id is None else endpoint_id


def progress_detail(progress: float | None, message: str | None) -> str:
    """How far it was, as it is told however late that is."""
    known: dict[str, Any] = {"progress": progress, "progress_message": message}
    return msgspec.json.encode({name: value for name, value in known.items() if value is not None}).decode()


def disabled_detail(url: str, reason: str) -> str:
    """Which endpoint was disabled, and why."""
    return msgspec.json.encode({"url": url, "reason": reason}).decode()

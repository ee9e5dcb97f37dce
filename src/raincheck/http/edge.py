"""Everything the HTTP edge is handed: it builds none of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from litestar import Request
from litestar.types import Scope

from raincheck.core.clock import Clock
from raincheck.core.settings import Settings
from raincheck.delivery.carry import Carrier
from raincheck.http.webhooks.places import TestPlaces
from raincheck.intake.gate import Gate
from raincheck.intake.links import Links
from raincheck.intake.retrieve import Desk
from raincheck.intake.uploads import UPLOAD_PACE, UPLOAD_SILENCE, Inbox
from raincheck.intake.video_calls import Videos
from raincheck.live import Live
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Store
from raincheck.upstream.catalogue import Catalogue
from raincheck.upstream.protocol import Relay

Call = Request[Any, Any, Any]
"""An HTTP request; *request* alone is the thing in the queue."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost; sizes in bytes, times in seconds."""

    head_bytes: int = 8 << 10
    head_seconds: float = 30
    body_seconds: float = UPLOAD_SILENCE
    """For a whole body; for uploads, how long none of it may come."""
    upload_pace: int = UPLOAD_PACE
    """Bytes a second that an upload comes with at least, after those first seconds."""
    keep_alive_every: float = 15
    """How often a quiet stream of events says that it is still there."""


def _nothing_to_measure() -> bytes:
    return b""


def _never() -> bool:
    return False


def _unnoticed(_: Exception, __: str) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The rooms below, and the little the edge decides by."""

    store: Store
    catalogue: Catalogue
    live: Live
    relay: Relay
    gate: Gate
    settings: Settings
    clock: Clock
    version: str
    link_secret: bytes = field(repr=False)
    """What links to files are signed with: the store's, so that all processes take each other's."""
    carrier: Carrier = field(repr=False)
    """Sends test events, and knows how secrets are sealed."""
    objects: BlobStore | None = None
    """Where big results are; None when all are in the store."""
    stopping: Callable[[], bool] = _never
    """True once the server takes nothing new."""
    metrics: Callable[[], bytes] = _nothing_to_measure
    """The Prometheus text."""
    crashed: Callable[[Exception, str], None] = _unnoticed
    """Told of every error nobody expected, with the call's x-request-id."""
    limits: Limits = Limits()
    test_places: TestPlaces = field(init=False, default_factory=TestPlaces)
    links: Links = field(init=False)
    desk: Desk = field(init=False)
    inbox: Inbox = field(init=False)
    videos: Videos = field(init=False)

    def __post_init__(self) -> None:
        store, clock, objects = self.store, self.clock, self.objects
        links = Links(self.link_secret, self.settings.link_lifetime)
        desk = Desk(store.requests, self.catalogue, self.live, clock, links, objects)
        at_most = self.settings.media_max_bytes
        inbox = Inbox(store.blobs, objects, store.files, store.requests, links, clock, at_most)
        object.__setattr__(self, "links", links)
        object.__setattr__(self, "desk", desk)
        object.__setattr__(self, "inbox", inbox)
        object.__setattr__(self, "videos", Videos(inbox, store.requests, self.catalogue))


def edge_of(call: Call) -> Edge:
    return edge_in(call.scope)


def edge_in(scope: Scope) -> Edge:
    return cast("Edge", scope["litestar_app"].state["edge"])


def base_of(call: Call) -> str:
    """Where this server is reached, without a slash at the end: as the settings say, else as the caller did."""
    if (told := edge_of(call).settings.public_url) is not None:
        return told
    scope = call.scope
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), None)
    if host is None:  # HTTP/1.0 need not say.
        name, port = scope["server"] or ("localhost", None)
        host = name if port is None else f"{name}:{port}"
    return f"{scope['scheme']}://{host}"

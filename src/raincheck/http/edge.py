"""Everything the HTTP edge is handed: it builds none of it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from litestar import Request
from litestar.types import Scope

from raincheck.core.clock import Clock
from raincheck.core.settings import Settings
from raincheck.intake.gate import Gate
from raincheck.intake.retrieve import Desk
from raincheck.live import Live
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Store
from raincheck.upstream.catalogue import Catalogue
from raincheck.upstream.protocol import Relayed

Call = Request[Any, Any, Any]
"""An HTTP request; *request* alone is the thing in the queue."""


class Relay(Protocol):
    """Passes a call on while its client waits."""

    def call(self, *, model: str, path: str, payload: bytes) -> AbstractAsyncContextManager[Relayed]:
        """Entering raises ModelUnknown, UpstreamBusy or UpstreamDown; leaving early aborts the call."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost; sizes in bytes, times in seconds."""

    head_bytes: int = 8 << 10
    head_seconds: float = 30
    body_seconds: float = 60
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
    objects: BlobStore | None = None
    """Where big results are; None when all are in the store."""
    stopping: Callable[[], bool] = _never
    """True once the server takes nothing new."""
    metrics: Callable[[], bytes] = _nothing_to_measure
    """The Prometheus text."""
    crashed: Callable[[Exception, str], None] = _unnoticed
    """Told of every error nobody expected, with the call's x-request-id."""
    limits: Limits = Limits()
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        desk = Desk(self.store.requests, self.catalogue, self.live, self.clock, self.objects)
        object.__setattr__(self, "desk", desk)


def edge_of(call: Call) -> Edge:
    return edge_in(call.scope)


def edge_in(scope: Scope) -> Edge:
    return cast("Edge", scope["litestar_app"].state["edge"])

"""Everything the gRPC edge is handed: it builds none of it, and this much of it needs no gRPC library."""

from collections.abc import Callable
from dataclasses import dataclass

from raincheck.core.clock import Clock
from raincheck.core.settings import Settings
from raincheck.intake.batches.calls import VideoCalls
from raincheck.intake.gate import Gate
from raincheck.intake.retrieve import Desk
from raincheck.intake.uploads import Inbox
from raincheck.live import Live
from raincheck.store.blobs import BlobStore
from raincheck.store.protocol import Store
from raincheck.upstream.catalogue import Catalogue
from raincheck.upstream.protocol import Relay


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The rooms below, the same that the HTTP edge has, and the little this one decides by."""

    store: Store
    catalogue: Catalogue
    live: Live
    relay: Relay
    gate: Gate
    desk: Desk
    inbox: Inbox
    objects: BlobStore | None
    videos: VideoCalls
    """What lines of batches that ask for videos come to."""
    settings: Settings
    clock: Clock
    stopping: Callable[[], bool]
    """True once the server takes nothing new."""
    crashed: Callable[[Exception, str], None]
    """Told of every error nobody expected, with the call's x-request-id."""

"""One call as a handler sees it: who calls, what its metadata says, how long there is an ear for the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import grpc.aio

from raincheck.core.errors import Stopping
from raincheck.core.model import Tenant
from raincheck.grpc.edge import Edge
from raincheck.intake.admit import Options
from raincheck.intake.gate import Scope
from raincheck.intake.options import read_options

Context = grpc.aio.ServicerContext[Any, Any]
_RETRIES = b"grpc-previous-rpc-attempts"
"""Set by a client's gRPC library when it sends a call again by itself; the first try does not have it."""


@dataclass(frozen=True)
class Call:
    """A call, with the rooms below."""

    edge: Edge
    context: Context
    method: str
    """Its path, as in `/xai_api.Chat/GetCompletion`."""
    request_id: str
    """What the log and the caller know this call by."""

    @cached_property
    def metadata(self) -> Mapping[bytes, bytes]:
        """Its metadata as HTTP headers would be."""
        return {
            name.lower().encode(): value if isinstance(value, bytes) else value.encode("latin-1", "replace")
            for name, value in self.context.invocation_metadata() or ()
        }

    async def caller(self, *scopes: Scope) -> Tenant:
        """The tenant who calls, with a key that has all of these. Raises KeyMissing, KeyInvalid, ScopeMissing."""
        return await self.edge.gate.enter(self.secret, scopes)

    async def writer(self) -> Tenant:
        """The tenant of a call that hands in work. Raises Stopping, and as `caller`."""
        tenant = await self.caller("write")
        if self.edge.stopping():
            raise Stopping(retry_after=2)
        return tenant

    @property
    def secret(self) -> str | None:
        """The API key that came with it."""
        kind, _, secret = self.metadata.get(b"authorization", b"").decode("latin-1").partition(" ")
        return secret.strip() if kind.lower() == "bearer" else None

    @property
    def retry(self) -> int:
        """Which retry of its own the client says this is (0: the first try)."""
        said = self.metadata.get(_RETRIES, b"0")
        return int(said) if said.isdigit() and len(said) < 4 else 0

    @property
    def options(self) -> Options:
        """How it is to be deferred, by metadata named as the HTTP headers are (`raincheck-webhook-url`). Raises
        BadInput."""
        return read_options(None, self.metadata)

    @property
    def patience(self) -> float:
        """Seconds until the caller stops listening, less a second for the way back; infinite when it did not say."""
        left = cast("float | None", self.context.time_remaining())  # Its types leave out that there may be none.
        return float("inf") if left is None else max(0.0, left - 1)

"""The store's roles for webhooks: who is told, and the outbox that tells them. The same rules as in `protocol.py`.

**What is written when.** In the transaction that ends a request or a batch there is one delivery for its `webhook_url`,
when that is to be told of this end, and one for each endpoint of the tenant that subscribed to the event's type or to
`*`; they share the event's id. Rows of a batch are told of by their batch alone. That a request has begun (its first
claim) and how far it is (a heartbeat with progress, at most every PROGRESS_EVERY) is written in the same way with an
event id of its own, for a `webhook_url` and endpoints that named that moment.

**What is dropped.** A delivery that was never taken ends after its last attempt, and stays in the log. One that is
still to be sent is forgotten when its event is older than the log is kept, but not before WHOLE_SCHEDULE is over: one
that stood in line for a dead receiver, or behind a disabled endpoint, for all that time. Those of a deleted endpoint go
with it.

**Who gets when.** A receiver is an endpoint, or one origin (scheme, host and port) that a tenant names in webhook_urls.
Deliveries are claimed by when they are due. What a receiver has no room for (`core.webhooks.Receiver`) is parked, at
most once per place that comes free, so that neither a long backlog nor a dead receiver costs the others anything.
"""

from collections.abc import Sequence
from typing import Protocol

from raincheck.core.webhooks import (
    ClaimedDeliveries,
    Delivery,
    DeliveryAttempt,
    DeliveryPage,
    DeliveryQuery,
    Endpoint,
    EndpointChange,
    EndpointPage,
    FinishedDeliveries,
    Redelivery,
    Sent,
    SigningKey,
    Strangers,
)


class Endpoints(Protocol):
    """Where tenants want to be told of events. Every question names the tenant: another's id is unknown (G8).
    Secrets go in and out as they are handed in: sealed."""

    async def create(self, endpoint: Endpoint, secret: str) -> None:
        """Record an endpoint and what its deliveries are signed with. Raises TooManyEndpoints."""
        ...

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        """The record of an endpoint, with how it has been doing. Raises NotFound."""
        ...

    async def list(
        self, tenant: str, *, after: str | None = None, limit: int = 20, newest: bool = True
    ) -> EndpointPage:
        """A tenant's endpoints by when they were made. Raises NotFound for an unknown cursor."""
        ...

    async def update(self, tenant: str, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """Change an endpoint; `updated_at` moves when anything changed. Enabling forgets its failures and lets what
        waited go on; disabling holds back what is not being sent just now. Another `url` forgets its failures too, and
        what is being sent is lost to whoever sends it and goes there as well. Raises NotFound."""
        ...

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        """Forget an endpoint and its secret at once, its deliveries soon; none is sent any more. Raises NotFound."""
        ...

    async def signing_key(
        self, tenant: str, endpoint_id: str | None = None, *, offered: str | None = None
    ) -> SigningKey | None:
        """What deliveries are signed with: an endpoint's, or with None those to the tenant's webhook_urls. For these
        there is none until it is first asked for with `offered`, which then becomes it; who comes later gets the same.
        Raises NotFound for an unknown endpoint."""
        ...

    async def rotate(self, tenant: str, endpoint_id: str | None, secret: str, *, overlap: int) -> SigningKey:
        """Sign with this secret from now on, and for `overlap` microseconds more with the one before (0: not at all);
        those before it keep their time, MOST_PREVIOUS at most, but with 0 they are over as well. Moves an endpoint's
        `updated_at`. Raises NotFound."""
        ...


class Deliveries(Protocol):
    """The outbox and its log. The desk's questions name the tenant (G8); the engine's writes carry the fence of the
    claim, and one whose fence was lost writes nothing at all."""

    # --- the desk

    async def list(self, tenant: str, query: DeliveryQuery) -> DeliveryPage:
        """Deliveries that match every part of the query, newest first. Raises NotFound for an unknown cursor."""
        ...

    async def get(self, tenant: str, delivery_id: str) -> Delivery:
        """The record of a delivery. Raises NotFound."""
        ...

    async def attempts(self, tenant: str, delivery_id: str) -> Sequence[DeliveryAttempt]:
        """The tries so far, oldest first. Raises NotFound."""
        ...

    async def redeliver(self, tenant: str, delivery_id: str) -> Delivery:
        """Send it again now, with its whole schedule before it: the same event id, another attempt. Its receiver is
        tried with it even if that is left alone otherwise. One that is being sent just now is left alone. Raises
        NotFound."""
        ...

    async def redeliver_all(
        self, tenant: str, wanted: Redelivery, *, after: str | None, limit: int
    ) -> tuple[int, str | None]:
        """Send those that match again, at once and whatever pause their receiver has, oldest first, looking at up to
        `limit` behind `after`; returns how many there were, and the `after` to go on with, None when it has looked at
        all. They stand in line: of each receiver
        as many are due as it has room for, and the others follow them."""
        ...

    async def note(self, delivery: Delivery, attempt: DeliveryAttempt) -> None:
        """Write into the log what has been sent already, as a test: with its one attempt, and its end."""
        ...

    # --- the engine

    async def claim(
        self, *, worker: str, lease_for: int, limit: int, places: int, strangers: Strangers
    ) -> ClaimedDeliveries:
        """Lease up to `limit` due deliveries, those first that have been due longest, with what each is signed with.

        No receiver has more at once than it has room for, and never more than `places`; those that have not proven
        themselves are given what `strangers` has, and what is too much of theirs is put off for a little.
        While it is left alone one of its due ones is put off until then; the others, and what it has no room for, are
        parked, and so are those of a disabled endpoint. A lease that lapsed is due again: whoever held it may have sent
        it, and the receiver tells by the event's id. Not flushed: losing a lease costs a repeated delivery."""
        ...

    async def finish(self, sent: Sequence[Sent], *, places: int, disable_after: int) -> FinishedDeliveries:
        """Note how attempts went, each with its line in the log, and let parked ones go on where a place came free.

        The receiver's breaker moves with each (`Receiver.after`), unless it was not to blame. An endpoint that is gone,
        or dead for `disable_after`, is disabled, and an event `webhook_endpoint.disabled` is written for the tenant's
        other endpoints that subscribed to it or to `*`. Not flushed, as `claim`."""
        ...

    async def next_due(self) -> int | None:
        """When the next delivery is due or the next lease lapses; None when there is none."""
        ...

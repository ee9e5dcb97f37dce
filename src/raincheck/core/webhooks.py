"""Webhooks: who is told of events (endpoints, and the `webhook_url` of a request), and what became of telling them."""

from collections import Counter
from enum import StrEnum
from typing import Literal

import msgspec
from msgspec.structs import replace

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.model import Fence

MOST_ENDPOINTS = 100
"""Per tenant."""
DELAYS = (
    0,
    5 * SECOND,
    5 * MINUTE,
    30 * MINUTE,
    2 * HOUR,
    5 * HOUR,
    10 * HOUR,
    14 * HOUR,
    20 * HOUR,
    24 * HOUR,
)
"""How long each attempt waits after the one before, as the Standard Webhooks specification suggests; each is stretched
by up to JITTER, so that what failed together does not come back together."""
JITTER = 0.1
WHOLE_SCHEDULE = round(sum(DELAYS) * (1 + JITTER)) + DAY
"""How long a delivery may wait to be sent before it is forgotten: for its last attempt, and what breakers and receivers
put off in between."""
OVERLAP = DAY
"""How long a secret that was replaced still signs beside the new one."""
MOST_PREVIOUS = 5
"""How many secrets that were replaced sign at once; with each the header that they sign grows."""
PROGRESS_EVERY = 10 * SECOND
"""Progress of one request is told no more often."""
DELIVERY_LOG_KEPT = 7 * DAY

SLOW = 2 * SECOND
"""How long a receiver may take to answer and still be one that holds nobody up."""
STRANGERS_WAIT = (SECOND, 30 * SECOND)
"""For how long, at random in between, a delivery to a receiver that has not proven itself is put off when there are too
many of them on their way."""

Signature = Literal["v1", "v1a"]
"""By which scheme of Standard Webhooks: HMAC-SHA256 with a shared secret, or Ed25519 with a public key."""


class SigningKey(msgspec.Struct, frozen=True):
    """What deliveries are signed with, as the store keeps it: sealed, when there is a key to seal with."""

    secret: str
    created_at: int
    previous: tuple[tuple[str, int], ...] = ()
    """Those before, the newest first, each with until when it signs too, so that nobody's verification fails while both
    sides change over."""

    def replaced(self, secret: str, *, now: int, overlap: int) -> "SigningKey":
        """A new one that signs from now on, for `overlap` microseconds beside those that do so far; with 0 alone."""
        if overlap <= 0:
            return SigningKey(secret, now)
        still = [each for each in self.previous if each[1] > now]
        return SigningKey(secret, now, ((self.secret, now + overlap), *still)[:MOST_PREVIOUS])

    def __repr__(self) -> str:
        """Without the secrets: whatever prints a record prints none of them."""
        return f"SigningKey(created_at={self.created_at})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("created_at", self.created_at)]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where a tenant wants to be told of events."""

    id: str
    tenant: str
    name: str
    url: str
    event_types: tuple[str, ...]
    include_result: bool = False
    signature: Signature = "v1"
    created_at: int
    updated_at: int
    disabled_at: int | None = None
    """Nothing is sent while it is disabled; what happens meanwhile waits until it is enabled, or forgotten."""
    disabled_reason: str | None = None
    """Why, when it was not its owner."""
    failures: int = 0
    """How many attempts in a row have failed."""
    failing_since: int | None = None
    open_until: int | None = None
    """While its breaker is open: when it is tried again."""


class EndpointPage(msgspec.Struct, frozen=True):
    """Endpoints of one tenant, and whether there are more."""

    endpoints: list[Endpoint]
    has_more: bool


class EndpointChange(msgspec.Struct, frozen=True, kw_only=True):
    """What to change; None leaves a thing as it is."""

    name: str | None = None
    url: str | None = None
    event_types: tuple[str, ...] | None = None
    include_result: bool | None = None
    enabled: bool | None = None

    def made_to(self, before: Endpoint, now: int) -> Endpoint:
        """The endpoint as it is then; `updated_at` moves when that is another."""
        after = replace(
            before,
            name=before.name if self.name is None else self.name,
            url=before.url if self.url is None else self.url,
            event_types=before.event_types if self.event_types is None else self.event_types,
            include_result=before.include_result if self.include_result is None else self.include_result,
        )
        if self.enabled:
            after = replace(after, disabled_at=None, disabled_reason=None)
        elif self.enabled is False and before.disabled_at is None:
            after = replace(after, disabled_at=now)
        return after if after == before else replace(after, updated_at=now)


class DeliveryStatus(StrEnum):
    """How far a delivery has come."""

    PENDING = "pending"
    """To be sent, now or later."""
    DELIVERED = "delivered"
    """Taken by the receiver with a 2xx."""
    FAILED = "failed"
    """Given up; it can be sent again by hand."""


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event on its way to one receiver; the record is its line in the delivery log."""

    id: str
    tenant: str
    event_id: str
    """The `webhook-id`: the same at every attempt and in every redelivery."""
    type: str
    object_id: str
    """What it is about: a request, a batch, an endpoint."""
    endpoint_id: str | None = None
    """None: it goes to the `webhook_url` of what it is about."""
    url: str
    """Where it goes: the endpoint's as it is now."""
    created_at: int
    """When it happened."""
    detail: bytes | None = None
    """Members of `data` that are to be told as they were then, as a JSON object: how far it was, for example."""
    include_result: bool = False
    test: bool = False
    """A sample that was asked for; redelivering all leaves it out."""
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempt: int = 0
    """Attempts so far in the schedule; counted from 0 again when it is sent again by hand."""
    due_at: int | None = None
    """While pending: when the next attempt is due; while it is being sent: when its lease lapses. None while it waits
    for others to the same receiver, or for its endpoint to be enabled."""
    sending: bool = False
    ended_at: int | None = None
    status_code: int | None = None
    """What the receiver answered to the last attempt."""
    error: str | None = None
    """Why the last attempt failed, for its reader: the reason of a refusal, too."""
    failures: int = 0
    """How many attempts in a row have failed at its receiver, whatever they were to deliver."""
    open_until: int | None = None
    """While its receiver is left alone: when that is over."""


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try, as the delivery log keeps it."""

    number: int
    started_at: int
    ended_at: int
    status_code: int | None = None
    error_code: str | None = None
    """A word for programs: `refused_address`, `timeout`, `status`, …; None when it was delivered."""
    error: str | None = None
    response: str | None = None
    """The beginning of what the receiver answered."""


class DeliveryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """What to list, newest first; `after` is the last id of the page before."""

    endpoint_id: str | None = None
    object_id: str | None = None
    status: DeliveryStatus | None = None
    since: int | None = None
    after: str | None = None
    limit: int = 20


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries of one tenant, and whether there are more."""

    deliveries: list[Delivery]
    has_more: bool


class Redelivery(msgspec.Struct, frozen=True, kw_only=True):
    """Which deliveries to send again, of those that have failed or wait to be tried again: of one endpoint, or with
    None of all webhook_urls and endpoints."""

    endpoint_id: str | None = None
    since: int
    until: int | None = None
    delivered_too: bool = False
    """Also those that had arrived."""


class Strangers:
    """Hands for receivers that have not proven themselves (`Receiver.is_proven`): `most` at once, and no tenant has
    more than `each`, so that one who names many dead ones leaves some to the others."""

    def __init__(self, most: int, each: int) -> None:
        self._left = most
        self._each = each
        self._held = Counter[str]()

    def take(self, tenant: str) -> bool:
        """Take a hand if there is one for this tenant."""
        if self._left <= 0 or self._held[tenant] >= self._each:
            return False
        self._left -= 1
        self._held[tenant] += 1
        return True

    def give_back(self, tenant: str) -> None:
        self._left += 1
        self._held[tenant] -= 1
        self._held += Counter[str]()  # Forgets who has none.

    def copy(self) -> "Strangers":
        copied = Strangers(self._left, self._each)
        copied._held.update(self._held)
        return copied


class DeliveryLease(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery that this process may send, until the lease lapses."""

    fence: Fence
    """The delivery's id, and the number of this claim."""
    delivery: Delivery
    signature: Signature = "v1"
    stranger: bool = False
    """Whether its receiver has not proven itself (`Receiver.is_proven`)."""
    key: SigningKey | None = None
    """None: the tenant never had a secret for its webhook_urls."""


class ClaimedDeliveries(msgspec.Struct, frozen=True):
    """What a claim got, and whether it would be worth claiming again at once."""

    leases: list[DeliveryLease]
    more: bool = False


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """How one attempt to deliver went, written under its fence."""

    fence: Fence
    status: DeliveryStatus
    """PENDING: to be tried again at `due_at`."""
    due_at: int | None = None
    attempt: DeliveryAttempt
    blame: bool = True
    """Whether a failure counts against the receiver; False when it was ours."""
    pause_until: int | None = None
    """Until when the receiver asked to be left alone altogether (Retry-After)."""
    gone: bool = False
    """410: its endpoint is to be disabled."""


class FinishedDeliveries(msgspec.Struct, frozen=True):
    """What came of noting how attempts went."""

    lost: list[Fence]
    disabled: list[Endpoint]
    """Endpoints that this has disabled, each told of by an event."""


class Receiver(msgspec.Struct, frozen=True):
    """What is known of where deliveries go: an endpoint, or one host that a tenant names in webhook_urls.

    It has a breaker: after BREAK_AFTER failures in a row it is left alone for a while, then tried with one delivery,
    and for twice as long after each further failure. While nothing is known of it, it is given few deliveries at once.
    """

    failures: int = 0
    failing_since: int | None = None
    open_until: int | None = None
    """Until when it is left alone: its breaker is open, or, with fewer failures than that takes, it asked for it."""
    places: int = 2
    """How many deliveries it may have at once."""
    slow: bool = False
    """Whether it took its time for the last attempt."""

    BREAK_AFTER = 5
    FIRST_PAUSE = 30 * SECOND
    LONGEST_PAUSE = 30 * MINUTE
    """Also of those that it may ask for."""

    @property
    def room(self) -> int:
        """How many deliveries it may have at once just now."""
        return 1 if self.failures >= self.BREAK_AFTER else self.places

    def is_proven(self, most: int) -> bool:
        """Whether attempts have arrived and the last one did so soon: as far as one can know, it will not hold what it
        is given until the time is up."""
        return self.failures == 0 and self.places >= min(3, most) and not self.slow

    def is_open(self, now: int) -> bool:
        """Whether it is left alone just now."""
        return self.open_until is not None and self.open_until > now

    def after(self, sent: Sent, *, now: int, most: int) -> "Receiver":
        """What is known of it after one more attempt; it never has more than `most` places."""
        if not sent.blame:
            return self
        slow = sent.attempt.ended_at - sent.attempt.started_at >= SLOW
        if sent.status is DeliveryStatus.DELIVERED:
            # What arrives ends a pause that its failures brought about, not one that it asked for.
            asked_for = self.is_open(now) and self.failures < self.BREAK_AFTER
            return Receiver(
                places=min(most, self.places * 2), open_until=self.open_until if asked_for else None, slow=slow
            )
        waits = [] if sent.pause_until is None else [min(sent.pause_until, now + self.LONGEST_PAUSE)]
        if self.open_until is not None and self.is_open(now):
            # It was on its way when the others failed, and says nothing that they have not.
            return replace(self, open_until=max([self.open_until, *waits]), slow=slow)
        failures = self.failures + 1
        if failures >= self.BREAK_AFTER:
            doublings = min(failures - self.BREAK_AFTER, 16)
            waits.append(now + min(self.LONGEST_PAUSE, self.FIRST_PAUSE << doublings))
        return Receiver(
            failures,
            now if self.failing_since is None else self.failing_since,
            max(waits, default=None),
            max(1, self.places // 2),
            slow,
        )

    def is_dead(self, now: int, *, disable_after: int) -> bool:
        """Whether it has failed for so long that nothing more should be sent."""
        if self.failing_since is None or self.failures < self.BREAK_AFTER:
            return False
        return now - self.failing_since >= disable_after


def next_attempt(attempt: int, now: int, *, stretch: float) -> int | None:
    """When to try again after the attempt of this number failed, None when that was the last; `stretch` is from 0 to
    1."""
    if attempt >= len(DELAYS):
        return None
    return now + round(DELAYS[attempt] * (1 + JITTER * stretch))

"""What the server shows of endpoints, deliveries and secrets. Times are Unix seconds."""

from typing import Literal

from openai import BaseModel
from openai.types.webhooks import WebhookEndpoint as OpenAIWebhookEndpoint
from pydantic import Field

Signature = Literal["v1", "v1a"]
DeliveryStatus = Literal["pending", "delivered", "failed"]


class EndpointExtras(BaseModel):
    """What Raincheck tells of an endpoint beyond OpenAI."""

    status: Literal["enabled", "failing", "disabled"] = "enabled"
    disabled_at: float | None = None
    disabled_reason: str | None = None
    """None where its owner disabled it."""
    failures: int = 0
    """Attempts in a row that failed."""
    failing_since: float | None = None
    next_try_at: float | None = None
    """While it is left alone because it keeps failing: until when."""
    include_result: bool = False
    signature: Signature = "v1"


class WebhookEndpoint(OpenAIWebhookEndpoint):
    """openai's endpoint, and how it fares."""

    signing_secret: str | None = Field(default=None, repr=False)
    """What its deliveries are verified with: told once, when it is made or rotated. Of v1a the public `whpk_` key."""
    raincheck: EndpointExtras | None = None

    @property
    def status(self) -> Literal["enabled", "failing", "disabled"]:
        return self.extras.status

    @property
    def enabled(self) -> bool:
        return self.status != "disabled"

    @property
    def extras(self) -> EndpointExtras:
        return self.raincheck or EndpointExtras()


class WebhookSecret(BaseModel):
    """What the deliveries to a `webhook_url` are signed with."""

    object: str = "webhook_secret"
    signing_secret: str = Field(repr=False)
    signing_secret_hint: str | None = None
    created_at: float | None = None
    previous_active_until: float | None = None
    """Until when the secret before signs as well."""


class DeliveryAttempt(BaseModel):
    """One try."""

    number: int
    started_at: float | None = None
    duration_ms: float | None = None
    status_code: int | None = None
    error_code: str | None = None
    """A word for programs: `timeout`, `status`, `refused_address`, …; None when it was delivered."""
    error: str | None = None
    response: str | None = None
    """The beginning of what the receiver answered."""


class ReceiverState(BaseModel):
    """How the receiver of a delivery has been doing, whatever was to be delivered there."""

    failures: int = 0
    """Attempts in a row that failed."""
    next_try_at: float | None = None
    """Set while it is left alone because of that, or because it asked for it."""


class WebhookDelivery(BaseModel):
    """One event on its way to one receiver. In lists `attempts` is left out: `retrieve` has them."""

    id: str
    object: str = "webhook_delivery"
    event_id: str
    """The `webhook-id`: the same at every attempt and in every redelivery."""
    event_type: str
    object_id: str
    """What it is about."""
    endpoint_id: str | None = None
    """None: it goes to the `webhook_url` of what it is about."""
    url: str
    status: DeliveryStatus = "pending"
    attempt: int = 0
    """Attempts so far."""
    test: bool = False
    """A sample that was asked for; redelivering all leaves it out."""
    created_at: float | None = None
    next_attempt_at: float | None = None
    sending: bool = False
    ended_at: float | None = None
    status_code: int | None = None
    """What the receiver answered last."""
    error: str | None = None
    """Why the last attempt failed."""
    receiver: ReceiverState = ReceiverState()
    attempts: list[DeliveryAttempt] | None = None


class Redelivery(BaseModel):
    """How many deliveries are sent again."""

    object: str = "webhook_redelivery"
    count: int = 0

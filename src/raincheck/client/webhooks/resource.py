"""`client.webhooks`: openai's own calls, the delivery log, the tenant's secret, verifying, and a receiver for tests."""

from collections.abc import Callable, Container, Sequence
from functools import cached_property
from time import monotonic
from typing import Any, overload

from openai import Omit, omit
from openai.resources.webhooks import AsyncEventTypes, AsyncWebhooks, EventTypes, Webhooks
from openai.types.webhooks import WebhookEndpointWithSecret

from raincheck.client.twins import share_docs
from raincheck.client.webhooks.deliveries import AsyncDeliveries, Deliveries
from raincheck.client.webhooks.endpoints import ENDS, ONCE, AsyncEndpoints, Endpoints
from raincheck.client.webhooks.listening import AsyncListener, Listener, Listening
from raincheck.client.webhooks.models import WebhookSecret
from raincheck.client.webhooks.receiving import Answering
from raincheck.webhooks import TOLERANCE, Event, Headers, WrongSignature, verify

REFETCHED_AFTER = 60.0
"""Seconds for which a secret that was fetched is relied on, although a signature does not fit. Whoever sends rubbish
cannot make us ask more often."""


class RaincheckWebhooks(Webhooks):
    """Everything openai's `webhooks` has, and `endpoints`, `deliveries`, `secret`, `verify` and `listen`."""

    _fetched: tuple[str, float] | None = None

    @cached_property
    def endpoints(self) -> Endpoints:
        return Endpoints(self._client)

    @cached_property
    def deliveries(self) -> Deliveries:
        return Deliveries(self._client)

    @cached_property
    def event_types(self) -> "NamedEventTypes":  # pyright: ignore[reportIncompatibleMethodOverride]
        return NamedEventTypes(self._client)

    def secret(self) -> WebhookSecret:
        """What the deliveries to a `webhook_url` are signed with, one secret for all of a tenant. Made when it is first
        asked for."""
        return self._client.get("/webhook_secret", cast_to=WebhookSecret)

    @overload
    def rotate_secret(
        self,
        webhook_endpoint_id: str,
        *,
        keep_old_secret_active_for_24_hours: bool | Omit = omit,
        **options: Any,
    ) -> WebhookEndpointWithSecret: ...
    @overload
    def rotate_secret(self, *, keep_old_secret_active_for_24_hours: bool | Omit = omit) -> WebhookSecret: ...
    def rotate_secret(
        self,
        webhook_endpoint_id: str | Omit = omit,
        *,
        keep_old_secret_active_for_24_hours: bool | Omit = omit,
        **options: Any,
    ) -> WebhookEndpointWithSecret | WebhookSecret:
        """Replace the tenant's secret, and return the new one. Deliveries are signed with both for a day, unless
        `keep_old_secret_active_for_24_hours` is False. With the id of an endpoint this is openai's call, for the secret
        of that one, and the old one is void at once unless it is True."""
        kept = keep_old_secret_active_for_24_hours
        if not isinstance(webhook_endpoint_id, Omit):
            return super().rotate_secret(webhook_endpoint_id, keep_old_secret_active_for_24_hours=kept, **options)
        body = _rotation(kept)
        return self._client.post("/webhook_secret/rotate", body=body, cast_to=WebhookSecret, options=ONCE)

    def verify(
        self,
        payload: bytes | str,
        headers: Headers,
        secret: str | Sequence[str] | None = None,
        *,
        tolerance: float = TOLERANCE,
        seen: Callable[[str], bool] | Container[str] | None = None,
    ) -> Event:
        """`raincheck.webhooks.verify`. Without `secret` it is the client's `webhook_secret` (RAINCHECK_WEBHOOK_SECRET),
        else the tenant's own, fetched once and again after a rotation; that takes a key that may write. Deliveries to
        an endpoint are signed with the endpoint's, which has to be given."""
        known = secret or self._client.webhook_secret or self._known()
        try:
            return verify(payload, headers, known, tolerance=tolerance, seen=seen)
        except WrongSignature:
            if self._fetched is None or known != self._fetched[0] or not _is_old(self._fetched[1]):
                raise
        return verify(payload, headers, self._fetch(), tolerance=tolerance, seen=seen)

    def listen(
        self,
        *,
        register: bool = False,
        event_types: Sequence[str] = ENDS,
        include_result: bool = False,
        answer: Answering = 204,
        secret: str | Sequence[str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        url: str | None = None,
    ) -> Listener:
        """A receiver of webhooks for tests, for the length of a `with`:

            with client.webhooks.listen() as hook:
                client.videos.generate(prompt="rain", webhook_url=hook.url)
                event = hook.wait("video.completed", timeout=60)

        It verifies what comes, with `secret` or the tenant's own, and keeps it: `hook.received`, `hook.rejected`. With
        `register` it is also an endpoint for `event_types` (all ends), which is deleted at the end. `answer` is a
        status, or a function of each delivery that returns one: to see your own retries, or to pass it on.

        It listens on `host` and `port` (0: a free one); `url` says how the server reaches it, where that is otherwise.
        The server must be allowed to call it: start it with RAINCHECK_WEBHOOKS_ALLOW=127.0.0.1. Raises
        `ListenerRefused` when registering shows that it is not.
        """
        wish = Listening(register, event_types, include_result, answer, secret, host, port, url)
        return Listener(self._client, wish)

    def _known(self) -> str:
        return self._fetch() if self._fetched is None else self._fetched[0]

    def _fetch(self) -> str:
        secret = self.secret().signing_secret
        self._fetched = secret, monotonic()
        return secret


class AsyncRaincheckWebhooks(AsyncWebhooks):
    _fetched: tuple[str, float] | None = None

    @cached_property
    def endpoints(self) -> AsyncEndpoints:
        return AsyncEndpoints(self._client)

    @cached_property
    def deliveries(self) -> AsyncDeliveries:
        return AsyncDeliveries(self._client)

    @cached_property
    def event_types(self) -> "AsyncNamedEventTypes":  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncNamedEventTypes(self._client)

    async def secret(self) -> WebhookSecret:
        return await self._client.get("/webhook_secret", cast_to=WebhookSecret)

    @overload
    async def rotate_secret(
        self,
        webhook_endpoint_id: str,
        *,
        keep_old_secret_active_for_24_hours: bool | Omit = omit,
        **options: Any,
    ) -> WebhookEndpointWithSecret: ...
    @overload
    async def rotate_secret(self, *, keep_old_secret_active_for_24_hours: bool | Omit = omit) -> WebhookSecret: ...
    async def rotate_secret(
        self,
        webhook_endpoint_id: str | Omit = omit,
        *,
        keep_old_secret_active_for_24_hours: bool | Omit = omit,
        **options: Any,
    ) -> WebhookEndpointWithSecret | WebhookSecret:
        kept = keep_old_secret_active_for_24_hours
        if not isinstance(webhook_endpoint_id, Omit):
            return await super().rotate_secret(webhook_endpoint_id, keep_old_secret_active_for_24_hours=kept, **options)
        body = _rotation(kept)
        return await self._client.post("/webhook_secret/rotate", body=body, cast_to=WebhookSecret, options=ONCE)

    async def verify(
        self,
        payload: bytes | str,
        headers: Headers,
        secret: str | Sequence[str] | None = None,
        *,
        tolerance: float = TOLERANCE,
        seen: Callable[[str], bool] | Container[str] | None = None,
    ) -> Event:
        known = secret or self._client.webhook_secret or await self._known()
        try:
            return verify(payload, headers, known, tolerance=tolerance, seen=seen)
        except WrongSignature:
            if self._fetched is None or known != self._fetched[0] or not _is_old(self._fetched[1]):
                raise
        return verify(payload, headers, await self._fetch(), tolerance=tolerance, seen=seen)

    def listen(
        self,
        *,
        register: bool = False,
        event_types: Sequence[str] = ENDS,
        include_result: bool = False,
        answer: Answering = 204,
        secret: str | Sequence[str] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        url: str | None = None,
    ) -> AsyncListener:
        wish = Listening(register, event_types, include_result, answer, secret, host, port, url)
        return AsyncListener(self._client, wish)

    async def _known(self) -> str:
        return await self._fetch() if self._fetched is None else self._fetched[0]

    async def _fetch(self) -> str:
        secret = (await self.secret()).signing_secret
        self._fetched = secret, monotonic()
        return secret


share_docs(RaincheckWebhooks, AsyncRaincheckWebhooks)


class NamedEventTypes(EventTypes):
    """openai's `event_types.list()`, and `event_types()` for the bare names."""

    def __call__(self) -> list[str]:
        return self.list().data


class AsyncNamedEventTypes(AsyncEventTypes):
    async def __call__(self) -> list[str]:
        return (await self.list()).data


def _is_old(fetched_at: float) -> bool:
    return monotonic() - fetched_at >= REFETCHED_AFTER


def _rotation(kept: bool | Omit) -> dict[str, bool]:
    return {"keep_old_secret_active_for_24_hours": True if isinstance(kept, Omit) else kept}

"""`client.webhooks.endpoints`: where a tenant wants to be told of events."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from openai import AsyncOpenAI, OpenAI, RequestOptions
from openai._base_client import AsyncPaginator
from openai.pagination import AsyncCursorPage, SyncCursorPage
from openai.types.webhooks import DeletedWebhookEndpoint, WebhookEndpointTestResult

from raincheck.client.dialect import endpoint_path
from raincheck.client.twins import share_docs
from raincheck.client.webhooks.models import Signature, WebhookEndpoint

ENDS = ("*",)
"""Every end, of whatever kind."""
ONCE: RequestOptions = {"max_retries": 0}
"""Done twice, this would make a second endpoint, forget a secret that is in use, or send a second test."""


class Endpoints:
    """Where a tenant wants to be told of events. openai's own calls on `client.webhooks` work on the same ones."""

    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def create(
        self,
        url: str,
        *,
        event_types: Sequence[str] = ENDS,
        name: str | None = None,
        include_result: bool = False,
        signature: Signature = "v1",
    ) -> WebhookEndpoint:
        """Be told at `url` of these events; of all ends, when none are named. `signing_secret` of what is returned is
        shown this once: keep it, its deliveries are verified with it.

        `include_result` sends the result along, up to a size that the server sets. `signature="v1a"` signs with a key
        pair, and what is shown is its public `whpk_` key. Raises openai's BadRequestError for a URL that nothing may be
        sent to (`code` is `webhook_refused`).
        """
        body = _new(url, event_types, name, include_result, signature)
        return self._client.post("/webhook_endpoints", body=body, cast_to=WebhookEndpoint, options=ONCE)

    def retrieve(self, endpoint_id: str) -> WebhookEndpoint:
        """The endpoint and how it fares, without its secret. Raises openai's NotFoundError for an unknown id."""
        return self._client.get(endpoint_path(endpoint_id), cast_to=WebhookEndpoint)

    def update(
        self,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        include_result: bool | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        """Change what is given."""
        body = _changes(name, url, event_types, include_result, enabled)
        return self._client.post(endpoint_path(endpoint_id), body=body, cast_to=WebhookEndpoint)

    def list(
        self, *, after: str | None = None, limit: int | None = None, order: Literal["asc", "desc"] | None = None
    ) -> SyncCursorPage[WebhookEndpoint]:
        """Endpoints, newest first unless said otherwise; iterating fetches page after page, of `limit` each."""
        page = SyncCursorPage[WebhookEndpoint]
        return self._client.get_api_list(
            "/webhook_endpoints",
            model=WebhookEndpoint,
            page=page,
            options=_query(after=after, limit=limit, order=order),
        )

    def delete(self, endpoint_id: str) -> DeletedWebhookEndpoint:
        """Forget it, and what was still to be sent there."""
        return self._client.delete(endpoint_path(endpoint_id), cast_to=DeletedWebhookEndpoint)

    def enable(self, endpoint_id: str) -> WebhookEndpoint:
        """Send to it again, what has waited meanwhile included."""
        return self.update(endpoint_id, enabled=True)

    def disable(self, endpoint_id: str) -> WebhookEndpoint:
        """Send nothing for now; what happens meanwhile waits."""
        return self.update(endpoint_id, enabled=False)

    def rotate_secret(self, endpoint_id: str, *, keep_old_secret_active_for_24_hours: bool = True) -> WebhookEndpoint:
        """Give it a new secret, shown once in what is returned. Deliveries are signed with both for a day, so that
        nothing fails while the receiver changes over, unless the old one shall be void at once."""
        path, body = (
            endpoint_path(endpoint_id, "/rotate_secret"),
            {"keep_old_secret_active_for_24_hours": keep_old_secret_active_for_24_hours},
        )
        return self._client.post(path, body=body, cast_to=WebhookEndpoint, options=ONCE)

    def test(self, endpoint_id: str, *, event_type: str = "chat.completion.completed") -> WebhookEndpointTestResult:
        """Send a made-up event at once and return what was answered, in `status_code`. Raises openai's
        InternalServerError, with `code` `webhook_unreachable` and the reason, when nothing was."""
        path = endpoint_path(endpoint_id, "/test")
        return self._client.post(path, body={"event_type": event_type}, cast_to=WebhookEndpointTestResult, options=ONCE)


class AsyncEndpoints:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    async def create(
        self,
        url: str,
        *,
        event_types: Sequence[str] = ENDS,
        name: str | None = None,
        include_result: bool = False,
        signature: Signature = "v1",
    ) -> WebhookEndpoint:
        body = _new(url, event_types, name, include_result, signature)
        return await self._client.post("/webhook_endpoints", body=body, cast_to=WebhookEndpoint, options=ONCE)

    async def retrieve(self, endpoint_id: str) -> WebhookEndpoint:
        return await self._client.get(endpoint_path(endpoint_id), cast_to=WebhookEndpoint)

    async def update(
        self,
        endpoint_id: str,
        *,
        name: str | None = None,
        url: str | None = None,
        event_types: Sequence[str] | None = None,
        include_result: bool | None = None,
        enabled: bool | None = None,
    ) -> WebhookEndpoint:
        body = _changes(name, url, event_types, include_result, enabled)
        return await self._client.post(endpoint_path(endpoint_id), body=body, cast_to=WebhookEndpoint)

    def list(
        self, *, after: str | None = None, limit: int | None = None, order: Literal["asc", "desc"] | None = None
    ) -> AsyncPaginator[WebhookEndpoint, AsyncCursorPage[WebhookEndpoint]]:
        page = AsyncCursorPage[WebhookEndpoint]
        return self._client.get_api_list(
            "/webhook_endpoints",
            model=WebhookEndpoint,
            page=page,
            options=_query(after=after, limit=limit, order=order),
        )

    async def delete(self, endpoint_id: str) -> DeletedWebhookEndpoint:
        return await self._client.delete(endpoint_path(endpoint_id), cast_to=DeletedWebhookEndpoint)

    async def enable(self, endpoint_id: str) -> WebhookEndpoint:
        return await self.update(endpoint_id, enabled=True)

    async def disable(self, endpoint_id: str) -> WebhookEndpoint:
        return await self.update(endpoint_id, enabled=False)

    async def rotate_secret(
        self, endpoint_id: str, *, keep_old_secret_active_for_24_hours: bool = True
    ) -> WebhookEndpoint:
        path, body = (
            endpoint_path(endpoint_id, "/rotate_secret"),
            {"keep_old_secret_active_for_24_hours": keep_old_secret_active_for_24_hours},
        )
        return await self._client.post(path, body=body, cast_to=WebhookEndpoint, options=ONCE)

    async def test(
        self, endpoint_id: str, *, event_type: str = "chat.completion.completed"
    ) -> WebhookEndpointTestResult:
        path = endpoint_path(endpoint_id, "/test")
        return await self._client.post(
            path, body={"event_type": event_type}, cast_to=WebhookEndpointTestResult, options=ONCE
        )


share_docs(Endpoints, AsyncEndpoints)


def _new(
    url: str, event_types: Sequence[str], name: str | None, include_result: bool, signature: Signature
) -> dict[str, object]:
    extras = {"include_result": include_result, "signature": signature}
    named = name or urlsplit(url).hostname or "endpoint"
    return {"name": named, "url": url, "event_types": list(event_types), "raincheck": extras}


def _changes(
    name: str | None,
    url: str | None,
    event_types: Sequence[str] | None,
    include_result: bool | None,
    enabled: bool | None,
) -> dict[str, object]:
    types = None if event_types is None else [*event_types]
    extras = given(include_result=include_result, enabled=enabled)
    return given(name=name, url=url, event_types=types, raincheck=extras or None)


def given(**members: object) -> dict[str, Any]:
    """Of these what is not None."""
    return {name: value for name, value in members.items() if value is not None}


def _query(**members: object) -> RequestOptions:
    query: Mapping[str, object] = given(**members)
    return {"params": query}

"""`client.webhooks.deliveries`: what became of telling, and telling again."""

from datetime import datetime
from typing import TypedDict, Unpack

from openai import AsyncOpenAI, OpenAI, RequestOptions
from openai._base_client import AsyncPaginator
from openai.pagination import AsyncCursorPage, SyncCursorPage

from raincheck.client.dialect import delivery_path
from raincheck.client.submitting import plain
from raincheck.client.twins import share_docs
from raincheck.client.webhooks.endpoints import given
from raincheck.client.webhooks.models import DeliveryStatus, Redelivery, WebhookDelivery


class DeliveryFilters(TypedDict, total=False):
    """Which deliveries to list: those that fit all that is given."""

    endpoint_id: str | None
    object_id: str | None
    """What they are about: a request, a batch, an endpoint."""
    status: DeliveryStatus | None
    since: float | datetime | None
    """Unix seconds, or a datetime."""
    after: str | None
    """The id to go on from."""
    limit: int | None
    """How many to fetch at a time; iterating goes on to the end."""


class Deliveries:
    """The delivery log. The server keeps what has ended for a week, unless it is set otherwise."""

    def __init__(self, client: OpenAI) -> None:
        self._client = client

    def list(self, **filters: Unpack[DeliveryFilters]) -> SyncCursorPage[WebhookDelivery]:
        """Deliveries that fit all the filters, newest first; iterating fetches page after page, of `limit` each."""
        page = SyncCursorPage[WebhookDelivery]
        return self._client.get_api_list(
            "/webhook_deliveries", model=WebhookDelivery, page=page, options=_query(filters)
        )

    def retrieve(self, delivery_id: str) -> WebhookDelivery:
        """One delivery with its `attempts`: when, how long, what was answered. Raises openai's NotFoundError."""
        return self._client.get(delivery_path(delivery_id), cast_to=WebhookDelivery)

    def redeliver(self, delivery_id: str) -> WebhookDelivery:
        """Send it again, at once and then as any other, under the same event id. It may have arrived before."""
        return self._client.post(delivery_path(delivery_id, "/redeliver"), cast_to=WebhookDelivery)

    def redeliver_since(
        self,
        since: float | datetime,
        *,
        until: float | datetime | None = None,
        endpoint_id: str | None = None,
        delivered_too: bool = False,
    ) -> int:
        """Send again what failed since then, to one endpoint or to every receiver, and return how many that are. With
        `delivered_too` also what had arrived: for a receiver that lost what it got."""
        body = _again(since, until, endpoint_id, delivered_too=delivered_too)
        return self._client.post("/webhook_deliveries/redeliver", body=body, cast_to=Redelivery).count


class AsyncDeliveries:
    def __init__(self, client: AsyncOpenAI) -> None:
        self._client = client

    def list(
        self, **filters: Unpack[DeliveryFilters]
    ) -> AsyncPaginator[WebhookDelivery, AsyncCursorPage[WebhookDelivery]]:
        page = AsyncCursorPage[WebhookDelivery]
        return self._client.get_api_list(
            "/webhook_deliveries", model=WebhookDelivery, page=page, options=_query(filters)
        )

    async def retrieve(self, delivery_id: str) -> WebhookDelivery:
        return await self._client.get(delivery_path(delivery_id), cast_to=WebhookDelivery)

    async def redeliver(self, delivery_id: str) -> WebhookDelivery:
        return await self._client.post(delivery_path(delivery_id, "/redeliver"), cast_to=WebhookDelivery)

    async def redeliver_since(
        self,
        since: float | datetime,
        *,
        until: float | datetime | None = None,
        endpoint_id: str | None = None,
        delivered_too: bool = False,
    ) -> int:
        body = _again(since, until, endpoint_id, delivered_too=delivered_too)
        return (await self._client.post("/webhook_deliveries/redeliver", body=body, cast_to=Redelivery)).count


share_docs(Deliveries, AsyncDeliveries)


def _again(
    since: float | datetime, until: float | datetime | None, endpoint_id: str | None, *, delivered_too: bool
) -> dict[str, object]:
    times = given(since=plain(since), until=plain(until))
    return times | given(endpoint_id=endpoint_id, delivered_too=delivered_too or None)


def _query(filters: DeliveryFilters) -> RequestOptions:
    return {"params": {name: plain(value) for name, value in filters.items() if value is not None}}

"""What tests of webhooks with unmodified clients share: a server that may send to this machine, endpoints and secrets,
and two libraries of others that have to agree on every delivery."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.http.videos import making_videos
from tests.receivers import Delivered
from tests.server import Json, Running

UNWRAPPING = OpenAI(api_key="none", base_url="http://127.0.0.1:9")
"""Never calls anyone."""
KEEP: Json = {"keep_old_secret_active_for_24_hours": True}
DROP: Json = {"keep_old_secret_active_for_24_hours": False}


@asynccontextmanager
async def telling(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    """With text, videos and batches behind it."""
    async with making_videos(folder, webhook_hosts=("127.0.0.1",), **settings) as server:
        yield server


async def an_endpoint(server: Running, url: str, *types: str, **options: Any) -> Json:
    """A new endpoint, with its secret."""
    asked: Json = {"name": "mine", "url": url, "event_types": list(types or ("*",))}
    reply = await server.post("/v1/webhook_endpoints", asked | ({"raincheck": options} if options else {}))
    assert reply.status == 200, reply.body
    return reply.json


async def the_secret(server: Running) -> str:
    """What deliveries to webhook_urls are signed with."""
    reply = await server.get("/v1/webhook_secret")
    assert reply.status == 200, reply.body
    return reply.json["signing_secret"]


async def rotated(server: Running, endpoint_id: str | None, how: Json) -> str:
    """The new secret, of an endpoint, or with None that of the webhook_urls."""
    path = "/v1/webhook_secret/rotate" if endpoint_id is None else f"/v1/webhook_endpoints/{endpoint_id}/rotate_secret"
    reply = await server.post(path, how)
    assert reply.status == 200, reply.body
    return reply.json["signing_secret"]


def unwrapped(delivered: Delivered, secret: str) -> Any:
    """The event as the openai client types it, after both libraries have verified the delivery."""
    assert Webhook(secret).verify(delivered.body, delivered.headers) == delivered.json
    return UNWRAPPING.webhooks.unwrap(delivered.body, delivered.headers, secret=secret)


def refused(delivered: Delivered, secret: str, *, body: bytes | None = None, **headers: str) -> None:
    """Both libraries refuse it."""
    changed = delivered.headers | {name.replace("_", "-"): value for name, value in headers.items()}
    text = delivered.body if body is None else body
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(text, changed)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        UNWRAPPING.webhooks.unwrap(text, changed, secret=secret)

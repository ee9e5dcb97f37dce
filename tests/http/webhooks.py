"""A server that may send to this machine, and what tests ask of its webhooks."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.server import Json, Reply, Running, running_server

ENDPOINTS = "/v1/webhook_endpoints"
DELIVERIES = "/v1/webhook_deliveries"
SECRET = "/v1/webhook_secret"
TYPES = ["batch.completed", "chat.completion.completed"]
FAR = "https://hooks.invalid/hook"
"""Leads nowhere, whoever looks."""


@asynccontextmanager
async def sending(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    """A server whose webhooks may go to 127.0.0.1, by plain http."""
    async with running_server(folder, webhook_hosts=("127.0.0.1",), **settings) as server:
        yield server


async def register(server: Running, url: str = FAR, *, key: str | None = None, **members: Any) -> Json:
    """A new endpoint, with its secret."""
    body = {"name": "mine", "url": url, "event_types": TYPES} | members
    reply = await server.post(ENDPOINTS, body, **bearer(key))
    assert reply.status == 200, reply.body
    return reply.json


async def delete(server: Running, path: str, **headers: str) -> Reply:
    return await server.call("DELETE", path, None, headers)


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"authorization": f"Bearer {key}"}

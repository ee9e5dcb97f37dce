"""/health and /metrics: for those who watch the server."""

import asyncio

import msgspec
from litestar import get

from raincheck.core.clock import seconds
from raincheck.core.errors import StoreUnavailable
from raincheck.http.answer import Answer
from raincheck.http.auth import caller
from raincheck.http.edge import Call, Edge, edge_of
from raincheck.http.openapi import LIVE, METRICS, READY
from raincheck.upstream.catalogue import Member

CHECKED_WITHIN = 2.0
"""Seconds: those who ask give up after a few, and would take the silence for a server that is gone."""
TAGS = ["Health"]
PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"


@get("/health/live", operation_class=LIVE, tags=TAGS)
async def live() -> Answer:
    return Answer(b'{"status":"ok"}')


@get("/health/ready", operation_class=READY, tags=TAGS)
async def ready(request: Call) -> Answer:
    """503 when nothing can be accepted. An upstream that is down does not matter: requests wait for it."""
    edge = edge_of(request)
    store = await _store(edge)
    able = store == "ok" and not edge.stopping()
    status = "ok" if able else "stopping" if edge.stopping() else "unavailable"
    upstreams = [_upstream(member) for member in edge.catalogue.members]
    body = msgspec.json.encode({"status": status, "store": store, "upstreams": upstreams})
    return Answer(body, 200 if able else 503)


@get("/metrics", operation_class=METRICS, tags=TAGS)
async def metrics(request: Call) -> Answer:
    await caller(request, "read")
    return Answer(edge_of(request).metrics(), content_type=PROMETHEUS)


async def _store(edge: Edge) -> str:
    try:
        async with asyncio.timeout(CHECKED_WITHIN):
            await edge.store.upkeep.check()
    except StoreUnavailable as error:
        return error.message
    except TimeoutError:
        return f"The store has not answered within {CHECKED_WITHIN:g} seconds."
    return "ok"


def _upstream(member: Member) -> dict[str, object]:
    return {
        "name": member.name,
        "up": member.down_since is None,
        "models": sorted(member.models()),
        "down_since": None if member.down_since is None else seconds(member.down_since),
        "reason": member.down_reason,
    }

"""A whole Raincheck on a free port with a scripted upstream behind it: real store, real engine, real sockets."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, cast

import aiohttp
import msgspec
from litestar import Litestar
from uvicorn.server import ServerState

from raincheck.app import App, Role, running
from raincheck.core.clock import now
from raincheck.core.ids import new_id
from raincheck.core.model import ApiKey, Tenant
from raincheck.core.settings import Settings, UpstreamSettings
from raincheck.http.app import create_app
from raincheck.http.edge import Edge, Limits
from raincheck.http.server import serve_config
from tests.scripted import ScriptedUpstream

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Json:
        return msgspec.json.decode(self.body)

    @property
    def error(self) -> Json:
        return self.json["error"]


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens, and what a test needs to talk to it."""

    app: App
    edge: Edge
    upstream: ScriptedUpstream
    port: int
    session: aiohttp.ClientSession = field(repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What an OpenAI client is given."""
        return f"{self.url}/v1"

    async def get(self, path: str, **headers: str) -> Reply:
        return await self.call("GET", path, None, headers)

    async def post(self, path: str, body: object = None, **headers: str) -> Reply:
        """POST a JSON body, or bytes as they are; header names with `_` for `-`."""
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self.call("POST", path, data, headers)

    async def call(
        self, method: str, path: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        named = {"content-type": "application/json"} if data is not None else {}
        named |= {name.replace("_", "-"): value for name, value in (headers or {}).items()}
        async with self.session.request(method, self.url + path, data=data, headers=named) as response:
            body = await response.read()
            return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    async def defer(self, **changes: Any) -> str:
        """The id of a deferred chat request."""
        reply = await self.post("/v1/chat/completions", a_chat(deferred=True, **changes))
        assert reply.status == 200, reply.body
        return reply.json["id"]

    async def ended(self, request_id: str, **headers: str) -> Json:
        """The request, once it has ended."""
        reply = await self.get(f"/v1/requests/{request_id}?wait=10", **headers)
        assert reply.json["ended_at"] is not None, reply.body
        return reply.json

    async def key(self, tenant: str = "t", *scopes: str) -> str:
        """A new API key's secret."""
        secret = f"rc_{token_urlsafe(32)}"
        key = ApiKey(
            id=new_id("key"),
            tenant=tenant,
            name="test",
            hint=secret[:8],
            scopes=frozenset(scopes or ("read", "write")),
            created_at=now(),
        )
        await self.edge.store.registry.add_key(key, sha256(secret.encode()).digest())
        return secret

    async def tenant(self, name: str, **caps: Any) -> None:
        await self.edge.store.registry.put_tenant(Tenant(name, **caps))

    async def raw(self, data: bytes, *, until: bytes | None = None) -> bytes:
        """What comes back for bytes on a connection of their own, up to its end or to `until`."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(10):
                return await (reader.read() if until is None else reader.readuntil(until))
        finally:
            writer.close()


@asynccontextmanager
async def running_server(
    folder: Path,
    *,
    models: Sequence[str] = ("m",),
    places: int = 4,
    limits: Limits | None = None,
    role: Role = Role.SERVER,
    beside: Sequence[UpstreamSettings] = (),
    create: Callable[[Edge], Litestar] = create_app,
    change: Callable[[Edge], Edge] = lambda edge: edge,
    **settings: Any,
) -> AsyncGenerator[Running]:
    """Start everything in `folder`; `settings` are fields of Settings, `change` has the last word on the edge.

    `beside`: upstreams beside the scripted one.
    """
    async with ScriptedUpstream(models) as upstream:
        configured = Settings(
            store_url=f"sqlite:///{folder / 'raincheck.db'}",
            grace=0,
            upstreams=(UpstreamSettings(name="up", base_url=upstream.base_url, max_concurrency=places), *beside),
        )
        async with running(replace(configured, **settings), role) as app:
            edge = change(replace(app.edge, limits=limits or Limits()))
            async with _listening(create(edge), edge) as port, aiohttp.ClientSession() as session:
                yield Running(app, edge, upstream, port, session)


def a_chat(content: str = "Hello", *, model: str = "m", **members: Any) -> Json:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": content}], **members}


@asynccontextmanager
async def _listening(application: Litestar, edge: Edge) -> AsyncGenerator[int]:
    """uvicorn's protocol on a free port, without uvicorn's server around it, which takes 0.2 s to stop."""
    config = serve_config(application, edge.settings, edge.limits)
    config.load()
    state = ServerState()
    make = partial(cast("Any", config.http_protocol_class), config, state, {})
    listener = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield listener.sockets[0].getsockname()[1]
    finally:
        listener.close()
        for task in state.tasks:
            task.cancel()
        for connection in list(state.connections):
            connection.shutdown()
        await asyncio.gather(*state.tasks, return_exceptions=True)

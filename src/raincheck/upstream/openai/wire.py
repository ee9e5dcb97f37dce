"""The HTTP connection to one upstream: bytes out, an aiohttp response back, with one retry on a stale connection."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import lru_cache
from types import SimpleNamespace

import aiohttp
from yarl import URL

from raincheck.core.clock import SECOND
from raincheck.core.errors import BadInput, SettingsInvalid
from raincheck.upstream.openai.veil import Veil

CONNECT_TIMEOUT = 5.0
PROBE_TIMEOUT = 5.0
STAND_IN = 20
"""Keys shorter than this may be a word put where none is needed, such as `lm-studio`, which an answer may well hold."""
_GOODBYE = 0.05
"""Seconds given to a server for the end of its body after the last event, so that the connection can be used again."""


class TooLarge(Exception):
    """A body outgrew its bound."""


class Wire:
    """Calls to one base URL, over TCP or a Unix socket."""

    def __init__(
        self, base_url: str, *, api_key: str | None, silence_timeout: int, unix_socket: str | None, keep_alive: bool
    ) -> None:
        self._base = URL(base_url.rstrip("/"))
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise SettingsInvalid(
                f"base_url must be an http or https URL, as in http://10.0.0.5:8000/v1: {base_url!r}."
            )
        self._key = api_key.encode() if api_key else None
        self._headers = {"Content-Type": "application/json", "User-Agent": "raincheck"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._unix_socket = unix_socket
        self._keep_alive = keep_alive
        self._silence = silence_timeout / SECOND
        self._sessions: tuple[aiohttp.ClientSession, aiohttp.ClientSession] | None = None
        self._url = lru_cache(256)(self._url_of)

    async def open(self) -> None:
        if self._sessions is None:
            fresh = self._session(keep_alive=False)
            self._sessions = (self._session(keep_alive=True) if self._keep_alive else fresh, fresh)

    async def close(self) -> None:
        if self._sessions is not None:
            sessions, self._sessions = self._sessions, None
            for session in sessions:
                await session.close()

    @asynccontextmanager
    async def post(self, path: str, body: bytes) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The response to a POST, once its headers are here; leaving closes the connection unless it was read out.

        Raises aiohttp.ClientError, TimeoutError, and BadInput for a path that leads out of the base URL.
        """
        url = self._url(path)
        pooled, fresh = self._opened()
        trace = SimpleNamespace(reused=False)
        try:
            response = await self._send(pooled, url, body, trace)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, aiohttp.ClientConnectionResetError):
            # An idle connection that the server closed just now looks like this: nothing came back on it, and it was
            # not new. llama.cpp closes after every stream while it advertises keep-alive.
            if not trace.reused:
                raise
            response = await self._send(fresh, url, body, SimpleNamespace())
        try:
            yield response
        finally:
            # Whoever read to the end has given the connection back already; for everyone else this hangs up.
            response.close()

    @asynccontextmanager
    async def get(self, path: str) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The response to a short GET that must be over within PROBE_TIMEOUT."""
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT)
        # Never over an old connection: a new one tells more about the server's health.
        async with self._opened()[1].get(self._url(path), allow_redirects=False, timeout=timeout) as response:
            yield response

    def pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        """The body as it comes, without our key: some quote what they were sent, and no reader may know the key."""
        raw = response.content.iter_any()
        refused = not 200 <= response.status < 300
        if self._key is None or not (refused or len(self._key) >= STAND_IN):
            return raw
        return Veil(self._key).over(raw)

    async def read(self, response: aiohttp.ClientResponse, largest: int) -> bytes:
        """The whole body. Raises TooLarge, aiohttp.ClientError and TimeoutError."""
        pieces: list[bytes] = []
        size = 0
        async for piece in self.pieces(response):
            size += len(piece)
            if size > largest:
                raise TooLarge
            pieces.append(piece)
        return b"".join(pieces)

    async def read_some(self, response: aiohttp.ClientResponse, most: int) -> bytes:
        """The beginning of a body, as much as came: for errors, whose explanation may well be cut off."""
        body = bytearray()
        with suppress(aiohttp.ClientError, TimeoutError):
            async for piece in self.pieces(response):
                body += piece
                if len(body) > most:
                    break
        return bytes(body)

    async def _send(
        self, session: aiohttp.ClientSession, url: URL, body: bytes, trace: SimpleNamespace
    ) -> aiohttp.ClientResponse:
        # sock_read starts when the body is sent; the outer bound is for a server that stops taking it.
        async with asyncio.timeout(CONNECT_TIMEOUT + self._silence):
            return await session.post(url, data=body, allow_redirects=False, trace_request_ctx=trace)

    def _session(self, *, keep_alive: bool) -> aiohttp.ClientSession:
        # Permits bound how many calls there are, so the pool need not.
        if self._unix_socket is not None:
            connector: aiohttp.BaseConnector = aiohttp.UnixConnector(
                self._unix_socket, limit=0, force_close=not keep_alive
            )
        else:
            connector = aiohttp.TCPConnector(limit=0, force_close=not keep_alive)
        traces = [_reuse_trace()] if keep_alive else []
        return aiohttp.ClientSession(
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=self._silence),
            trust_env=False,
            auto_decompress=True,
            trace_configs=traces,
        )

    def _opened(self) -> tuple[aiohttp.ClientSession, aiohttp.ClientSession]:
        if self._sessions is None:
            raise RuntimeError("This upstream is not started, or closed already.")
        return self._sessions

    def _url_of(self, path: str) -> URL:
        url = self._base.with_path(self._base.path.rstrip("/") + path).with_query(self._base.query)
        if not url.path.startswith(self._base.path) or not path.startswith("/"):
            raise BadInput(f"There is no path {path!r} at an upstream.")
        return url


async def part(response: aiohttp.ClientResponse) -> None:
    """After the last event: let the body end, so that the connection is fit for another call."""
    if response.content.at_eof():
        return
    with suppress(aiohttp.ClientError, TimeoutError):
        async with asyncio.timeout(_GOODBYE):
            await response.content.readany()


def _reuse_trace() -> aiohttp.TraceConfig:
    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.reused = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_reuseconn.append(reused)
    return trace

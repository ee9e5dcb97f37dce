"""The HTTP connection to a server of video jobs: small JSON answers whole, and films as they come."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
from yarl import URL

from raincheck.core import clock
from raincheck.core.clock import SECOND
from raincheck.core.errors import SettingsInvalid
from raincheck.core.outcome import Failure
from raincheck.upstream.openai import failures
from raincheck.upstream.openai.veil import HIDDEN
from raincheck.upstream.openai.wire import CONNECT_TIMEOUT, STAND_IN

LARGEST_ANSWER = 4 << 20
_LOOK_TIMEOUT = 30.0
"""Seconds for an answer about a job, which any healthy server has at hand."""

TROUBLE = (aiohttp.ClientError, TimeoutError, OSError)
"""What a call raises when no answer came, or none in time."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, without our key in it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        return 200 <= self.status < 300

    def members(self) -> dict[str, Any]:
        """The JSON object that it is; empty when it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except failures.NOT_JSON:
            return {}

    def failure(self, name: str) -> Failure:
        """What it means, being no success."""
        return failures.answered(name, self.status, self.headers, self.body, now=clock.now())


class JobWire:
    """Calls to one base URL. Each has a connection of its own: seconds lie between them, and servers restart."""

    def __init__(self, base_url: str, *, api_key: str | None, silence_timeout: int) -> None:
        self._base = URL(base_url.rstrip("/"))
        if self._base.scheme not in ("http", "https") or not self._base.host:
            raise SettingsInvalid(
                f"base_url must be an http or https URL, as in http://10.0.0.5:8000/v1: {base_url!r}."
            )
        self.host = self._base.host
        self._key = api_key.encode() if api_key else None
        self._headers = {"User-Agent": "raincheck"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
        self._silence = silence_timeout / SECOND
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, force_close=True),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_read=self._silence),
                trust_env=False,
            )

    async def close(self) -> None:
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def post(self, path: str, body: bytes | aiohttp.FormData) -> Answer:
        """A call that begins something: JSON, or a form whose files are streamed. Raises TROUBLE."""
        json = {"Content-Type": "application/json"} if isinstance(body, bytes) else {}
        async with self._opened().post(self._url(path), data=body, headers=json, allow_redirects=False) as response:
            return await self._read(response)

    async def ask(self, method: str, path: str, *, within: float = _LOOK_TIMEOUT) -> Answer:
        """A short call without a body, over within so many seconds. Raises TROUBLE."""
        timeout = aiohttp.ClientTimeout(total=min(within, self._silence), connect=CONNECT_TIMEOUT)
        async with self._opened().request(method, self._url(path), allow_redirects=False, timeout=timeout) as response:
            return await self._read(response)

    @asynccontextmanager
    async def film(
        self, path: str, *, start: int = 0, same: str | None = None
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """The bytes of a file, from `start` on if it is still the `same` and the server can do that. Raises TROUBLE."""
        headers = {"Accept": "application/binary, video/*, image/*, */*", "Accept-Encoding": "identity"}
        if start and same is not None:
            headers |= {"Range": f"bytes={start}-", "If-Range": same}
        async with self._opened().get(self._url(path), headers=headers, allow_redirects=False) as response:
            yield response

    async def _read(self, response: aiohttp.ClientResponse) -> Answer:
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > LARGEST_ANSWER:
                break
        said = bytes(body)
        refused = not 200 <= response.status < 300
        if self._key is not None and (refused or len(self._key) >= STAND_IN):
            said = said.replace(self._key, HIDDEN)
        return Answer(response.status, response.headers, said)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("This upstream is not started, or closed already.")
        return self._session

    def _url(self, path: str) -> URL:
        """`path` is quoted already, for a job's id came from a server and may hold anything; it may end in a query."""
        path, _, query = path.partition("?")
        base = self._base.with_path(self._base.raw_path.rstrip("/") + path, encoded=True)
        return base.with_query(self._base.query).update_query(query)

"""Stands before everything: takes each call as it arrives, refuses what no handler should see, signs each answer."""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from ipaddress import ip_address
from typing import cast
from urllib.parse import urlsplit

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from raincheck.core.errors import (
    BadInput,
    CrossSite,
    HeadersTooLarge,
    HostRefused,
    NotFound,
    RaincheckError,
    TooLarge,
)
from raincheck.core.ids import new_id
from raincheck.core.settings import Settings
from raincheck.http.body import Body
from raincheck.http.edge import Edge
from raincheck.http.multipart import is_form
from raincheck.http.problems import problem_of

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SIGNED = (
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""On every answer."""
MEDIA = "/media/"
"""Below this are files that any page may show."""
ANY_PAGE = (
    ("cross-origin-resource-policy", "cross-origin"),
    ("access-control-allow-origin", "*"),
    ("access-control-expose-headers", "*"),
)
"""Any page may have what this is on. A link is all that it takes, and no cookie could add to that; without one,
nothing below MEDIA can be read by the page of another site."""
_PREFLIGHT = (
    *ANY_PAGE,
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "range, if-range, if-match, if-none-match"),
    ("access-control-max-age", "600"),
    ("allow", "GET, HEAD, OPTIONS"),
)
_FILES = re.compile(r"(/xai)?/v1/files")
_MEDIA = re.compile(r"(/xai)?/v1/videos(/.*)?")
"""Where files come in: to be kept, and as the inputs of a request."""
_FORM_EXTRA = 1 << 20
"""Bytes that a form with a file in it may have beside the file."""
PAGE = (
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)
"""On pages: the docs need their inline style and nothing else."""

_SANE_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Guard:
    """Wraps the application. An open server on loopback is still a target for every web page its user visits."""

    def __init__(self, app: ASGIApp, edge: Edge) -> None:
        self._app = app
        self._limits = edge.limits
        self._max_body = edge.settings.max_body_bytes
        self._max_file = max(self._max_body, edge.settings.files_max_bytes + _FORM_EXTRA)
        self._max_media = max(self._max_body, edge.settings.media_max_bytes + _FORM_EXTRA)
        self._origins = frozenset(edge.settings.cors_origins)
        self._signed = (*SIGNED, (b"raincheck-version", edge.version.encode()))
        self._host_allowed = lru_cache(256)(_host_rule(edge.settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id")
        request_id = given if given and _SANE_ID.fullmatch(given) else new_id("call").encode()
        scope["state"]["request_id"] = request_id.decode()
        path = scope["path"]
        body = self._body(path, headers, receive)
        signed: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id), *self._signed]
        if path.startswith("/schema"):
            signed += PAGE
        media = path.startswith(MEDIA)

        async def sign(message: Message) -> None:
            if message["type"] == "http.response.start":
                said = list(message["headers"])
                message["headers"] = said + (_unsaid(said, signed) if media else signed)
            await send(message)

        answer_to = sign if body is None else body.linger(sign)
        inner: ASGIApp = self._app
        if scope["method"] == "HEAD":
            answer_to, inner = _head_of(answer_to), _as_get(inner)
        elif scope["method"] == "OPTIONS" and media:
            inner = _preflight
        try:
            self._check(cast("HTTPScope", scope), headers, body)
        except RaincheckError as error:
            await problem_of(error).answer(path)(scope, receive, answer_to)
        else:
            await inner(scope, receive if body is None else body.receive, answer_to)

    def _body(self, path: str, headers: Mapping[bytes, bytes], receive: Receive) -> Body | None:
        """The body that comes with the call, bounded; None when there is none."""
        if b"transfer-encoding" in headers:
            announced = None
        elif (announced := int(headers.get(b"content-length", 0))) == 0:
            return None
        seconds = self._limits.body_seconds
        if is_form(headers.get(b"content-type")):
            limit = self._max_file if _FILES.fullmatch(path) else self._max_media if _MEDIA.fullmatch(path) else None
            if limit is not None:
                return Body(receive, announced, limit, seconds, pace=self._limits.upload_pace)
        return Body(receive, announced, self._max_body, seconds)

    def _check(self, scope: HTTPScope, headers: Mapping[bytes, bytes], body: Body | None) -> None:
        head = len(scope["raw_path"]) + len(scope["query_string"])
        for name, value in scope["headers"]:
            head += len(name) + len(value) + 4
        if head > self._limits.head_bytes:
            raise HeadersTooLarge(
                f"The request's path and headers have {head} bytes, {self._limits.head_bytes} are accepted; "
                "send fewer or shorter ones."
            )
        # No name has a NUL in it, and PostgreSQL could not even be asked for one.
        if b"%00" in scope["raw_path"]:
            raise NotFound
        if b"%00" in scope["query_string"]:
            raise BadInput("The query must not contain NUL characters (%00).")
        host = headers.get(b"host")
        if host is None:
            if scope["http_version"] != "1.0":
                raise BadInput("The Host header is missing.")
        elif not self._host_allowed(host):
            raise HostRefused
        if scope["method"] not in SAFE_METHODS:
            self._check_origin(headers, host)
        if body is not None and body.announced is not None and body.announced > body.limit:
            raise TooLarge(f"The request body has {body.announced} bytes, {body.limit} are accepted.")

    def _check_origin(self, headers: Mapping[bytes, bytes], host: bytes | None) -> None:
        """A browser says which site a call comes from; programs that are no browsers say nothing."""
        origin = headers.get(b"origin")
        if origin is None:
            if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site"):
                raise CrossSite
            return
        text = origin.decode("latin-1")
        if text in self._origins or "*" in self._origins:
            return
        # Without CORS a page could not read the answer, but what it sent would have been done.
        if host is None or urlsplit(text).netloc.encode("latin-1") != host:
            raise CrossSite


def _unsaid(said: list[tuple[bytes, bytes]], signed: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The marks that an answer does not have already: files say themselves who may show and keep them."""
    names = {name for name, _ in said}
    return [mark for mark in signed if mark[0] not in names]


def _head_of(send: Send) -> Send:
    """A `send` that ends an answer after its head: HEAD is GET without the rest (RFC 9110, section 9.3.2).

    With the answer at its end the server tells of a disconnect, which ends what would be streamed.
    """

    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.start":
            await send(message)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return send_head


def _as_get(app: ASGIApp) -> ASGIApp:
    """The application, told of a HEAD as a GET of the whole: a Range means nothing to HEAD (section 14.2)."""

    async def get(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [each for each in scope["headers"] if each[0] != b"range"]
        await app(cast("HTTPScope", {**scope, "method": "GET", "headers": headers}), receive, send)

    return get


async def _preflight(_scope: Scope, _receive: Receive, send: Send) -> None:
    """What a page may ask of a link, whatever else the settings allow to which pages."""
    headers = [(name.encode(), value.encode()) for name, value in _PREFLIGHT]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _host_rule(settings: Settings) -> Callable[[bytes], bool]:
    """Which Host headers are answered to: names of this machine, addresses, and what the settings allow.

    DNS rebinding needs a name that the attacker owns, so a bare address is always fine.
    """
    names = frozenset({"localhost", settings.host.lower(), *(name.lower() for name in settings.allowed_hosts)})

    def allowed(host: bytes) -> bool:
        if "*" in names:
            return True
        try:
            name = urlsplit(f"//{host.decode('ascii')}").hostname or ""
        except ValueError:
            return False
        return name in names or name.endswith(".localhost") or _is_address(name)

    return allowed


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True

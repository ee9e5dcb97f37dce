"""A URL from a stranger in, its bytes in a file out.

The name is resolved once, every address it has is checked, and only those addresses are connected to, so a name that
changes its mind afterwards changes nothing. Redirects are not followed, nothing is unpacked, and what comes is bounded
in size and in time. What callers read about a failure names the host alone: a link may hold a secret, and where a name
leads inside our net is nobody's business.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from yarl import URL

from raincheck.core.errors import MediaRefused, RaincheckError, UpstreamBroke
from raincheck.upstream.bounded import BoundedConnector
from raincheck.upstream.media.limits import MediaLimits, show_size
from raincheck.upstream.pinned import AddressRefused, CheckedResolver, Resolve, TooManyLookups, checked, looked_up

_PIECE = 256 << 10
_HEADERS = {"accept": "*/*", "accept-encoding": "identity", "user-agent": "raincheck"}
_WORTH_ANOTHER_TRY = frozenset({408, 425, 429})
_UNKNOWN_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a fetch may take, in seconds."""

    whole: float = 900.0
    connect: float = 15.0
    """Also for looking the host up."""
    silence: float = 30.0
    head_start: float = 30.0
    pace: int | None = None
    """Bytes a second that must have come once the head start is over. Who is slower, or not done in time, is refused
    for good, since another try would take as long. None: any pace will do, and another try may."""

    def until(self, got: int) -> float:
        """When more than so many bytes must be here, in seconds from the beginning."""
        return self.whole if self.pace is None else min(self.whole, self.head_start + got / self.pace)


STRANGERS = Patience(whole=600.0, silence=15.0, pace=256 << 10)
"""For links that callers give: while one is fetched, everybody's work waits for the place that it holds."""


async def fetch(
    url: str, to: Path, limits: MediaLimits, *, resolve: Resolve = looked_up, patience: Patience | None = None
) -> None:
    """Fetch what is behind an http(s) URL into the file `to`; nothing is left there when it fails.

    Raises MediaRefused when it will never do, UpstreamBroke when another try may.
    """
    target = _target(url)
    patience = patience or Patience()
    with ExitStack() as undo:
        undo.callback(to.unlink, missing_ok=True)
        try:
            async with asyncio.timeout(patience.connect):
                addresses = await _checked(target, limits, resolve)
            await _download_in_time(target, addresses, to, limits, patience)
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(target, error) from error
        undo.pop_all()


def _target(url: str) -> URL:
    try:
        target = URL(url)
        port = target.port
    except ValueError as error:
        raise MediaRefused("The link cannot be read as a URL.") from error
    if target.scheme not in ("http", "https"):
        raise MediaRefused("Only http and https links can be fetched.")
    if target.user is not None or target.password is not None:
        raise MediaRefused("A link with a user name or a password in it is not fetched.")
    if not target.raw_host or not port:
        raise MediaRefused("The link names no host.")
    return target


async def _checked(target: URL, limits: MediaLimits, resolve: Resolve) -> Sequence[str]:
    host, port = target.raw_host or "", target.port or 0
    try:
        return await checked(host, port, limits.hosts, resolve)
    except AddressRefused as error:
        raise MediaRefused(
            f"{host} is not on the public internet, so nothing is fetched from it; "
            "the operator can allow it with media.allowed_hosts."
        ) from error
    except TooManyLookups as error:
        raise UpstreamBroke(f"Too many names are being looked up to look up {host}.") from error


async def _download_in_time(
    target: URL, addresses: Sequence[str], to: Path, limits: MediaLimits, patience: Patience
) -> None:
    begun = asyncio.get_running_loop().time()
    clock = asyncio.timeout_at(begun + patience.until(0))
    try:
        async with clock, aclosing(_download(target, addresses, to, limits, patience)) as pieces:
            async for got in pieces:
                clock.reschedule(begun + patience.until(got))
    except TimeoutError as error:
        if patience.pace is None or not clock.expired():
            raise
        raise MediaRefused(
            f"{target.raw_host} was too slow in sending the file: it must come at {show_size(patience.pace)} a second, "
            f"and within {patience.whole:g} seconds."
        ) from error


async def _download(
    target: URL, addresses: Sequence[str], to: Path, limits: MediaLimits, patience: Patience
) -> AsyncGenerator[int]:
    """Yields how many bytes have come."""

    async def pinned(_host: str, _port: int) -> Sequence[str]:
        return addresses

    resolver = CheckedResolver(limits.hosts, pinned)
    connector = BoundedConnector(resolver=resolver, use_dns_cache=False, force_close=True)
    async with (
        aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=patience.connect, sock_read=patience.silence),
            auto_decompress=False,
            trust_env=False,
        ) as session,
        session.get(target, allow_redirects=False, headers=_HEADERS) as response,
    ):
        _acceptable(target, response, limits)
        got = 0
        with await asyncio.to_thread(to.open, "wb") as file:
            async for piece in response.content.iter_chunked(_PIECE):
                got += len(piece)
                if got > limits.max_bytes:
                    raise _too_large(target, limits)
                await asyncio.to_thread(file.write, piece)
                yield got


def _acceptable(target: URL, response: aiohttp.ClientResponse, limits: MediaLimits) -> None:
    host, status = target.raw_host, response.status
    if 300 <= status < 400:
        raise MediaRefused(f"{host} answered with a redirect ({status}); give the link it leads to, none is followed.")
    if status >= 500 or status in _WORTH_ANOTHER_TRY:
        raise UpstreamBroke(f"Fetching the input from {host} failed: it answered {status}.")
    if status != 200:
        raise MediaRefused(f"{host} answered {status} instead of a file.")
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise MediaRefused(f"{host} answered with a compressed file though none was asked for.")
    if (response.content_length or 0) > limits.max_bytes:
        raise _too_large(target, limits)


def _too_large(target: URL, limits: MediaLimits) -> MediaRefused:
    return MediaRefused(f"The file at {target.raw_host} is larger than {show_size(limits.max_bytes)}.")


def _failed(target: URL, error: Exception) -> RaincheckError:
    host = target.raw_host
    match error:
        case socket.gaierror(errno=code) if code in _UNKNOWN_NAME:
            return MediaRefused(f"There is no host {host}.")
        case socket.gaierror():
            return UpstreamBroke(f"The host {host} could not be looked up.")
        case aiohttp.ClientConnectorCertificateError():
            return MediaRefused(f"The certificate of {host} is not valid.")
        case aiohttp.InvalidURL():
            return MediaRefused("The link cannot be read as a URL.")
        case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
            return UpstreamBroke(f"{host} cannot be reached.")
        case TimeoutError():
            return UpstreamBroke(f"{host} was too slow.")
        case aiohttp.ClientPayloadError():
            return UpstreamBroke(f"{host} broke off in the middle of the file.")
        case aiohttp.ClientError():
            return UpstreamBroke(f"{host} broke the connection or answered something that is no HTTP.")
        case _:
            return UpstreamBroke(f"The file from {host} could not be kept on this machine's disk.")

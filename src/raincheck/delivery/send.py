"""Takes a leased delivery with its body, makes one attempt, hands on how it went."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.metadata import version

import aiohttp

from raincheck.core.addresses import Refusal, not_public, webhook_refusal
from raincheck.core.clock import SECOND, Clock
from raincheck.core.clock import now as system_clock
from raincheck.core.errors import SecretSealed
from raincheck.core.webhooks import DeliveryAttempt, DeliveryLease, DeliveryStatus, Sent, SigningKey, next_attempt
from raincheck.delivery.answer import Answer, answer, read_beginning
from raincheck.delivery.keys import Sealer
from raincheck.delivery.sign import signed
from raincheck.upstream.bounded import BoundedConnector
from raincheck.upstream.pinned import AddressRefused, CheckedResolver, Lookups, Resolve, TooManyLookups, asker

_KEPT_OPEN = 1.5
"""Seconds that an idle connection is kept: less than servers do, since one that they close just as it is used again
costs an attempt."""
_FINAL = frozenset({"gone", "refused_url", "refused_address"})
"""What no other try would change."""
_LEAVE_ALONE = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class _Failed:
    """No answer, and why: a word for programs, a sentence for people."""

    code: str
    error: str


class Sender:
    """Sends deliveries to whom they may be sent; one for the whole process, made on its running event loop.

    `allowed` are the hosts, addresses and networks that are not public and may be called all the same
    (`webhooks.allow`), `timeout` how many microseconds a whole attempt may take.
    """

    def __init__(
        self,
        *,
        sealer: Sealer,
        allowed: Sequence[str],
        timeout: int,
        resolve: Resolve | None = None,
        clock: Clock = system_clock,
        stretch: Callable[[], float] = random.random,
    ) -> None:
        self._sealer = sealer
        self._timeout = timeout / SECOND
        self._clock = clock
        self._stretch = stretch
        self._refusal: Callable[[str], Refusal | None] = lru_cache(1024)(partial(webhook_refusal, allowed=allowed))
        # No pool limits here: how many are sent at once, and to whom, is decided where they are claimed.
        connector = BoundedConnector(
            resolver=CheckedResolver(allowed, resolve or Lookups().look_up),
            use_dns_cache=False,
            limit=0,
            keepalive_timeout=_KEPT_OPEN,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(),
            auto_decompress=False,
            trust_env=False,
            headers={
                "content-type": "application/json",
                "user-agent": f"Raincheck/{version('raincheck')}",
                "accept": "*/*",
                "accept-encoding": "identity",
            },
        )

    async def send(self, lease: DeliveryLease, body: bytes, key: SigningKey) -> Sent:
        """Make one attempt. Whatever goes wrong is told in what is returned."""
        begun = self._clock()
        try:
            return self._sent(lease, begun, await self._tried(lease, body, self._sealer.live(key, begun), begun))
        except SecretSealed as error:
            ours = _Failed(error.code, error.message)
        except TooManyLookups:
            ours = _Failed("too_many_lookups", "Too many names were being looked up to look up its host.")
        now, stretch = self._clock(), self._stretch()
        return not_sent(lease, ours.code, ours.error, started_at=begun, now=now, stretch=stretch)

    async def close(self) -> None:
        """Break off what is being sent and let go of all connections."""
        await self._session.close()

    async def _tried(self, lease: DeliveryLease, body: bytes, secrets: Sequence[str], now: int) -> Answer | _Failed:
        delivery = lease.delivery
        refusal = self._refusal(delivery.url)
        if refusal is not None:
            return _Failed(*refusal)
        headers = signed(delivery.event_id, body, secrets, now=now)
        headers["raincheck-delivery"] = delivery.id
        headers["raincheck-attempt"] = str(delivery.attempt)
        asker.set(delivery.tenant)
        return await self._post(delivery.url, body, headers)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> Answer | _Failed:
        answered: aiohttp.ClientResponse | None = None
        beginning = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                answered = response
                await read_beginning(response.content, beginning)
        except (TimeoutError, AddressRefused, aiohttp.ClientError, OSError) as error:
            # Once the head has come, its status has decided: the rest is for the log, and what there is of it will do.
            if answered is None:
                return self._failed(error)
        return answer(answered, beginning, now=self._clock())

    def _failed(self, error: Exception) -> _Failed:
        match error:
            case AddressRefused(host=host):
                return _Failed("refused_address", "The name " + not_public(host))
            case TimeoutError():
                return _Failed("timeout", f"It timed out after {self._timeout:g} s.")
            case _:
                return _broken(error)

    def _sent(self, lease: DeliveryLease, begun: int, came: Answer | _Failed) -> Sent:
        now, fence = self._clock(), lease.fence
        attempt = _attempt(lease, came, begun, now)
        if came.code is None:
            return Sent(fence=fence, status=DeliveryStatus.DELIVERED, attempt=attempt)
        if came.code in _FINAL:
            return Sent(fence=fence, status=DeliveryStatus.FAILED, attempt=attempt, gone=came.code == "gone")
        due_at = next_attempt(attempt.number, now, stretch=self._stretch())
        asked = now + came.wait if isinstance(came, Answer) and came.wait is not None else None
        return Sent(
            fence=fence,
            status=_status(due_at),
            due_at=due_at if due_at is None or asked is None else max(due_at, asked),
            attempt=attempt,
            pause_until=asked if attempt.status_code in _LEAVE_ALONE else None,
        )


def not_sent(lease: DeliveryLease, code: str, error: str, *, started_at: int, now: int, stretch: float) -> Sent:
    """An attempt that came to nothing here, before anything was sent: the receiver is not to blame."""
    attempt = _attempt(lease, _Failed(code, error), started_at, now)
    due_at = next_attempt(attempt.number, now, stretch=stretch)
    return Sent(fence=lease.fence, status=_status(due_at), due_at=due_at, attempt=attempt, blame=False)


def _status(due_at: int | None) -> DeliveryStatus:
    return DeliveryStatus.FAILED if due_at is None else DeliveryStatus.PENDING


def _attempt(lease: DeliveryLease, came: Answer | _Failed, begun: int, now: int) -> DeliveryAttempt:
    status, said = (came.status, came.beginning) if isinstance(came, Answer) else (None, None)
    return DeliveryAttempt(
        number=lease.delivery.attempt,
        started_at=begun,
        ended_at=now,
        status_code=status,
        error_code=came.code,
        error=came.error,
        response=said,
    )


def _broken(error: Exception) -> _Failed:
    """In words that tell the receiver's owner what to look at, and nothing of our net."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return _Failed("unknown_host", "Its host has no address, or could not be looked up.")
        case aiohttp.ClientConnectorCertificateError(certificate_error=cause):
            why = str(getattr(cause, "verify_message", "")).rstrip(".") or "it cannot be verified"
            return _Failed("certificate", f"Its certificate is not good: {why}.")
        case aiohttp.ClientConnectorSSLError():
            return _Failed("tls", "No TLS connection could be made.")
        case aiohttp.ClientConnectorError():
            return _Failed("unreachable", "It cannot be reached: no connection could be made.")
        case aiohttp.InvalidURL():
            return _Failed("refused_url", "The URL cannot be called.")
        case aiohttp.ClientResponseError() | aiohttp.ClientPayloadError():
            return _Failed("no_http", "It answered something that is no HTTP, or headers that are too large.")
        case _:
            return _Failed("disconnected", "It broke the connection before it had answered.")

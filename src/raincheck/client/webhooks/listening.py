"""`client.webhooks.listen`: a receiver of webhooks for the length of a `with`."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import NoReturn, Self

from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI

from raincheck.client.errors import ListenerRefused, WebhookTimeout
from raincheck.client.twins import share_docs
from raincheck.client.webhooks.endpoints import ENDS, AsyncEndpoints, Endpoints
from raincheck.client.webhooks.models import WebhookEndpoint, WebhookSecret
from raincheck.client.webhooks.receiving import Answering, Received, Receiver, Rejected
from raincheck.webhooks import Event


@dataclass(frozen=True, slots=True)
class Listening:
    """How to listen; see `client.webhooks.listen`."""

    register: bool = False
    event_types: Sequence[str] = ENDS
    include_result: bool = False
    answer: Answering = 204
    secret: str | Sequence[str] | None = None
    host: str = "127.0.0.1"
    port: int = 0
    url: str | None = None


class _Listener:
    """What both kinds are: a receiver, and where it is reached."""

    def __init__(self, wish: Listening) -> None:
        self.url = ""
        """Where it listens: what to give as `webhook_url`."""
        self.endpoint: WebhookEndpoint | None = None
        """With `register`: the endpoint that was made."""
        self._wish = wish
        self._receiver = Receiver([], wish.answer)

    @property
    def secrets(self) -> list[str]:
        """What deliveries may be signed with. Append to it what a rotation gives."""
        return self._receiver.secrets

    @property
    def received(self) -> list[Received]:
        """Every delivery that was verified, with headers, raw body and what was answered; repeated ones too."""
        return self._receiver.received

    @property
    def rejected(self) -> list[Rejected]:
        """Every delivery that was not, with the reason."""
        return self._receiver.rejected

    def _start(self) -> None:
        self._receiver.ready.clear()
        port = self._receiver.start(self._wish.host, self._wish.port)
        host = f"[{self._wish.host}]" if ":" in self._wish.host else self._wish.host
        self.url = self._wish.url or f"http://{host}:{port}/"
        given = self._wish.secret
        self.secrets.extend([given] if isinstance(given, str) else given or ())

    def _registered(self, endpoint: WebhookEndpoint) -> None:
        self.endpoint = endpoint
        if endpoint.signing_secret:
            self.secrets.append(endpoint.signing_secret)

    def _late(self, kind: str | None, about: str | None, timeout: float) -> NoReturn:
        wanted = (kind or "event") + (f" of {about}" if about else "")
        came = [each.event.type for each in self.received]
        raise WebhookTimeout(wanted, timeout, came, [str(each.error) for each in self.rejected])


class Listener(_Listener):
    """A receiver that listens while its `with` lasts. Each event is handed out once, by `wait` or by iterating."""

    def __init__(self, client: OpenAI, wish: Listening) -> None:
        super().__init__(wish)
        self._client = client
        self._endpoints = Endpoints(client)

    def __enter__(self) -> Self:
        self._start()
        try:
            if not self.secrets:
                self.secrets.append(self._client.get("/webhook_secret", cast_to=WebhookSecret).signing_secret)
            if self._wish.register:
                self._register()
        except BaseException:
            self._receiver.stop()
            raise
        self._receiver.ready.set()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.endpoint is not None:
                self._endpoints.delete(self.endpoint.id)
        except NotFoundError:
            pass  # somebody was faster
        finally:
            self._receiver.stop()

    def wait(self, type: str | None = None, *, id: str | None = None, timeout: float = 30.0) -> Event:  # noqa: A002
        """The first event of this type that was not handed out yet, `timeout` seconds from now at most. `id` is that
        of what it is about, or the event's own. Raises `WebhookTimeout`, which tells what came instead."""
        end = monotonic() + timeout
        with self._receiver.changed:
            while (event := self._receiver.take(type, id)) is None:
                if self._receiver.closed or not self._receiver.changed.wait(max(0.0, end - monotonic())):
                    self._late(type, id, timeout)
        return event

    def __iter__(self) -> Iterator[Event]:
        """Events as they come, until the receiver is closed."""
        while (event := self._next()) is not None:
            yield event

    def _next(self) -> Event | None:
        with self._receiver.changed:
            while (event := self._receiver.take(None, None)) is None:
                if self._receiver.closed:
                    return None
                self._receiver.changed.wait()
        return event

    def _register(self) -> None:
        wish = self._wish
        try:
            made = self._endpoints.create(
                self.url, event_types=wish.event_types, name=_name(), include_result=wish.include_result
            )
        except BadRequestError as error:
            raise _refused(error, self.url) from error
        self._registered(made)


class AsyncListener(_Listener):
    def __init__(self, client: AsyncOpenAI, wish: Listening) -> None:
        super().__init__(wish)
        self._client = client
        self._endpoints = AsyncEndpoints(client)
        self._news = asyncio.Event()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            with suppress(RuntimeError):  # a delivery that came in late has nobody to tell: the loop is closed
                loop.call_soon_threadsafe(self._wake)

        self._receiver.on_change = wake
        self._start()
        try:
            if not self.secrets:
                secret = await self._client.get("/webhook_secret", cast_to=WebhookSecret)
                self.secrets.append(secret.signing_secret)
            if self._wish.register:
                await self._register()
        except BaseException:
            await asyncio.to_thread(self._receiver.stop)
            raise
        self._receiver.ready.set()
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            if self.endpoint is not None:
                await self._endpoints.delete(self.endpoint.id)
        except NotFoundError:
            pass
        finally:
            await asyncio.to_thread(self._receiver.stop)

    async def wait(self, type: str | None = None, *, id: str | None = None, timeout: float = 30.0) -> Event:  # noqa: A002
        try:
            async with asyncio.timeout(timeout):
                event = await self._taken(type, id)
        except TimeoutError:
            event = None
        return event or self._late(type, id, timeout)

    async def __aiter__(self) -> AsyncIterator[Event]:
        while (event := await self._taken(None, None)) is not None:
            yield event

    async def _taken(self, kind: str | None, about: str | None) -> Event | None:
        while (event := self._receiver.take(kind, about)) is None:
            if self._receiver.closed:
                return None
            await self._news.wait()
        return event

    def _wake(self) -> None:
        """Everybody who waits looks again."""
        self._news.set()
        self._news = asyncio.Event()

    async def _register(self) -> None:
        wish = self._wish
        try:
            made = await self._endpoints.create(
                self.url, event_types=wish.event_types, name=_name(), include_result=wish.include_result
            )
        except BadRequestError as error:
            raise _refused(error, self.url) from error
        self._registered(made)


share_docs(Listener, AsyncListener)


def _name() -> str:
    """So that one that was left behind is known for what it is."""
    return f"listening on {socket.gethostname()}"[:256]


def _refused(error: BadRequestError, url: str) -> Exception:
    return ListenerRefused(url, error.message) if error.code == "webhook_refused" else error

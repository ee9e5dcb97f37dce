"""A ticket: what a submit hands out and what its holder can do with it."""

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Generic, TypeVar

from openai import AsyncOpenAI, OpenAI
from typing_extensions import TypedDict

from raincheck.client import events, flows
from raincheck.client.cancelling import acancel, cancel
from raincheck.client.dialect import Dialect, request_path
from raincheck.client.drivers import arun, run
from raincheck.client.errors import StillRunning
from raincheck.client.flows import Patience
from raincheck.client.models import Request, Status, describe
from raincheck.client.results import collect
from raincheck.client.twins import share_docs
from raincheck.client.watching import watching

T = TypeVar("T")

MID_CALL_POLL = 10.0
"""With a stop event at hand a read is held no longer than this: it may be left behind, and should end soon."""


class WaitOptions(TypedDict, total=False):
    """How to wait: what `Ticket.wait` takes, with its defaults."""

    timeout: float | None
    polling_interval: float
    progress: bool
    on_update: Callable[[Request], object] | None
    cancel_on_timeout: bool


class BlockingWaitOptions(WaitOptions, total=False):
    """A task is stopped by cancelling it; a thread needs an event for that."""

    stop_event: threading.Event | None


class _Ticket(Generic[T]):
    """What both kinds know: the request as last seen, the server's dialect, and the type of the result."""

    def __init__(self, request: Request, dialect: Dialect, cast_to: type[T] | None) -> None:
        self.request = request
        self._dialect = dialect
        self._cast_to = cast_to
        self.waited = 0.0
        """Seconds that went into the submit, if they are to count as waiting."""

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def status(self) -> Status:
        """As last seen: `refresh` and `wait` look again."""
        return self.request.status

    @property
    def position(self) -> int | None:
        """Place in the queue as last seen, 1 is next; None unless pending, and on servers that do not tell."""
        return self.request.position

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}: {describe(self.request)}>"


class Ticket(_Ticket[T]):
    """A request that was submitted. It may be dropped: the id is enough to come back, `client.requests.wait(id)`."""

    def __init__(self, client: OpenAI, request: Request, dialect: Dialect, cast_to: type[T] | None) -> None:
        super().__init__(request, dialect, cast_to)
        self._client = client

    def wait(
        self,
        *,
        timeout: float | None = 600.0,
        polling_interval: float = 5.0,
        progress: bool = False,
        on_update: Callable[[Request], object] | None = None,
        cancel_on_timeout: bool = False,
        stop_event: threading.Event | None = None,
    ) -> T:
        """Wait for the result, at most `timeout` seconds (None: without end), and return it in openai's types.

        A Raincheck server answers the moment the result is there; any other is asked every `polling_interval` seconds.
        Restarts of the server, rate limits and lost connections are waited out. `on_update` is called with the
        `Request` whenever it has moved; `progress` draws a bar. Setting `stop_event` ends the waiting within 0.2 s;
        an async wait is ended by cancelling its task.

        Raises `WaitTimeout` (with `cancel_on_timeout` the request is then cancelled at the server as well),
        `WaitStopped`, `RequestFailed`, `RequestCancelled`, `RequestExpired`, `UnexpectedResult`, or openai's error for
        the exchange.
        """
        with watching(on_update, progress=progress) as observer:
            patience = Patience(
                timeout=timeout,
                polling_interval=polling_interval,
                observer=observer,
                cancel_on_timeout=cancel_on_timeout,
                waited=self.waited,
                longest_poll=flows.LONGEST_POLL if stop_event is None else MID_CALL_POLL,
            )
            try:
                self.request = run(flows.wait(self.request, self._dialect, patience), self._client, stop_event)
            except StillRunning as still:
                self.request = still.request
                raise
        return run(collect(self.request, self._cast_to), self._client)

    def refresh(self) -> Request:
        """Look again, without waiting."""
        self.request, self._dialect = run(flows.read(self.id, self._dialect), self._client)
        return self.request

    def result(self) -> T | None:
        """The result if it is there by now, else None. Raises like `wait` when the request ended without one."""
        request = self.request if self.request.ended else self.refresh()
        return run(collect(request, self._cast_to), self._client) if request.ended else None

    def cancel(self) -> Request:
        """Cancel the request: a pending one is never sent upstream, a running one is aborted. Harmless on one that has
        ended, whose record is returned as it is."""
        self.request = cancel(self._client, request_path(self.id), Request)
        return self.request

    def events(self) -> Iterator[events.Event]:
        """What happens to the request, as it happens, until its end: changes of status, progress, pieces of the answer.
        A lost connection is taken up again where it broke."""
        return events.follow(self._client, self.id)


class AsyncTicket(_Ticket[T]):
    def __init__(self, client: AsyncOpenAI, request: Request, dialect: Dialect, cast_to: type[T] | None) -> None:
        super().__init__(request, dialect, cast_to)
        self._client = client

    async def wait(
        self,
        *,
        timeout: float | None = 600.0,
        polling_interval: float = 5.0,
        progress: bool = False,
        on_update: Callable[[Request], object] | None = None,
        cancel_on_timeout: bool = False,
    ) -> T:
        with watching(on_update, progress=progress) as observer:
            patience = Patience(
                timeout=timeout,
                polling_interval=polling_interval,
                observer=observer,
                cancel_on_timeout=cancel_on_timeout,
                waited=self.waited,
            )
            try:
                self.request = await arun(flows.wait(self.request, self._dialect, patience), self._client)
            except StillRunning as still:
                self.request = still.request
                raise
        return await arun(collect(self.request, self._cast_to), self._client)

    async def refresh(self) -> Request:
        self.request, self._dialect = await arun(flows.read(self.id, self._dialect), self._client)
        return self.request

    async def result(self) -> T | None:
        request = self.request if self.request.ended else await self.refresh()
        return await arun(collect(request, self._cast_to), self._client) if request.ended else None

    async def cancel(self) -> Request:
        self.request = await acancel(self._client, request_path(self.id), Request)
        return self.request

    def events(self) -> AsyncIterator[events.Event]:
        return events.afollow(self._client, self.id)


share_docs(Ticket, AsyncTicket)

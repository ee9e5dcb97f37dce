"""`client.chat.completions`: openai's own, and the deferred calls beside `create`."""

import threading
from collections.abc import Callable
from functools import cached_property
from time import monotonic
from typing import TYPE_CHECKING, Unpack, cast

import httpx2
from openai import NotGiven, Timeout, not_given
from openai.resources.chat import AsyncChat, AsyncCompletions, Chat, Completions
from openai.types.chat import ChatCompletion

from raincheck.client.dialect import deferred_path
from raincheck.client.models import Request
from raincheck.client.steps import Reply
from raincheck.client.submitting import ChatParams, accepted, chat_submission
from raincheck.client.ticket import AsyncTicket, Ticket
from raincheck.client.twins import share_docs

if TYPE_CHECKING:
    from openai._legacy_response import LegacyAPIResponse as _LegacyAPIResponse

    _Raw = _LegacyAPIResponse[ChatCompletion]


class DeferrableCompletions(Completions):
    """Everything openai's `chat.completions` has, and deferral."""

    def create_and_wait(
        self,
        *,
        polling_interval: float = 5.0,
        timeout: float | None = 600.0,
        progress: bool = False,
        on_update: Callable[[Request], object] | None = None,
        cancel_on_timeout: bool = False,
        stop_event: threading.Event | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion:
        """Submit a deferred chat completion and wait for it, `timeout` seconds in all. Takes what `create` does (but
        for `stream`), the options of `defer`, and those of `Ticket.wait`; raises what the two raise."""
        began = monotonic()
        ticket = self._submit(params, _bounded(self._client.timeout, timeout))
        return ticket.wait(
            timeout=_left(timeout, began),
            polling_interval=polling_interval,
            progress=progress,
            on_update=on_update,
            cancel_on_timeout=cancel_on_timeout,
            stop_event=stop_event,
        )

    def defer(self, **params: Unpack[ChatParams]) -> Ticket[ChatCompletion]:
        """Submit a chat completion and return at once with the ticket for it. Takes what `create` does (but for
        `stream`), and `webhook_url`, `not_before`, `deadline`, `expires_in`, `max_attempts`, `request_metadata` and
        `idempotency_key` (see `DeferOptions`).

        A lost connection is retried, without danger of a second submit. On a server that cannot defer and answers
        right away, the ticket is one that has ended already.
        """
        return self._submit(params, not_given)

    def retrieve_deferred(self, request_id: str) -> ChatCompletion | None:
        """One look at a deferred completion, in the protocol every such server speaks: None while it is not ready."""
        response = self._get(deferred_path(request_id), cast_to=httpx2.Response)
        return _completion(response)

    def _submit(self, params: ChatParams, timeout: float | Timeout | NotGiven | None) -> Ticket[ChatCompletion]:
        raw = cast("_Raw", self.with_raw_response.create(**chat_submission(params), timeout=timeout))
        request, dialect = accepted(raw.http_response)
        return Ticket(self._client, request, dialect, ChatCompletion)


class AsyncDeferrableCompletions(AsyncCompletions):
    async def create_and_wait(
        self,
        *,
        polling_interval: float = 5.0,
        timeout: float | None = 600.0,
        progress: bool = False,
        on_update: Callable[[Request], object] | None = None,
        cancel_on_timeout: bool = False,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion:
        began = monotonic()
        ticket = await self._submit(params, _bounded(self._client.timeout, timeout))
        return await ticket.wait(
            timeout=_left(timeout, began),
            polling_interval=polling_interval,
            progress=progress,
            on_update=on_update,
            cancel_on_timeout=cancel_on_timeout,
        )

    async def defer(self, **params: Unpack[ChatParams]) -> AsyncTicket[ChatCompletion]:
        return await self._submit(params, not_given)

    async def retrieve_deferred(self, request_id: str) -> ChatCompletion | None:
        response = await self._get(deferred_path(request_id), cast_to=httpx2.Response)
        return _completion(response)

    async def _submit(
        self, params: ChatParams, timeout: float | Timeout | NotGiven | None
    ) -> AsyncTicket[ChatCompletion]:
        raw = cast("_Raw", await self.with_raw_response.create(**chat_submission(params), timeout=timeout))
        request, dialect = accepted(raw.http_response)
        return AsyncTicket(self._client, request, dialect, ChatCompletion)


class DeferrableChat(Chat):
    @cached_property
    def completions(self) -> DeferrableCompletions:  # pyright: ignore[reportIncompatibleMethodOverride]
        return DeferrableCompletions(self._client)


class AsyncDeferrableChat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncDeferrableCompletions:  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncDeferrableCompletions(self._client)


share_docs(DeferrableCompletions, AsyncDeferrableCompletions)


def _bounded(usual: float | Timeout | None, limit: float | None) -> float | Timeout | None:
    """The HTTP timeout of a submit whose whole way may take `limit` seconds. Never below ten: a submit that is cut off
    has perhaps been accepted, and its id is lost."""
    if limit is None:
        return usual
    limit = max(limit, 10.0)
    if isinstance(usual, Timeout):
        return Timeout(
            **{name: limit if value is None else min(value, limit) for name, value in usual.as_dict().items()}
        )
    return limit if usual is None else min(usual, limit)


def _left(timeout: float | None, began: float) -> float | None:
    return None if timeout is None else max(0.0, timeout - (monotonic() - began))


def _completion(response: httpx2.Response) -> ChatCompletion | None:
    """A 202 says not yet, its body empty or not; so does a completion without choices."""
    body = Reply(response.status_code, body=response.content).json() or {}
    return ChatCompletion.construct(**body) if response.status_code == 200 and body.get("choices") else None

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
from raincheck.client.drivers import arun, run
from raincheck.client.flows import submit
from raincheck.client.models import Request
from raincheck.client.steps import Reply
from raincheck.client.submitting import ChatParams, accepted, bounded, chat_submission, waiting_submit
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
        for `stream`), the options of `defer`, and those of `Ticket.wait`; raises what the two raise.

        A Raincheck server answers a fast request in the same exchange that submits it, unless someone looks on
        (`progress`, `on_update`, `stop_event`). Should the connection break meanwhile, the submit is repeated with its
        idempotency key, and brings back the same request."""
        began = monotonic()
        if progress or on_update is not None or stop_event is not None:
            ticket = self._submit(params, bounded(self._client.timeout, timeout))  # These need the id at once.
        else:
            ticket = self._submit_and_wait(params, timeout)
        ticket.waited = monotonic() - began
        return ticket.wait(
            timeout=timeout,
            polling_interval=polling_interval,
            progress=progress,
            on_update=on_update,
            cancel_on_timeout=cancel_on_timeout,
            stop_event=stop_event,
        )

    def defer(self, **params: Unpack[ChatParams]) -> Ticket[ChatCompletion]:
        """Submit a chat completion and return at once with the ticket for it. Takes what `create` does (but for
        `stream`), and `webhook_url`, `webhook_events`, `include_result`, `not_before`, `deadline`, `expires_in`,
        `max_attempts`, `request_metadata` and `idempotency_key` (see `DeferOptions`).

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
        response = raw.http_response
        request, dialect = accepted(response.headers, response.content)
        return Ticket(self._client, request, dialect, ChatCompletion)

    def _submit_and_wait(self, params: ChatParams, timeout: float | None) -> Ticket[ChatCompletion]:
        """A ticket that may have ended already, after one exchange."""
        client = self._client
        submit_for = waiting_submit(params, client.timeout)
        reply = run(submit(submit_for, timeout=timeout, retries=client.max_retries), client)
        request, dialect = accepted(reply.headers, reply.body)
        return Ticket(client, request, dialect, ChatCompletion)


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
        if progress or on_update is not None:
            ticket = await self._submit(params, bounded(self._client.timeout, timeout))
        else:
            ticket = await self._submit_and_wait(params, timeout)
        ticket.waited = monotonic() - began
        return await ticket.wait(
            timeout=timeout,
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
        response = raw.http_response
        request, dialect = accepted(response.headers, response.content)
        return AsyncTicket(self._client, request, dialect, ChatCompletion)

    async def _submit_and_wait(self, params: ChatParams, timeout: float | None) -> AsyncTicket[ChatCompletion]:
        client = self._client
        submit_for = waiting_submit(params, client.timeout)
        reply = await arun(submit(submit_for, timeout=timeout, retries=client.max_retries), client)
        request, dialect = accepted(reply.headers, reply.body)
        return AsyncTicket(client, request, dialect, ChatCompletion)


class DeferrableChat(Chat):
    @cached_property
    def completions(self) -> DeferrableCompletions:  # pyright: ignore[reportIncompatibleMethodOverride]
        return DeferrableCompletions(self._client)


class AsyncDeferrableChat(AsyncChat):
    @cached_property
    def completions(self) -> AsyncDeferrableCompletions:  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncDeferrableCompletions(self._client)


share_docs(DeferrableCompletions, AsyncDeferrableCompletions)


def _completion(response: httpx2.Response) -> ChatCompletion | None:
    """A 202 says not yet, its body empty or not; so does a completion without choices."""
    body = Reply(response.status_code, body=response.content).json() or {}
    return ChatCompletion.construct(**body) if response.status_code == 200 and body.get("choices") else None

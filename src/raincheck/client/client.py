"""`Raincheck` and `AsyncRaincheck`: the openai clients, pointed at a Raincheck server, that can also defer and wait."""

import os
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

import httpx2
from openai import AsyncOpenAI, OpenAI

from raincheck.client.batches.resource import AsyncDeferrableBatches, DeferrableBatches
from raincheck.client.chat import AsyncDeferrableChat, DeferrableChat
from raincheck.client.requests import AsyncRequests, Requests
from raincheck.client.submitting import header_text
from raincheck.client.twins import share_docs
from raincheck.client.videos import AsyncDeferrableVideos, DeferrableVideos
from raincheck.client.webhooks.resource import AsyncRaincheckWebhooks, RaincheckWebhooks

DEFAULT_BASE_URL = "http://127.0.0.1:8421"
PLACEHOLDER_KEY = "no-key"
"""openai insists on a key; a server that was given none ignores it."""


class Raincheck(OpenAI):
    """An `openai.OpenAI` client with `chat.completions.create_and_wait`, `chat.completions.defer`, `videos.generate`
    and its kin, `batches.run`, `requests`, and `webhooks`.

    `base_url` is that of any server that speaks the deferred protocol: the argument, else RAINCHECK_BASE_URL, else
    http://127.0.0.1:8421; /v1 is appended when it has no path. `api_key` is the argument, else RAINCHECK_API_KEY, else
    a placeholder: an OPENAI_API_KEY in the environment is never sent. `webhook_secret` is the argument, else
    RAINCHECK_WEBHOOK_SECRET, else none. Other options are openai's own.
    Raises ValueError for a key that no header can carry.
    """

    def __init__(
        self,
        *,
        base_url: str | httpx2.URL | None = None,
        api_key: str | Callable[[], str] | None = None,
        webhook_secret: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(base_url=_base_url(base_url), api_key=_api_key(api_key), **options)
        self.webhook_secret = webhook_secret or os.environ.get("RAINCHECK_WEBHOOK_SECRET") or None

    @cached_property
    # openai shows its cached properties to type checkers as plain ones
    def chat(self) -> DeferrableChat:  # pyright: ignore[reportIncompatibleMethodOverride]
        return DeferrableChat(self)

    @cached_property
    def videos(self) -> DeferrableVideos:  # pyright: ignore[reportIncompatibleMethodOverride]
        return DeferrableVideos(self)

    @cached_property
    def batches(self) -> DeferrableBatches:  # pyright: ignore[reportIncompatibleMethodOverride]
        return DeferrableBatches(self)

    @cached_property
    def webhooks(self) -> RaincheckWebhooks:  # pyright: ignore[reportIncompatibleMethodOverride]
        return RaincheckWebhooks(self)

    @cached_property
    def requests(self) -> Requests:
        """Every request by its id: look, list, wait, cancel; and `submit` to defer any other call."""
        return Requests(self)


class AsyncRaincheck(AsyncOpenAI):
    def __init__(
        self,
        *,
        base_url: str | httpx2.URL | None = None,
        api_key: str | Callable[[], Awaitable[str]] | None = None,
        webhook_secret: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(base_url=_base_url(base_url), api_key=_api_key(api_key), **options)
        self.webhook_secret = webhook_secret or os.environ.get("RAINCHECK_WEBHOOK_SECRET") or None

    @cached_property
    def chat(self) -> AsyncDeferrableChat:  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncDeferrableChat(self)

    @cached_property
    def videos(self) -> AsyncDeferrableVideos:  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncDeferrableVideos(self)

    @cached_property
    def batches(self) -> AsyncDeferrableBatches:  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncDeferrableBatches(self)

    @cached_property
    def webhooks(self) -> AsyncRaincheckWebhooks:  # pyright: ignore[reportIncompatibleMethodOverride]
        return AsyncRaincheckWebhooks(self)

    @cached_property
    def requests(self) -> AsyncRequests:
        return AsyncRequests(self)


share_docs(Raincheck, AsyncRaincheck)


def _base_url(given: str | httpx2.URL | None) -> str:
    url = httpx2.URL(given or os.environ.get("RAINCHECK_BASE_URL") or DEFAULT_BASE_URL)
    return str(url.copy_with(path="/v1") if url.path in ("", "/") else url)


def _api_key(given: Any) -> Any:
    """Of a key that was read from a file, the line's end is no part."""
    key, name = (given, "api_key") if given else (os.environ.get("RAINCHECK_API_KEY"), "RAINCHECK_API_KEY")
    return header_text(key.strip(), name) or PLACEHOLDER_KEY if isinstance(key, str) else key or PLACEHOLDER_KEY

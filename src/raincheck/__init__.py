"""Raincheck: submit AI inference now, collect the result later."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.metadata import version

    from raincheck import webhooks
    from raincheck.client import (
        AsyncBatchRun,
        AsyncRaincheck,
        AsyncTicket,
        Batch,
        BatchFailed,
        BatchResult,
        BatchRun,
        BatchTimeout,
        Event,
        ListenerRefused,
        NoRequestId,
        Raincheck,
        RaincheckClientError,
        Request,
        RequestCancelled,
        RequestEnded,
        RequestExpired,
        RequestFailed,
        StillRunning,
        Ticket,
        Video,
        WaitStopped,
        WaitTimeout,
        WebhookTimeout,
    )

    __version__ = version("raincheck")

__all__ = [
    "AsyncBatchRun",
    "AsyncRaincheck",
    "AsyncTicket",
    "Batch",
    "BatchFailed",
    "BatchResult",
    "BatchRun",
    "BatchTimeout",
    "Event",
    "ListenerRefused",
    "NoRequestId",
    "Raincheck",
    "RaincheckClientError",
    "Request",
    "RequestCancelled",
    "RequestEnded",
    "RequestExpired",
    "RequestFailed",
    "StillRunning",
    "Ticket",
    "Video",
    "WaitStopped",
    "WaitTimeout",
    "WebhookTimeout",
    "__version__",
    "webhooks",
]


if not TYPE_CHECKING:  # a type checker knows the names from above, and should know the wrong ones too

    def __getattr__(name: str) -> Any:
        """The client is imported when it is first asked for, so that a server process never loads openai."""
        if name == "__version__":
            from importlib.metadata import version

            return version("raincheck")
        if name == "webhooks":  # it needs no client
            return importlib.import_module("raincheck.webhooks")
        if name in __all__:
            return getattr(importlib.import_module("raincheck.client"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

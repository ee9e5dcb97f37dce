"""What can be done blocking can be done awaiting, in the same words."""

import inspect
from typing import Any

import pytest

from raincheck import AsyncRaincheck, AsyncTicket, Raincheck, Ticket
from raincheck.client.batches.adding import AsyncOpenBatch, OpenBatch
from raincheck.client.batches.resource import AsyncDeferrableBatches, DeferrableBatches
from raincheck.client.batches.running import AsyncBatchRun, BatchRun
from raincheck.client.chat import AsyncDeferrableCompletions, DeferrableCompletions
from raincheck.client.requests import AsyncRequests, Requests
from raincheck.client.videos import AsyncDeferrableVideos, DeferrableVideos
from raincheck.client.webhooks.deliveries import AsyncDeliveries, Deliveries
from raincheck.client.webhooks.endpoints import AsyncEndpoints, Endpoints
from raincheck.client.webhooks.listening import AsyncListener, Listener
from raincheck.client.webhooks.resource import AsyncRaincheckWebhooks, RaincheckWebhooks

TWINS: list[tuple[type, type]] = [
    (Raincheck, AsyncRaincheck),
    (Ticket, AsyncTicket),
    (Requests, AsyncRequests),
    (DeferrableCompletions, AsyncDeferrableCompletions),
    (DeferrableVideos, AsyncDeferrableVideos),
    (DeferrableBatches, AsyncDeferrableBatches),
    (BatchRun, AsyncBatchRun),
    (OpenBatch, AsyncOpenBatch),
    (RaincheckWebhooks, AsyncRaincheckWebhooks),
    (Endpoints, AsyncEndpoints),
    (Deliveries, AsyncDeliveries),
    (Listener, AsyncListener),
]
SAME_BUT_FOR = ("BlockingWaitOptions", "WaitOptions"), ("Callable[[], Awaitable[str]]", "Callable[[], str]")


def own(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if not name.startswith("_") or name == "__init__"}


def words(method: Any) -> dict[str, tuple[Any, Any, str]]:
    """Parameter → kind, default, type. A task is stopped by cancelling it, so only threads have a stop event."""
    parameters = inspect.signature(method).parameters.values()
    return {
        p.name: (p.kind, p.default, plain(p.annotation)) for p in parameters if p.name not in ("client", "stop_event")
    }


def plain(annotation: Any) -> str:
    text = str(annotation).replace("Async", "").replace("collections.abc.", "")
    for longer, shorter in SAME_BUT_FOR:
        text = text.replace(longer, shorter)
    return text.replace("raincheck.client.", "")


@pytest.mark.parametrize(("blocking", "awaiting"), TWINS)
def test_both_have_the_same_methods(blocking: type, awaiting: type) -> None:
    assert own(blocking).keys() == own(awaiting).keys()


@pytest.mark.parametrize(("blocking", "awaiting"), TWINS)
def test_each_method_takes_the_same(blocking: type, awaiting: type) -> None:
    for name, method in own(blocking).items():
        if inspect.isfunction(method):
            assert words(method) == words(own(awaiting)[name]), name


@pytest.mark.parametrize(("blocking", "awaiting"), TWINS)
def test_each_method_is_explained_once_and_for_both(blocking: type, awaiting: type) -> None:
    assert inspect.getdoc(awaiting)
    for name, method in own(blocking).items():
        if inspect.isfunction(method) and name != "__init__":
            assert inspect.getdoc(method), name
            assert inspect.getdoc(method) == inspect.getdoc(own(awaiting)[name]), name


@pytest.mark.parametrize(("blocking", "awaiting"), TWINS)
def test_what_blocks_is_awaited(blocking: type, awaiting: type) -> None:
    lazy = {"list", "events", "ready", "results", "listen"}
    for name, method in own(awaiting).items():
        if inspect.isfunction(method) and name != "__init__":
            assert inspect.iscoroutinefunction(method) != (name in lazy), name

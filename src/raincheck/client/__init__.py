"""The Python client: the openai package's own, and what deferred work needs beyond it."""

from raincheck.client.client import AsyncRaincheck, Raincheck
from raincheck.client.errors import (
    NoRequestId,
    RaincheckClientError,
    RequestCancelled,
    RequestEnded,
    RequestExpired,
    RequestFailed,
    StillRunning,
    UnexpectedAnswer,
    UnexpectedResult,
    WaitStopped,
    WaitTimeout,
)
from raincheck.client.events import Event
from raincheck.client.models import Attempt, Request, RequestDeleted, RequestError, Status, UpstreamError, WaitingFor
from raincheck.client.ticket import AsyncTicket, Ticket

__all__ = [
    "AsyncRaincheck",
    "AsyncTicket",
    "Attempt",
    "Event",
    "NoRequestId",
    "Raincheck",
    "RaincheckClientError",
    "Request",
    "RequestCancelled",
    "RequestDeleted",
    "RequestEnded",
    "RequestError",
    "RequestExpired",
    "RequestFailed",
    "Status",
    "StillRunning",
    "Ticket",
    "UnexpectedAnswer",
    "UnexpectedResult",
    "UpstreamError",
    "WaitStopped",
    "WaitTimeout",
    "WaitingFor",
]

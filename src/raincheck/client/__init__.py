"""The Python client: the openai package's own, and what deferred work needs beyond it."""

from raincheck.client.batches.adding import AsyncOpenBatch, NamedBatch, OpenBatch
from raincheck.client.batches.files import BatchFiles
from raincheck.client.batches.models import Batch, BatchCounts, BatchResult, Estimate
from raincheck.client.batches.running import AsyncBatchRun, BatchRun
from raincheck.client.client import AsyncRaincheck, Raincheck
from raincheck.client.errors import (
    BatchFailed,
    BatchTimeout,
    ListenerRefused,
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
    WebhookTimeout,
)
from raincheck.client.events import Event
from raincheck.client.models import (
    Attachment,
    Attempt,
    Request,
    RequestDeleted,
    RequestError,
    Status,
    UpstreamError,
    WaitingFor,
)
from raincheck.client.ticket import AsyncTicket, Ticket
from raincheck.client.video import Video, VideoFile
from raincheck.client.webhooks.listening import AsyncListener, Listener
from raincheck.client.webhooks.models import WebhookDelivery, WebhookEndpoint, WebhookSecret
from raincheck.client.webhooks.receiving import Answer, Received, Rejected

__all__ = [
    "Answer",
    "AsyncBatchRun",
    "AsyncListener",
    "AsyncOpenBatch",
    "AsyncRaincheck",
    "AsyncTicket",
    "Attachment",
    "Attempt",
    "Batch",
    "BatchCounts",
    "BatchFailed",
    "BatchFiles",
    "BatchResult",
    "BatchRun",
    "BatchTimeout",
    "Estimate",
    "Event",
    "Listener",
    "ListenerRefused",
    "NamedBatch",
    "NoRequestId",
    "OpenBatch",
    "Raincheck",
    "RaincheckClientError",
    "Received",
    "Rejected",
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
    "Video",
    "VideoFile",
    "WaitStopped",
    "WaitTimeout",
    "WaitingFor",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookSecret",
    "WebhookTimeout",
]

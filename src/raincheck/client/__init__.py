"""The Python client: the openai package's own, and what deferred work needs beyond it."""

from raincheck.client.batches.adding import AsyncOpenBatch, NamedBatch, OpenBatch
from raincheck.client.batches.files import BatchFiles
from raincheck.client.batches.models import Batch, BatchCounts, BatchResult, Estimate
from raincheck.client.batches.running import AsyncBatchRun, BatchRun
from raincheck.client.client import AsyncRaincheck, Raincheck
from raincheck.client.errors import (
    BatchFailed,
    BatchTimeout,
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

__all__ = [
    "AsyncBatchRun",
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
    "NamedBatch",
    "NoRequestId",
    "OpenBatch",
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
    "Video",
    "VideoFile",
    "WaitStopped",
    "WaitTimeout",
    "WaitingFor",
]

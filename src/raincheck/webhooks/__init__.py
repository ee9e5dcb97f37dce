"""Receive webhooks: `verify` takes a delivery as it came and hands on its event, or raises what is wrong with it.

    from raincheck import webhooks

    event = webhooks.verify(request.body, request.headers, os.environ["RAINCHECK_WEBHOOK_SECRET"])
    match event.type:
        case "video.completed":
            fetch(event.data.id)
        case "video.failed":
            report(event.data.error)

It needs neither a server to talk to nor the openai package, and verifies any sender that keeps to Standard Webhooks.
"""

from raincheck.webhooks.errors import (
    BadPayload,
    BadSecret,
    BadTimestamp,
    CryptographyMissing,
    MissingHeader,
    Replayed,
    TamperedBody,
    TooNew,
    TooOld,
    WebhookError,
    WrongSecret,
    WrongSignature,
)
from raincheck.webhooks.event import Event, EventData, EventError
from raincheck.webhooks.headers import Headers
from raincheck.webhooks.seen import Seen
from raincheck.webhooks.verifying import TOLERANCE, key_id, verify

__all__ = [
    "TOLERANCE",
    "BadPayload",
    "BadSecret",
    "BadTimestamp",
    "CryptographyMissing",
    "Event",
    "EventData",
    "EventError",
    "Headers",
    "MissingHeader",
    "Replayed",
    "Seen",
    "TamperedBody",
    "TooNew",
    "TooOld",
    "WebhookError",
    "WrongSecret",
    "WrongSignature",
    "key_id",
    "verify",
]

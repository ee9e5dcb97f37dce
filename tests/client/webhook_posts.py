"""Deliveries as a sender makes them, signed by the library of Standard Webhooks; and the server that they come from."""

import json
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from standardwebhooks import Webhook

from raincheck.core.clock import now as clock
from tests.client.servers import VERSION, Answer, Asked

SECRET = "whsec_" + b64encode(bytes(range(24))).decode()
OTHER = "whsec_" + b64encode(bytes(range(1, 25))).decode()


def an_event(kind: str = "chat.completion.completed", **data: Any) -> bytes:
    event = {"object": "event", "id": "evt_1", "type": kind, "created_at": 1790000000, "data": {"id": "req_1", **data}}
    return json.dumps(event).encode()


def signed(
    body: bytes,
    *secrets: str,
    id: str = "evt_1",  # noqa: A002
    late: float = 0,
    **extra: str,
) -> dict[str, str]:
    """Headers for a body that was sent `late` seconds ago."""
    sent_at = wall() - timedelta(seconds=late)
    signatures = [Webhook(secret).sign(id, sent_at, body.decode()) for secret in secrets or (SECRET,)]
    stamp = str(int(sent_at.timestamp()))
    return {
        "webhook-id": id,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(signatures),
        **{name.replace("_", "-"): value for name, value in extra.items()},
    }


def signed_with(key: Ed25519PrivateKey, body: bytes) -> dict[str, str]:
    """The same by a key pair (v1a)."""
    headers = signed(b"{}")
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    return {**headers, "webhook-signature": f"v1a,{b64encode(key.sign(content)).decode()}"}


def public(key: Ed25519PrivateKey) -> str:
    return "whpk_" + b64encode(key.public_key().public_bytes_raw()).decode()


def wall() -> datetime:
    return datetime.fromtimestamp(clock() / 1_000_000, UTC)


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


def post(url: str, body: bytes, headers: dict[str, str]) -> Reply:
    there = urlsplit(url)
    connection = HTTPConnection(there.hostname or "", there.port, timeout=10)
    try:
        connection.request("POST", there.path, body, headers)
        answer = connection.getresponse()
        return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def deliver(url: str, kind: str = "chat.completion.completed", secret: str = SECRET, **data: Any) -> int:
    """Send an event and say what was answered."""
    body = an_event(kind, **data)
    return post(url, body, signed(body, secret)).status


@dataclass
class Desk:
    """The webhook calls of a server, as far as a client can see them."""

    secret: str = SECRET
    endpoint_secret: str = OTHER
    refuses: str | None = None

    def __call__(self, asked: Asked) -> Answer:
        match asked.method, asked.path.removeprefix("/v1"):
            case "GET", "/webhook_secret":
                return _ok(
                    {"object": "webhook_secret", "signing_secret": self.secret, "signing_secret_hint": "whsec_…"}
                )
            case "POST", "/webhook_endpoints" if self.refuses:
                return Answer(400, {"error": {"message": self.refuses, "code": "webhook_refused", "param": "url"}})
            case "POST", "/webhook_endpoints" | "/webhook_endpoints/we_1/rotate_secret":
                return _ok(an_endpoint(signing_secret=self.endpoint_secret))
            case "POST", "/webhook_secret/rotate":
                return _ok({"object": "webhook_secret", "signing_secret": OTHER, "previous_active_until": 1790086400.0})
            case "POST", "/webhook_endpoints/we_1/test":
                return _ok({"object": "webhook_endpoint.test", "status_code": 204, "success": True, **asked.body})
            case "DELETE", _:
                return _ok({"id": "we_1", "object": "webhook_endpoint.deleted", "deleted": True})
            case "GET", "/webhook_endpoints":
                return _ok({"object": "list", "data": [an_endpoint()], "has_more": False})
            case _, "/webhook_endpoints/we_1":
                return _ok(an_endpoint(**asked.body))
            case "GET", "/webhook_event_types":
                return _ok({"object": "list", "data": ["batch.completed", "video.completed"]})
            case "GET", "/webhook_deliveries":
                last = asked.query.get("after") == "whd_1"
                return _ok({"object": "list", "data": [a_delivery("whd_2" if last else "whd_1")], "has_more": not last})
            case "POST", "/webhook_deliveries/redeliver":
                return _ok({"object": "webhook_redelivery", "count": 7})
            case _, path if path.startswith("/webhook_deliveries/"):
                return _ok(a_delivery("whd_1", attempts=[{"number": 1, "status_code": 500, "error_code": "status"}]))
            case _:
                return Answer(404, {"error": {"message": "no such path"}})


def an_endpoint(**fields: Any) -> dict[str, Any]:
    state = {
        "status": "failing",
        "failures": 3,
        "include_result": False,
        "signature": "v1",
        "next_try_at": 1790000060.0,
    }
    endpoint = {"id": "we_1", "object": "webhook_endpoint", "created_at": 1790000000, "updated_at": 1790000000}
    endpoint |= {"name": "mine", "url": "https://example.org/hook", "event_types": ["*"], "raincheck": state}
    return endpoint | {name: value for name, value in fields.items() if name != "raincheck"}


def a_delivery(delivery_id: str, **fields: Any) -> dict[str, Any]:
    delivery = {"id": delivery_id, "object": "webhook_delivery", "event_id": "evt_1", "event_type": "video.completed"}
    delivery |= {"object_id": "req_1", "endpoint_id": None, "url": "https://example.org/hook", "status": "failed"}
    return delivery | fields


def _ok(body: object) -> Answer:
    return Answer(200, body, VERSION)

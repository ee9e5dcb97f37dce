"""What /schema says of webhooks: endpoints, the secret of webhook_urls, and the delivery log."""

from typing import Any

from raincheck.http import examples
from raincheck.http.describing import described, parameter

STATE: dict[str, Any] = {
    "status": "enabled",
    "disabled_at": None,
    "disabled_reason": None,
    "failures": 0,
    "failing_since": None,
    "next_try_at": None,
    "include_result": False,
    "signature": "v1",
}
ENDPOINT: dict[str, Any] = {
    "id": "we_0199a3c2f4b87d3e9a51c0de5f00ba47",
    "object": "webhook_endpoint",
    "created_at": 1790000000,
    "updated_at": 1790000000,
    "event_types": ["batch.completed", "video.completed"],
    "name": "my service",
    "url": "https://your-server.example/webhook",
    "signing_secret_hint": "whsec_…d2Fz",
    "raincheck": STATE,
}
WITH_SECRET = ENDPOINT | {"signing_secret": "whsec_…"}
PAGE = {
    "object": "list",
    "data": [ENDPOINT],
    "first_id": ENDPOINT["id"],
    "last_id": ENDPOINT["id"],
    "has_more": False,
}
NEW = {"name": ENDPOINT["name"], "url": ENDPOINT["url"], "event_types": ENDPOINT["event_types"]}
DELETED = {"id": ENDPOINT["id"], "object": "webhook_endpoint.deleted", "deleted": True}
TESTED = {
    "object": "webhook_endpoint.test",
    "event_type": "video.completed",
    "status_code": 200,
    "success": True,
    "webhook_endpoint_id": ENDPOINT["id"],
}
OF_URLS = {
    "object": "webhook_secret",
    "signing_secret": "whsec_…",
    "signing_secret_hint": "whsec_…d2Fz",
    "created_at": 1790000000.123,
    "previous_active_until": None,
}
IN_LIST: dict[str, Any] = {
    "id": "whd_0199a3c2f4b87d3e9a51c0de5f00ba47",
    "object": "webhook_delivery",
    "event_id": "evt_0199a3c2f4b87d3e9a51c0de5f00ba47",
    "event_type": "chat.completion.completed",
    "object_id": examples.ID,
    "endpoint_id": None,
    "url": "https://your-server.example/webhook",
    "status": "pending",
    "attempt": 1,
    "created_at": 1790000004.123,
    "next_attempt_at": 1790000009.345,
    "sending": False,
    "test": False,
    "ended_at": None,
    "status_code": 500,
    "error": "answered 500",
    "receiver": {"failures": 1, "next_try_at": None},
}
ONE = IN_LIST | {
    "attempts": [
        {
            "number": 1,
            "started_at": 1790000004.130,
            "duration_ms": 12.5,
            "status_code": 500,
            "error_code": "status",
            "error": "answered 500",
            "response": "Internal Server Error",
        }
    ]
}
LOG = {"object": "list", "data": [IN_LIST], "first_id": IN_LIST["id"], "last_id": IN_LIST["id"], "has_more": False}
REFUSED = ("Not valid.", examples.error("webhook_refused", "Webhooks go to https URLs.", param="url"))
FULL = ("As many as there may be.", examples.error("too_many_endpoints", "This tenant has 100 endpoints."))
MANY_TESTS = (
    "Too many at once.",
    examples.error(
        "too_many_tests", "As many webhook tests as there may be at once are under way.", "rate_limit_error"
    ),
)
SEALED = (
    "It is sealed with a key that the server does not have.",
    examples.error("secret_sealed", "Set RAINCHECK_SEALING_KEY as it was.", "server_error"),
)
NO_ANSWER = (
    "It gave no answer.",
    examples.error("webhook_unreachable", "There was no answer. It timed out after 15 s.", "server_error"),
)

_ID = parameter("endpoint_id", "path", "The endpoint's id, as in `we_…`.", required=True)
_DELIVERY_ID = parameter("delivery_id", "path", "The delivery's id, as in `whd_…`.", required=True)
_KEEP = {"keep_old_secret_active_for_24_hours": True}

CREATE = described(
    "Register a webhook endpoint",
    """Every event of these types is sent there from now on; `*` stands for every end of a request or batch. The
    signing secret is shown this once. In `raincheck`: `include_result` sends results along up to a size, and
    `signature` may be `v1a`, for Ed25519 instead of a shared secret: `signing_secret` is the public key then.""",
    {200: ("The endpoint.", WITH_SECRET), 400: REFUSED, 409: FULL},
    body=NEW,
    schema="EndpointObject",
)
LIST = described(
    "List webhook endpoints",
    "Newest first, unless asked for otherwise.",
    {200: ("A page.", PAGE), 400: examples.ERRORS[400]},
    parameters=[
        parameter("after", "query", "The `last_id` of the page before."),
        parameter("limit", "query", "1 to 100, by default 20.", "integer"),
        parameter("order", "query", "By when they were made: `desc` or `asc`."),
    ],
)
RETRIEVE = described(
    "Read a webhook endpoint",
    """What it is told, and in `raincheck` how it has been doing: `enabled`, `failing`, or `disabled` by its owner, by
    an answer 410, or after days without one success.""",
    {200: ("The endpoint.", ENDPOINT), 404: examples.ERRORS[404]},
    parameters=[_ID],
    schema="EndpointObject",
)
UPDATE = described(
    "Change a webhook endpoint",
    """What is left out stays as it is. In `raincheck`: `include_result`, and `enabled`; while it is disabled its events
    wait, and are sent when it is enabled again.""",
    {200: ("The endpoint.", ENDPOINT), 400: REFUSED, 404: examples.ERRORS[404]},
    body={"event_types": ["*"], "raincheck": {"enabled": True}},
    parameters=[_ID],
    schema="EndpointObject",
)
DELETE = described(
    "Delete a webhook endpoint",
    "Nothing is sent there any more, and what was in its log is gone.",
    {200: ("Gone.", DELETED), 404: examples.ERRORS[404]},
    parameters=[_ID],
)
ROTATE = described(
    "Replace an endpoint's signing secret",
    """The new one is shown this once, and the old one is over at once. With `keep_old_secret_active_for_24_hours` every
    delivery has two signatures for a day, one by each, so that nothing fails to verify meanwhile.""",
    {200: ("The endpoint.", WITH_SECRET), 404: examples.ERRORS[404]},
    body=_KEEP,
    parameters=[_ID],
    schema="EndpointObject",
)
TEST = described(
    "Send an endpoint a test",
    """A sample event of this type, with `"test": true` in its `data`, sent at once and once: the answer says with which
    status the endpoint answered. It is in the delivery log like any other.""",
    {
        200: ("It answered.", TESTED),
        400: examples.ERRORS[400],
        404: examples.ERRORS[404],
        429: MANY_TESTS,
        502: NO_ANSWER,
    },
    body={"event_type": "video.completed"},
    parameters=[_ID],
)
TYPES = described(
    "List the types of events",
    "What an endpoint may subscribe to. Any other POST that was deferred has types of its own, named after its path.",
    {200: ("The types.", {"object": "list", "data": ["batch.completed", "chat.completion.completed"]})},
)
SECRET = described(
    "Read the secret of webhook_urls",
    """What deliveries to the `webhook_url` of a request or batch are signed with, for this tenant. It is made when it
    is first asked for, or needed; only a key that may read and write sees it.""",
    {200: ("The secret.", OF_URLS), 401: examples.ERRORS[401], 503: SEALED},
)
ROTATE_SECRET = described(
    "Replace the secret of webhook_urls",
    "As for an endpoint.",
    {200: ("The new secret.", OF_URLS | {"previous_active_until": 1790086400.123}), 401: examples.ERRORS[401]},
    body=_KEEP,
)
DELIVERIES = described(
    "List deliveries",
    "The delivery log, newest first: every event with each receiver that it went to or is to go to.",
    {200: ("A page.", LOG), 400: examples.ERRORS[400]},
    parameters=[
        parameter("endpoint_id", "query", "Only deliveries to this endpoint."),
        parameter("object_id", "query", "Only deliveries about this request, batch or endpoint."),
        parameter("status", "query", "`pending`, `delivered` or `failed`."),
        parameter("since", "query", "Only events since then: Unix seconds or RFC 3339."),
        parameter("after", "query", "The `last_id` of the page before."),
        parameter("limit", "query", "1 to 100, by default 20.", "integer"),
    ],
)
DELIVERY = described(
    "Read a delivery",
    "With every attempt: when, how long, what was answered, and the beginning of that answer.",
    {200: ("The delivery.", ONE), 404: examples.ERRORS[404]},
    parameters=[_DELIVERY_ID],
    schema="DeliveryObject",
)
REDELIVER = described(
    "Send a delivery again",
    "Now, and with all attempts before it; the event's id stays the same.",
    {200: ("The delivery.", IN_LIST | {"attempt": 0, "next_attempt_at": 1790000100.0}), 404: examples.ERRORS[404]},
    parameters=[_DELIVERY_ID],
    schema="DeliveryObject",
)
REDELIVER_ALL = described(
    "Send many deliveries again",
    """Those that failed for events from `since` on, up to `until` (now), to all receivers or one endpoint; with
    `delivered_too` those that had arrived as well.""",
    {200: ("How many.", {"object": "webhook_redelivery", "count": 42}), 400: examples.ERRORS[400]},
    body={"since": 1790000000, "endpoint_id": ENDPOINT["id"]},
)

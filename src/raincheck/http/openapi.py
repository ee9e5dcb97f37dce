"""What /schema says of each route: its sentence, its parameters, and examples of what goes in and comes out."""

import msgspec
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, PathItem, Schema, SecurityScheme

from raincheck.http import examples
from raincheck.http.batches.as_openai import BatchObject
from raincheck.http.batches.as_xai import XaiBatchObject
from raincheck.http.describing import Verbatim, described, parameter
from raincheck.http.docs import DocsPage
from raincheck.http.render import RequestObject
from raincheck.http.shapes import answers_with_bytes, answers_with_events
from raincheck.http.videos.as_native import VideoObject
from raincheck.http.videos.as_openai import OpenAIVideo
from raincheck.http.webhooks.showing import DeliveryObject, EndpointObject
from raincheck.intake.options import OptionsBody

ABOUT = """Submit now, collect later: a POST with `"deferred": true` or `Prefer: respond-async` is recorded and answered
at once with an id; everything else is passed through to the upstream. Errors are `{"error": {"message", "type",
"param", "code"}}`, on /xai/v1 `{"code", "error"}`. Every answer carries `x-request-id`."""


def openapi_config(version: str) -> OpenAPIConfig:
    """Litestar's settings: the JSON at /schema/openapi.json, and a page without scripts at /schema."""
    bearer = SecurityScheme(type="http", scheme="bearer", description="An API key: `rc_…`")
    return OpenAPIConfig(
        title="Raincheck",
        version=version,
        description=ABOUT,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        components=Components(security_schemes={"key": bearer}),
        security=[{"key": []}, {}],
        webhooks={"event": PathItem(post=EVENT())},
        render_plugins=[JsonRenderPlugin(), DocsPage()],
        path="/schema",
    )


def schemas() -> dict[str, Schema]:
    """The shapes that routes refer to by name; Litestar has no place to hand them in before it builds the document."""
    _, written = msgspec.json.schema_components(
        [
            RequestObject,
            OptionsBody,
            VideoObject,
            OpenAIVideo,
            BatchObject,
            XaiBatchObject,
            EndpointObject,
            DeliveryObject,
        ],
        ref_template="#/components/schemas/{name}",
    )
    return {name: Verbatim(written=schema) for name, schema in written.items()}


def _error(status: int) -> tuple[str, object]:
    return examples.ERRORS[status]


ID = parameter("request_id", "path", "The request's id, as in `req_…`.", required=True)
WAIT = parameter(
    "wait", "query", "Seconds (0 to 60) to hold the answer until the request has ended; or `Prefer: wait=N`.", "number"
)
SINCE = parameter("since", "query", "With `wait`: answer too as soon as the status is no longer this one.")
PREFER = parameter(
    "Prefer",
    "header",
    "`respond-async` defers; `return=representation` answers with the request; `wait=N` (seconds, up to 60) holds the "
    "answer to a deferred submit until the request has ended, and then answers with the result.",
)
KEY = parameter("Idempotency-Key", "header", "Submitting again with the same key and body answers with the first.")
FILTERS = [
    parameter(name, "query", sentence, kind)
    for name, sentence, kind in (
        ("status", "Only requests that stand here.", "string"),
        ("model", "Only requests for this model.", "string"),
        ("queue", "Only requests in this queue.", "string"),
        ("operation", "Only requests of this kind, as in `chat.completion`; `video` is all on videos.", "string"),
        ("metadata[key]", "Only requests with this value in their metadata; may be given for several keys.", "string"),
        ("created_after", "Unix seconds or RFC 3339, inclusive.", "string"),
        ("created_before", "Unix seconds or RFC 3339, exclusive.", "string"),
        ("after", "The `last_id` of the page before.", "string"),
        ("limit", "1 to 100, by default 20.", "integer"),
        ("order", "`desc`, newest first, or `asc`; `after` goes on in this order.", "string"),
    )
]

CHAT = described(
    "Create a chat completion, now or later",
    """With `"deferred": true` in the body, or `Prefer: respond-async`, the request is recorded and answered at once
    with its id. Otherwise the call is passed through to the upstream, streaming included. Options for a deferred
    request are in the member `raincheck` (`OptionsBody`) or in `Raincheck-…` headers; `webhook_url`, `webhook_events`
    and `include_result` may also stand at the top of its body.""",
    {
        200: ("Recorded (or, passed through, the upstream's answer).", examples.TICKET),
        202: ("Recorded, when asked for by `Prefer: respond-async`.", examples.TICKET),
        400: _error(400),
        401: _error(401),
        404: _error(404),
        409: _error(409),
        413: _error(413),
        429: _error(429),
        503: _error(503),
    },
    body=examples.CHAT,
    parameters=[PREFER, KEY],
    loose=True,
    also=answers_with_events,
)
XAI_CHAT = described(
    "Create a chat completion, as xAI has it",
    "As POST /v1/chat/completions, with xAI's flat errors and a bare UUID as the id.",
    {200: ("Recorded.", examples.XAI_TICKET), 400: ("Not valid.", examples.XAI_ERROR)},
    body=examples.CHAT,
    parameters=[PREFER, KEY],
    loose=True,
    also=answers_with_events,
)
DEFERRED = described(
    "Collect a deferred completion",
    """202 with no choices until the request has ended; then the completion as the upstream gave it, as often as it is
    asked for until its retention ends. A request that failed answers with the upstream's error.""",
    {
        200: ("The completion.", examples.COMPLETION),
        202: ("Not ended yet.", examples.TICKET),
        404: _error(404),
        409: ("Cancelled.", examples.error("cancelled", "The request was cancelled.")),
        410: ("Expired, or the result was purged.", examples.error("result_gone", "The result was purged.")),
    },
    parameters=[ID, WAIT],
    loose=True,
)
RETRIEVE = described(
    "Read a request",
    """Where it stands, why it waits, how far it is, and its result or error. A result above 1 MiB that is kept in an
    object store is not in it: `result` is null, and `result_url` says where to fetch its `result_size` bytes (a link
    that anyone may follow for an hour, or GET /v1/requests/{id}/result of this server). `attachments` are the files
    that it has made, each with a link that needs no key.""",
    {200: ("The request.", examples.REQUEST), 404: _error(404)},
    parameters=[ID, WAIT, SINCE],
    schema="RequestObject",
)
LIST = described(
    "List requests",
    "Newest first, without results, attempts and places in the queue.",
    {200: ("A page.", examples.PAGE), 400: _error(400)},
    parameters=FILTERS,
)
CANCEL = described(
    "Cancel a request",
    "A pending one is never sent upstream, one under way is aborted. Cancelling again changes nothing.",
    {200: ("The request.", examples.CANCELLED), 404: _error(404), 409: _error(409)},
    parameters=[ID],
    schema="RequestObject",
)
REQUEUE = described(
    "Submit a request again",
    "Makes a copy of a failed, cancelled or expired request, with an id of its own.",
    {200: ("The new request.", examples.REQUEST), 404: _error(404), 409: _error(409)},
    parameters=[ID],
    schema="RequestObject",
)
DELETE = described(
    "Forget an ended request",
    "The request, its result and its history are gone at once.",
    {200: ("Gone.", examples.DELETED), 404: _error(404), 409: _error(409)},
    parameters=[ID],
)
RESULT = described(
    "Read a result alone",
    "The bytes the upstream sent, with their content type; 202 and the request until there are any.",
    {200: ("The result.", examples.COMPLETION), 202: ("Not ended yet.", examples.REQUEST), 404: _error(404)},
    parameters=[ID, WAIT],
    loose=True,
    also=answers_with_bytes,
)
EVENTS = described(
    "Follow a request",
    """Server-sent events: `status` at the start and at each change, `progress`, and `delta` with the upstream's chunks
    as they come; `dropped` counts chunks that are gone. Chunks have ids `{fence}-{number}`: with another fence the
    answer begins anew, after a `status`. The final status closes the stream.""",
    {200: ("The events.", examples.EVENTS), 404: _error(404)},
    parameters=[ID, parameter("Last-Event-ID", "header", "The id of the last delta seen; those after it follow.")],
)
MODELS = described("List the models", "What the upstreams serve.", {200: ("The models.", examples.MODELS)})
MODEL = described(
    "Read a model",
    "One of the list.",
    {200: ("The model.", examples.MODEL), 404: _error(404)},
    parameters=[parameter("model", "path", "The model's name.", required=True)],
)
PASSTHROUGH = described(
    "Any other call an upstream takes",
    """A JSON POST such as /v1/embeddings: passed through to the upstream that serves its `model`, or, with
    `Prefer: respond-async`, recorded to be done later.""",
    {
        200: ("The upstream's answer.", examples.EMBEDDING),
        202: ("Recorded.", examples.REQUEST),
        400: _error(400),
        404: _error(404),
    },
    body=examples.EMBEDDING_CALL,
    parameters=[parameter("path", "path", "Below the upstream's base URL.", required=True), PREFER, KEY],
    loose=True,
    also=answers_with_events,
)
LIVE = described("Is the process alive", "Answers as long as the process does.", {200: ("Yes.", {"status": "ok"})})
READY = described(
    "Can requests be accepted",
    "503 while the store cannot be used or the server is stopping; an upstream that is down is only reported.",
    {200: ("Yes.", examples.READY), 503: ("No.", {**examples.READY, "status": "stopping"})},
)
METRICS = described("Metrics", "Prometheus text.", {200: ("The metrics.", "# HELP …")})
EVENT = described(
    "What a webhook is sent",
    """To each `webhook_url` and endpoint that asked for this type of event; sent again until it is answered 2xx. `data`
    is about the request or batch, with its `result` where `include_result` was asked for.""",
    {200: ("Taken, by any 2xx. 410: never again.", {})},
    body=examples.EVENT,
    parameters=[
        parameter("webhook-id", "header", "The event's id, the same each time it is sent.", required=True),
        parameter("webhook-timestamp", "header", "Unix seconds of this attempt.", "integer", required=True),
        parameter("webhook-signature", "header", "One per secret that signs, with spaces between.", required=True),
        parameter("raincheck-key", "header", "A short name of each of those secrets, with commas.", required=True),
        parameter("raincheck-delivery", "header", "The delivery's id, for its log.", required=True),
        parameter("raincheck-attempt", "header", "Which attempt of its schedule it is.", "integer", required=True),
    ],
)

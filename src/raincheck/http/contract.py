"""Takes the OpenAPI document as Litestar builds it, hands on what holds for all of it: how errors look, and which
answer leads where."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from litestar.openapi.spec import Link, OpenAPI, OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, Reference

from raincheck.http.describing import Shown, Verbatim
from raincheck.http.problems import xai_name

METHODS = ("get", "post", "delete")
_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": _TEXT, "type": _TEXT, "param": _TEXT_OR_NULL, "code": _TEXT_OR_NULL},
        }
    },
}
_XAI_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["code", "error"],
    "properties": {"code": _TEXT, "error": _TEXT},
}
ERRORS = {"ErrorAnswer": Verbatim(written=_ERROR), "XaiErrorAnswer": Verbatim(written=_XAI_ERROR)}
OPEN = frozenset({"/health/live", "/health/ready", "/media/{token}/{name}"})
"""What needs no key."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Where the id in some answers leads."""

    answers: tuple[str, ...]
    """Operations, as in `post /v1/files`."""
    at: str
    """Where the id is in their answers, as a JSON pointer."""
    parameter: str
    """What those it leads to call it."""
    to: tuple[str, ...]
    body: Mapping[str, str] | None = None
    """Instead of the parameter: a body with the id in it."""


def _below(path: str, *, read: bool = True, delete: bool = True, get: str = "", post: str = "") -> tuple[str, ...]:
    """The operations on one thing: read and delete it, and what is below it."""
    own = [f"get {path}"] * read + [f"delete {path}"] * delete
    return (*own, *(f"get {path}/{each}" for each in get.split()), *(f"post {path}/{each}" for each in post.split()))


_REQUEST = (
    *_below("/v1/requests/{request_id}", get="result events", post="cancel requeue"),
    "get /v1/chat/deferred-completion/{request_id}",
)
_VIDEO = _below("/v1/videos/{video_id}", get="content", post="cancel remix")
_BATCH = _below("/v1/batches/{batch_id}", delete=False, get="results requests", post="cancel")
_FILE = "/v1/files/{file_id}"
_ENDPOINT = "/v1/webhook_endpoints/{endpoint_id}"
LEADS = (
    Lead(
        (
            "post /v1/chat/completions",
            "post /v1/{path}",
            "post /v1/requests/{request_id}/cancel",
            "post /v1/requests/{request_id}/requeue",
        ),
        "/id",
        "request_id",
        _REQUEST,
    ),
    Lead(("get /v1/requests",), "/data/0/id", "request_id", _REQUEST),
    Lead(
        ("post /xai/v1/chat/completions",),
        "/request_id",
        "request_id",
        ("get /xai/v1/chat/deferred-completion/{request_id}", *_below("/v1/requests/{request_id}", post="cancel")),
    ),
    Lead(
        ("post /v1/responses",),
        "/id",
        "response_id",
        _below("/v1/responses/{response_id}", get="input_items", post="cancel"),
    ),
    Lead(
        (
            "post /v1/videos",
            "post /v1/videos/generations",
            "post /v1/videos/edits",
            "post /v1/videos/extensions",
            "post /v1/videos/{video_id}/remix",
        ),
        "/id",
        "video_id",
        _VIDEO,
    ),
    Lead(("get /v1/videos",), "/data/0/id", "video_id", _VIDEO),
    Lead(
        tuple(f"post /xai/v1/videos/{each}" for each in ("generations", "edits", "extensions")),
        "/request_id",
        "video_id",
        (*_below("/xai/v1/videos/{video_id}", delete=False, post="cancel"), "get /v1/videos/{video_id}/content"),
    ),
    Lead(("post /v1/files",), "/id", "file_id", _below(_FILE, get="content")),
    Lead(("post /xai/v1/files",), "/id", "file_id", _below("/xai" + _FILE, get="content")),
    Lead(
        ("post /v1/files",),
        "/id",
        "input_file_id",
        ("post /v1/batches",),
        {"input_file_id": "{id}", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
    ),
    Lead(("post /v1/batches",), "/id", "batch_id", _BATCH),
    Lead(
        ("post /xai/v1/batches",),
        "/batch_id",
        "batch_id",
        _below("/xai/v1/batches/{batch_id}", delete=False, get="results requests", post="cancel requests"),
    ),
    Lead(
        ("post /v1/webhook_endpoints",),
        "/id",
        "endpoint_id",
        (*_below(_ENDPOINT, post="rotate_secret test"), f"post {_ENDPOINT}"),
    ),
    Lead(
        ("get /v1/webhook_deliveries",),
        "/data/0/id",
        "delivery_id",
        _below("/v1/webhook_deliveries/{delivery_id}", delete=False, post="redeliver"),
    ),
)


def complete(document: OpenAPI) -> None:
    """Write into the document what no route says by itself."""
    assert document.components is not None  # noqa: S101
    assert document.components.schemas is not None  # noqa: S101
    document.components.schemas.update(ERRORS)
    named = dict(_operations(document))
    for name, operation in named.items():
        path = name.partition(" ")[2]
        _later(operation)
        _errors(operation, "XaiErrorAnswer" if path.startswith("/xai/") else "ErrorAnswer")
        if path in OPEN:
            operation.security = [{}]
    for lead in LEADS:
        for answer in lead.answers:
            _link(named[answer], lead, named)


def _operations(document: OpenAPI) -> Iterator[tuple[str, Operation]]:
    for path, item in (document.paths or {}).items():
        for method in METHODS:
            if (operation := getattr(item, method)) is not None:
                yield f"{method} {path}", operation


def _later(operation: Operation) -> None:
    """Whatever can be preferred to be done later has an answer that says so."""
    answers = operation.responses or {}
    preferred = any(each.name == "Prefer" for each in operation.parameters or () if isinstance(each, Parameter))
    if preferred and "202" not in answers and isinstance(recorded := answers["200"], OpenAPIResponse):
        sentence = "Recorded, when asked for by `Prefer: respond-async`."
        operation.responses = {"200": recorded, "202": OpenAPIResponse(sentence, content=recorded.content), **answers}


def _errors(operation: Operation, shape: str) -> None:
    """One shape for every error, and a word on all those that the route does not list."""
    kind = Reference(ref=f"#/components/schemas/{shape}")
    assert operation.responses is not None  # noqa: S101
    for status, response in operation.responses.items():
        if status.startswith(("4", "5")) and isinstance(response, OpenAPIResponse):
            for content in (response.content or {}).values():
                _shaped(content, int(status), kind, flat=shape == "XaiErrorAnswer")
    operation.responses["default"] = OpenAPIResponse(
        "Any other error.", content={"application/json": OpenAPIMediaType(schema=kind)}
    )


def _shaped(content: OpenAPIMediaType, status: int, kind: Reference, *, flat: bool) -> None:
    """Give the error of a route its shape; its example was written for all dialects at once."""
    [example] = (content.examples or {}).values()
    shown: Any = example.value if isinstance(example, Shown) else None
    if "error" not in shown:
        return  # What /health/ready says when it is not.
    content.schema = kind
    if flat and isinstance(shown["error"], dict):
        content.examples = {"example": Shown(value={"code": xai_name(status), "error": shown["error"]["message"]})}


def _link(operation: Operation, lead: Lead, named: dict[str, Operation]) -> None:
    """Add the lead's links to the answers that have the id."""
    expression = f"$response.body#{lead.at}"
    for status, response in (operation.responses or {}).items():
        if status not in ("200", "202") or not isinstance(response, OpenAPIResponse):
            continue
        links = response.links = response.links or {}
        for target in lead.to:
            told = named[target].operation_id
            assert told is not None  # noqa: S101
            if lead.body is None:
                links[told] = Link(operation_id=told, parameters={f"path.{lead.parameter}": expression})
            else:
                links[told] = Link(operation_id=told, request_body=_with_id(lead.body, expression))


def _with_id(body: Mapping[str, str], expression: str) -> dict[str, str]:
    return {name: expression if value == "{id}" else value for name, value in body.items()}

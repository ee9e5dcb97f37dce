"""Takes the description of a route, adds to it: that it takes a form, answers with a stream, or with bytes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from litestar.openapi.spec import OpenAPIMediaType, OpenAPIResponse, Operation, RequestBody

from raincheck.http import examples
from raincheck.http.describing import Shown, Verbatim, parameter

ANOTHER = ("Another than If-Match names.", examples.error("precondition_failed", "This is not the body."))
NOT_IN_IT = ("No such bytes.", examples.error("range_not_satisfiable", "The body has 48213 bytes."))
CONDITIONS = (
    parameter("Range", "header", "The part that is asked for, as in `bytes=0-1023`."),
    parameter("If-Range", "header", "The `etag` of which it must be a part, else all is sent."),
    parameter("If-Match", "header", "412 unless this is the `etag`."),
    parameter("If-None-Match", "header", "304 if this is the `etag`: it is known already."),
)
FILE: Mapping[str, Any] = {"type": "string", "format": "binary"}
TEXT: Mapping[str, Any] = {"type": "string"}


def takes_form(members: Mapping[str, Any], *, required: Sequence[str] = ()) -> Callable[[Operation], None]:
    """It takes a form with these members: as well as JSON if it takes that."""
    written = {"type": "object", "properties": dict(members), "required": list(required)}

    def add(operation: Operation) -> None:
        form = {"multipart/form-data": OpenAPIMediaType(schema=Verbatim(written=written))}
        others = operation.request_body.content if isinstance(operation.request_body, RequestBody) else {}
        operation.request_body = RequestBody(content={**others, **form}, required=True)

    return add


def answers_with_events(operation: Operation) -> None:
    """Asked for a stream, it answers with one."""
    answer = (operation.responses or {})["200"]
    assert isinstance(answer, OpenAPIResponse)  # noqa: S101
    # A schema would speak of each event, not of the text that they stand in.
    answer.content = {**(answer.content or {}), "text/event-stream": _shown("data: {…}\n\n")}


def answers_with_bytes(operation: Operation) -> None:
    """Its answer is a body as it was kept, whole or in part."""
    told = _shown("…")
    plain = operation.responses or {}
    operation.parameters = [*(operation.parameters or []), *CONDITIONS]
    operation.responses = {
        "200": OpenAPIResponse("The bytes.", content={"*/*": told}),
        "206": OpenAPIResponse("The part that was asked for.", content={"*/*": told}),
        **{status: answer for status, answer in plain.items() if status != "200"},
        "304": OpenAPIResponse("It is known already."),
        "412": OpenAPIResponse(ANOTHER[0], content={"application/json": _shown(ANOTHER[1])}),
        "416": OpenAPIResponse(NOT_IN_IT[0], content={"application/json": _shown(NOT_IN_IT[1])}),
    }


def _shown(example: object) -> OpenAPIMediaType:
    return OpenAPIMediaType(examples={"example": Shown(value=example)})

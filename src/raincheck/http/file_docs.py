"""What /schema says of files: uploads, what requests made, and links."""

from dataclasses import dataclass
from typing import Any

from litestar.openapi.spec import Example, OpenAPIMediaType, OpenAPIResponse, Operation, Parameter, RequestBody

from raincheck.http import examples
from raincheck.http.openapi import ID, Verbatim, described

FILE: dict[str, Any] = {
    "id": "file-0199a3c2f4b87d3e9a51c0de5f00ba47",
    "object": "file",
    "bytes": 48213,
    "created_at": 1790000000,
    "expires_at": None,
    "filename": "waves.mp4",
    "purpose": "user_data",
    "status": "processed",
    "status_details": None,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
PAGE = {"object": "list", "data": [FILE], "first_id": FILE["id"], "last_id": FILE["id"], "has_more": False}
DELETED = {"id": FILE["id"], "object": "file", "deleted": True}
GONE = ("Gone, or the link is over.", examples.error("attachment_gone", "The file is not there any more."))
ANOTHER = ("Another than If-Match names.", examples.error("precondition_failed", "This is not the body."))
NOT_IN_IT = ("No such bytes.", examples.error("range_not_satisfiable", "The body has 48213 bytes."))


def _named(name: str, place: str, sentence: str, kind: str = "string", *, required: bool = False) -> Parameter:
    return Parameter(
        name=name, param_in=place, description=sentence, schema=Verbatim(written={"type": kind}), required=required
    )


def _bytes(summary: str, description: str, parameters: list[Parameter]) -> type[Operation]:
    """The description of a route that answers with a file, whole or in part."""
    text = described(
        summary,
        f"{description} With a Range header, that part; with If-None-Match, 304 when it is known already.",
        {404: examples.ERRORS[404], 410: GONE, 412: ANOTHER, 416: NOT_IN_IT},
        parameters=parameters,
    )

    @dataclass
    class Bytes(Operation):
        def __post_init__(self) -> None:
            plain = text()
            self.summary, self.description, self.parameters = plain.summary, plain.description, plain.parameters
            shown = OpenAPIMediaType(
                schema=Verbatim(written={"type": "string", "format": "binary"}),
                examples={"example": Example(value="…")},
            )
            whole = OpenAPIResponse("The bytes.", content={"*/*": shown})
            part = OpenAPIResponse("The part that was asked for.", content={"*/*": shown})
            self.responses = {"200": whole, "206": part, **(plain.responses or {})}

    return Bytes


def _form(operation: type[Operation], members: dict[str, Any]) -> type[Operation]:
    """The description of a route that takes a form."""

    @dataclass
    class WithForm(Operation):
        def __post_init__(self) -> None:
            plain = operation()
            self.summary, self.description, self.responses = plain.summary, plain.description, plain.responses
            schema = Verbatim(written={"type": "object", "properties": members, "required": ["file"]})
            content = {"multipart/form-data": OpenAPIMediaType(schema=schema)}
            self.request_body = RequestBody(content=content, required=True)

    return WithForm


FILE_ID = _named("file_id", "path", "The file's id, as in `file_…`.", required=True)
UPLOAD = _form(
    described(
        "Upload a file",
        """A form with the part `file`, to be named in requests by its id, or to be the input of a batch with the
        purpose `batch`. It is kept until it is deleted, or for as long as `expires_after` says; unless that says
        otherwise, a batch's input is kept for 30 days. With the field `sha256`, or the header Content-Digest of the
        whole body, it is kept only if it arrived as it was sent.""",
        {200: ("The file.", FILE), 400: examples.ERRORS[400], 413: examples.ERRORS[413]},
    ),
    {
        "file": {"type": "string", "format": "binary"},
        "purpose": {"type": "string", "default": "user_data"},
        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
        "expires_after[seconds]": {"type": "integer"},
        "sha256": {"type": "string", "description": "The SHA-256 of the file, in hex."},
    },
)
LIST = described(
    "List files",
    "Newest first, unless asked for otherwise.",
    {200: ("A page.", PAGE), 400: examples.ERRORS[400]},
    parameters=[
        _named("after", "query", "The `last_id` of the page before."),
        _named("limit", "query", "1 to 10,000, which is the default.", "integer"),
        _named("order", "query", "By when they were uploaded: `desc` or `asc`."),
        _named("pagination_token", "query", "On /xai/v1: the one of the page before."),
        _named("purpose", "query", "Only files for this."),
    ],
)
RETRIEVE = described(
    "Read what is known of a file",
    "Its name, size and purpose.",
    {200: ("The file.", FILE), 404: examples.ERRORS[404]},
    parameters=[FILE_ID],
)
DELETE = described(
    "Delete a file",
    "Requests that it was given to keep what they need of it.",
    {200: ("Gone.", DELETED), 404: examples.ERRORS[404]},
    parameters=[FILE_ID],
)
CONTENT = _bytes("Download a file", "What was uploaded.", [FILE_ID])
ATTACHMENT = _bytes(
    "Download a file of a request",
    "What it made, or what it was given.",
    [ID, _named("name", "path", "As in `video.mp4`.", required=True)],
)
MEDIA = _bytes(
    "Follow a link",
    "A file that a request made, by a link that its owner was given; no key is needed until the link is over.",
    [
        _named("token", "path", "What the link was signed with.", required=True),
        _named("name", "path", "As in `video.mp4`.", required=True),
    ],
)

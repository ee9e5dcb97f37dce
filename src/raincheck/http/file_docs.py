"""What /schema says of files: uploads, what requests made, and links."""

from typing import Any

from litestar.openapi.spec import Operation, Parameter

from raincheck.http import examples, shapes
from raincheck.http.describing import described, parameter
from raincheck.http.openapi import ID
from raincheck.http.shapes import answers_with_bytes, takes_form

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


def _bytes(summary: str, description: str, parameters: list[Parameter]) -> type[Operation]:
    """The description of a route that answers with a file."""
    answers = {404: examples.ERRORS[404], 410: GONE}
    return described(summary, description, answers, parameters=parameters, also=answers_with_bytes)


FILE_ID = parameter("file_id", "path", "The file's id, as in `file_…`.", required=True)
UPLOAD = described(
    "Upload a file",
    """A form with the part `file`, to be named in requests by its id, or to be the input of a batch with the purpose
    `batch`. It is kept until it is deleted, or for as long as `expires_after` says; unless that says otherwise, a
    batch's input is kept for 30 days. With the field `sha256`, or the header Content-Digest of the whole body, it is
    kept only if it arrived as it was sent.""",
    {200: ("The file.", FILE), 400: examples.ERRORS[400], 413: examples.ERRORS[413]},
    also=takes_form(
        {
            "file": shapes.FILE,
            "purpose": {"type": "string", "default": "user_data"},
            "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
            "expires_after[seconds]": {"type": "integer"},
            "sha256": {"type": "string", "description": "The SHA-256 of the file, in hex."},
        },
        required=["file"],
    ),
)
LIST = described(
    "List files",
    "Newest first, unless asked for otherwise.",
    {200: ("A page.", PAGE), 400: examples.ERRORS[400]},
    parameters=[
        parameter("after", "query", "The `last_id` of the page before."),
        parameter("limit", "query", "1 to 10,000, which is the default.", "integer"),
        parameter("order", "query", "By when they were uploaded: `desc` or `asc`."),
        parameter("pagination_token", "query", "On /xai/v1: the one of the page before."),
        parameter("purpose", "query", "Only files for this."),
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
    [ID, parameter("name", "path", "As in `video.mp4`.", required=True)],
)
MEDIA = _bytes(
    "Follow a link",
    "A file that a request made, by a link that its owner was given; no key is needed until the link is over.",
    [
        parameter("token", "path", "What the link was signed with.", required=True),
        parameter("name", "path", "As in `video.mp4`.", required=True),
    ],
)

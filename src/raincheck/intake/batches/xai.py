"""Takes one `batch_request` of xAI's batch API, hands on the call that it stands for."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

from raincheck.core.errors import BadInput
from raincheck.intake.bodies import read_object

KINDS: Mapping[str, str] = {
    "chat_get_completion": "/v1/chat/completions",
    "completion_request": "/v1/chat/completions",
    "image_generation": "/v1/images/generations",
    "image_request": "/v1/images/generations",
    "image_edit": "/v1/images/edits",
    "video_generation": "/v1/videos/generations",
    "video_request": "/v1/videos/generations",
    "video_edit": "/v1/videos/edits",
    "video_extension": "/v1/videos/extensions",
    "video_extension_request": "/v1/videos/extensions",
}
"""What each kind asks. The REST guide shows the chat's name; others are named by their protobuf fields, or by what
they do, and clients write either."""


class Converted(NamedTuple):
    """A call as a line of OpenAI's form has it."""

    url: str
    body: msgspec.Raw


def convert(request: msgspec.Raw) -> Converted:
    """The call: `{"chat_get_completion": {…}}` asks `/v1/chat/completions`. Raises BadInput."""
    text = bytes(request)
    if not text.startswith(b"{"):
        raise BadInput('`batch_request` must be an object such as {"chat_get_completion": {…}}.', param="batch_request")
    # A protobuf message written as JSON may show the kinds that it does not have as null.
    said = {name: raw for name, raw in read_object(text).items() if bytes(raw) != b"null"}
    kinds = ", ".join(KINDS)
    if len(said) != 1:
        raise BadInput(f"`batch_request` must have one of {kinds}; it has {len(said)} members.", param="batch_request")
    [(kind, body)] = said.items()
    if (url := KINDS.get(kind)) is None:
        raise BadInput(f"`batch_request` has {kind[:100]!r}; it must have one of {kinds}.", param="batch_request")
    return Converted(url, body)

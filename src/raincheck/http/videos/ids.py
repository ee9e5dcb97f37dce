"""Takes the id of a video, hands on the dialect it was made in: shared paths answer in that one."""

import re
from enum import Enum, auto

from raincheck.core.ids import is_uuid, new_id, new_uuid

_OPENAI = re.compile(r"video_[0-9a-f]{32}")
_NATIVE = {"/videos/generations": "video_gen", "/videos/edits": "video_edit", "/videos/extensions": "video_ext"}


class Dialect(Enum):
    """Whose words and shapes an answer has."""

    NATIVE = auto()
    OPENAI = auto()
    XAI = auto()


def dialect_of(request_id: str) -> Dialect:
    """The dialect that an id is of. What is neither OpenAI's nor xAI's is ours, as a requeued `req_…` is."""
    if _OPENAI.fullmatch(request_id):
        return Dialect.OPENAI
    return Dialect.XAI if is_uuid(request_id) else Dialect.NATIVE


def fresh_id(dialect: Dialect, path: str) -> str:
    """An id for a new request to a path below the upstream's base URL."""
    match dialect:
        case Dialect.NATIVE:
            return new_id(_NATIVE[path])
        case Dialect.OPENAI:
            return new_id("video")
        case Dialect.XAI:
            return new_uuid()

"""Events: what happened to a request, a batch or an endpoint, and what it is called.

Every end has its one event, written in the transaction that ended it (G6). That work has begun, or how far it is, is
told to those alone who asked for it.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

from raincheck.core.batches import BatchStatus
from raincheck.core.operations import OPERATIONS, is_video
from raincheck.core.status import Status


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the outbox, written in the transaction that ended what it speaks of."""

    id: str
    tenant: str
    type: str
    created_at: int
    webhook_url: str | None = None
    request_id: str | None = None
    batch_id: str | None = None
    """What has ended: exactly one of these two is set."""


ALL = "*"
"""Stands for every end, of whatever kind."""
ENDS = tuple(status.value for status in Status if status.final)
"""The last words of the events that tell of an end."""
PROCESSING, PROGRESS = "processing", "progress"
MOMENTS = (PROCESSING, PROGRESS, *ENDS)
"""What a caller can ask to be told of its own request: work has begun, how far it is, and each way to end."""
ENDPOINT_DISABLED = "webhook_endpoint.disabled"

_RESPONSE_ENDS = ("completed", "failed", "cancelled", "incomplete")
_TYPE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+")
"""What Standard Webhooks lets a type be made of."""
_ELSE = re.compile(r"[^A-Za-z0-9_.]")
_OPENAI_ONLY = (
    "eval.run.",
    "fine_tuning.job.",
    "realtime.call.",
    "live.",
    "agent.environment.",
    "agent.session.",
    "safety.",
)
"""What OpenAI has events for and this server does no work of."""
_OPENAI = ("batch", "response", "video")
"""Families whose types are all known."""


def _plurals() -> dict[str, str]:
    """Each spelling of a known family with a word of it in the plural."""
    found: dict[str, str] = {}
    for family in (*OPERATIONS, *_OPENAI):
        words = [(word, word + ("es" if word.endswith("ch") else "s")) for word in family.split(".")]
        found |= {spelling: family for each in product(*words) if (spelling := ".".join(each)) != family}
    return found


_PLURALS = _plurals()


def event_type(what: str, status: Status | BatchStatus, *, incomplete: bool = False, of: str = "") -> str:
    """The name of an end, in the words of the API by which the work came: `what` is the operation, or `batch`, and
    `of` the id of the request.

    Responses, and videos asked for as OpenAI's, have its names and ends (`response.incomplete`, `video.completed`); all
    else is called after its operation, as in `chat.completion.cancelled`.
    """
    if what == "response":
        if status is Status.COMPLETED and incomplete:
            return "response.incomplete"
        return f"response.{Status.FAILED if status is Status.EXPIRED else status}"
    if is_openai_video(what, of):
        return f"video.{status if status is Status.COMPLETED else Status.FAILED}"
    return f"{_ELSE.sub('_', what)}.{status}"


def moment_type(what: str, moment: str, *, of: str) -> str:
    """The name of a moment before the end: `video.progress`, `chat.completion.processing`."""
    return f"video.{moment}" if is_openai_video(what, of) else f"{_ELSE.sub('_', what)}.{moment}"


def is_openai_video(operation: str, request_id: str) -> bool:
    """Ours are told from theirs by a second word: `video_gen_…`."""
    return is_video(operation) and request_id.rpartition("_")[0] == "video"


def known_types() -> list[str]:
    """Every name that an event of this server may have, but for the operations of paths that nobody foresaw."""
    native = [f"{operation}.{moment}" for operation in OPERATIONS if operation != "response" for moment in MOMENTS]
    batches = [f"batch.{end}" for end in ENDS]
    responses = [f"response.{end}" for end in (*_RESPONSE_ENDS, PROCESSING, PROGRESS)]
    videos = [f"video.{word}" for word in ("completed", "failed", PROCESSING, PROGRESS)]
    return sorted([*native, *batches, *responses, *videos, ENDPOINT_DISABLED])


def unknown_type(types: Iterable[str]) -> str | None:
    """The first of these that no event will ever be called, and nobody else's are either; None when all may be."""
    known = {ALL, *known_types()}
    return next((each for each in types if each not in known and not _may_come(each)), None)


def meant(name: str) -> str | None:
    """The type that this one is in the plural, as paths have it: `chat.completion.failed` of `chat.completions.failed`.

    None when it is not the plural of any."""
    family, _, moment = name.rpartition(".")
    right = f"{_PLURALS.get(family)}.{moment}"
    return right if right in known_types() else None


def _may_come(name: str) -> bool:
    """Whether it is the operation of some path with a moment, or one of OpenAI's that this server has no work for."""
    if not _TYPE.fullmatch(name) or len(name) > 128:
        return False
    family, _, moment = name.rpartition(".")
    if name.startswith(_OPENAI_ONLY):
        return True
    return moment in MOMENTS and family not in _OPENAI and family not in _PLURALS

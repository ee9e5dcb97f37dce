"""How a server is asked for a response, and what to try next when it refuses how it was asked."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec

from raincheck.core.outcome import Failure
from raincheck.upstream.openai.failures import NOT_JSON


class Way(NamedTuple):
    """How a server takes responses."""

    native: bool = True
    """By its own Responses API; by its chat completions otherwise."""
    stream: bool = True
    unstored: bool = True
    """It is told to keep nothing, since the record here is the store; some do not know `store`."""


CHAT = Way(native=False)


def encode(members: Mapping[str, msgspec.Raw], way: Way) -> bytes:
    """What is sent to a server's own API."""
    sent = {name: raw for name, raw in members.items() if name not in _OURS}
    if way.stream:
        sent["stream"] = _TRUE
    else:
        sent.pop("stream_options", None)
    if way.unstored:
        sent["store"] = _FALSE
        if "input" in sent:
            sent["input"] = _without_lost_thoughts(sent["input"])
    return msgspec.json.encode(sent)


def ask_otherwise(way: Way, refusal: Failure) -> Way | None:
    """The next thing to try when a server refused a payload for how it was asked for; None when that was not why."""
    upstream = refusal.error.upstream
    if not way.native or upstream is None or upstream.status is None:
        return None
    body = bytes(upstream.body)
    if has_no_responses(upstream.status, body):
        return CHAT
    if upstream.status not in (400, 422):
        return None
    text = body.decode(errors="replace")
    if way.unstored and _NAMES_STORE.search(text) and _REFUSES.search(text):
        return way._replace(unstored=False)
    if way.stream and _NAMES_STREAM.search(text) and _REFUSES.search(text):
        return way._replace(stream=False)
    return None


def has_no_responses(status: int, body: bytes) -> bool:
    """Whether this answer says that there is no such API, and not that there is no such model or earlier response."""
    text = body.decode(errors="replace")
    match status:
        case 405 | 501:
            return True
        case 404:
            return bool(_NAMES_PATH.search(text)) or not _NAMES_THING.search(text)
        case 200:
            # LM Studio says so, and calls it a success.
            return _only_an_error(body) and bool(_NAMES_PATH.search(text))
        case _:
            return False


def wants_max_completion_tokens(refusal: Failure) -> bool:
    """Whether a server refused a chat because it bounds answers by the newer name alone."""
    upstream = refusal.error.upstream
    return upstream is not None and upstream.status in (400, 422) and b"max_completion_tokens" in bytes(upstream.body)


class _Item(msgspec.Struct):
    type: Any = None
    encrypted_content: Any = None


def _without_lost_thoughts(items: msgspec.Raw) -> msgspec.Raw:
    """An input without the reasoning of earlier turns that came as a summary alone.

    A server that keeps nothing cannot find such an item by its id, and OpenAI's then refuses the whole call.
    """
    if b'"reasoning"' not in bytes(items):
        return items
    try:
        pairs = [
            (raw, msgspec.json.decode(raw, type=_Item)) for raw in msgspec.json.decode(items, type=list[msgspec.Raw])
        ]
    except msgspec.DecodeError:
        return items  # The server says best what is wrong.
    kept = [raw for raw, item in pairs if item.type != "reasoning" or item.encrypted_content]
    return msgspec.Raw(msgspec.json.encode(kept))


def _only_an_error(body: bytes) -> bool:
    try:
        whole = msgspec.json.decode(body)
    except NOT_JSON:
        return False
    return isinstance(whole, dict) and "error" in whole and "output" not in cast("dict[str, Any]", whole)


_TRUE = msgspec.Raw(b"true")
_FALSE = msgspec.Raw(b"false")
_OURS = frozenset({"background", "background_options", "deferred", "raincheck", "store", "stream"})
_NAMES_STORE = re.compile(r"\bstore\b", re.IGNORECASE)
_NAMES_STREAM = re.compile(r"\bstream(ing|ed)?\b", re.IGNORECASE)
_REFUSES = re.compile(
    r"\bnot\b|n't\b|cannot|unsupported|only|unknown|unrecogni[sz]ed|unexpected|extra|forbidden|invalid|disabled",
    re.IGNORECASE,
)
_NAMES_PATH = re.compile(r"/responses\b|\b(endpoint|url|route|path|page)\b", re.IGNORECASE)
_NAMES_THING = re.compile(
    r"\bmodels?\b|\bdeployments?\b|previous_response|\b\w+ with (the )?id\b|\bno such \w+ object\b"
    r"|\b(resp|item|msg|rs|fc|pmpt|conv|vs|cntr|file)[_-]\w",
    re.IGNORECASE,
)

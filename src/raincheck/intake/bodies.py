"""Takes the JSON body of a call, hands on its members, checked; and the Submission that they make."""

import re
from collections.abc import Mapping
from typing import TypeVar

import msgspec

from raincheck.core.errors import BadInput
from raincheck.intake.admit import MOST_TOKENS, Submission, check_model

T = TypeVar("T")
MAX_DEPTH = 64
MAX_BRACKETS = 2_000_000
OURS = frozenset({"deferred", "raincheck"})
"""Members that are for Raincheck and never reach the upstream."""
TELLING = ("webhook_url", "webhook_events", "include_result")
"""Options of a deferred request that may also stand beside `raincheck`, as they do in calls for videos and batches."""
OURS_DEFERRED = OURS.union({"service_tier"}, TELLING)
"""What a deferred request is spared: its tier was for the line here, and whom to tell. A call that is passed on keeps
them."""
TEXT = msgspec.json.Decoder(str | None)
YES_NO = msgspec.json.Decoder(bool | None)

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NUMBER = msgspec.json.Decoder(int | None)
_ANSWER_BOUNDS = ("max_completion_tokens", "max_tokens", "max_output_tokens")
"""How the APIs name the longest answer: chat, chat of old and completions, responses."""
_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_EMPTY_LIST = re.compile(rb"\[\s*\]")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def submission(path: str, members: Mapping[str, msgspec.Raw], *, deferred: bool) -> Submission:
    """What a call to `path` with these members asks for. Raises BadInput."""
    model = member(members, "model", TEXT)
    if model is None:
        raise BadInput("`model` is missing; GET /v1/models lists those that are served.", param="model")
    check_model(model)
    if path == "/chat/completions":
        check_messages(members)
    ours = OURS_DEFERRED if deferred else OURS
    return Submission(
        path=path,
        model=model,
        answer_tokens=_answer_tokens(members),
        choices=_count(members.get("n")) or 1,
        service_tier=member(members, "service_tier", TEXT),
        payload=msgspec.json.encode({name: raw for name, raw in members.items() if name not in ours}),
    )


def read_object(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of a JSON object that is fit to be kept. Raises BadInput."""
    if not body.strip():
        raise BadInput('The body is missing; send a JSON object such as {"model": "…", "messages": […]}.')
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise BadInput(f"The body is not valid UTF-8 (byte {error.start}).") from None
    _refuse_lone_surrogates(body)
    try:
        members = _MEMBERS.decode(body)
    except RecursionError:
        raise _too_deep() from None
    except msgspec.ValidationError as error:
        raise BadInput(f"The body must be a JSON object: {error}.") from None
    except msgspec.DecodeError as error:
        where = "" if "(byte" in str(error) else f" (byte {len(body)})"
        raise BadInput(f"The body is not valid JSON: {error}{where}.") from None
    _check_depth(body)
    return members


def _refuse_lone_surrogates(body: bytes) -> None:
    r"""A `\ud800` without its other half is no character: nothing downstream could store or print it."""
    if b"\\ud" not in body and b"\\uD" not in body:
        return
    if _SURROGATE.search(_PAIR.sub(b"", body.replace(b"\\\\", b""))):
        raise BadInput(r"The body has half a surrogate pair (such as \ud800), which is no character; remove it.")


def _check_depth(body: bytes) -> None:
    """Valid JSON is stripped of its strings, then of its innermost pairs, until nothing is left: all at C's speed."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    plain = b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])
    brackets = plain.translate(None, _NOT_BRACKETS)
    if len(brackets) > MAX_BRACKETS:
        raise BadInput("The body has too many lists and objects; send a smaller one.")
    for _ in range(MAX_DEPTH):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return
    raise _too_deep()


def _too_deep() -> BadInput:
    return BadInput(f"The body is nested more than {MAX_DEPTH} levels deep; flatten it.")


def member(members: Mapping[str, msgspec.Raw], name: str, decoder: "msgspec.json.Decoder[T | None]") -> T | None:
    """A member of the decoder's type, None when it is absent or null."""
    if (raw := members.get(name)) is None:
        return None
    try:
        return decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise BadInput(f"`{name}` has the wrong type: {error}.", param=name) from None


def _answer_tokens(members: Mapping[str, msgspec.Raw]) -> int | None:
    """The tokens that each answer may have. What is null was not said; what makes no sense is the upstream's to
    refuse."""
    counts = (_count(members.get(name)) for name in _ANSWER_BOUNDS)
    return next((count for count in counts if count is not None), None)


def _count(raw: msgspec.Raw | None) -> int | None:
    """A number that is worth multiplying."""
    try:
        number = None if raw is None else _NUMBER.decode(raw)
    except msgspec.DecodeError:
        return None
    return number if number is not None and 0 < number <= MOST_TOKENS else None


def check_messages(members: Mapping[str, msgspec.Raw]) -> None:
    """Raise BadInput for a chat without messages."""
    if (raw := members.get("messages")) is None:
        raise BadInput("`messages` is missing; send a list with at least one message.", param="messages")
    text = bytes(raw)
    if not text.startswith(b"["):
        raise BadInput("`messages` must be a list of messages.", param="messages")
    if _EMPTY_LIST.fullmatch(text):
        raise BadInput("`messages` is empty; send at least one message.", param="messages")

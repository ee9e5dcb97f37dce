"""Takes the body of POST /responses, hands on what to record for a response in the background: the line it stands in,
and the conversation that it goes on with, put before its own input."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, structs

from raincheck.core.errors import BadInput, NotFound, ResultGone, TooLarge
from raincheck.core.model import Request
from raincheck.core.responses import aside
from raincheck.core.status import Status
from raincheck.intake.admit import MAX_METADATA, PRIORITIES, Options, Submission, fit_metadata
from raincheck.intake.bodies import TEXT, YES_NO, member, submission
from raincheck.intake.retrieve import Desk

PATH = "/responses"
OPERATION = "response"
PREVIOUS = "previous_response_id"
TIER = "service_tier"
Members = Mapping[str, Raw]

_STRINGS = msgspec.json.Decoder(dict[str, str] | None)
_MEMBERS = msgspec.json.Decoder(dict[str, Raw])
_ITEMS = msgspec.json.Decoder(str | list[Raw])
_CONTEXT = ("input", "prompt", "conversation", PREVIOUS)
"""One of these has to say what is asked."""


class _Answer(msgspec.Struct):
    output: list[Raw] = []


class _Item(msgspec.Struct):
    """What says of an output item whether it is whole."""

    type: Any = None
    status: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
_ITEM = msgspec.json.Decoder(_Item)


def in_background(members: Members) -> bool:
    """Whether the body asks for a response in the background. Raises BadInput when that cannot be."""
    if not member(members, "background", YES_NO):
        return False
    if member(members, "store", YES_NO) is False:
        raise BadInput(
            "A response in the background has to be stored; leave `store` out, or `background`.", param="store"
        )
    return True


def streams(members: Members) -> bool:
    """Whether its events are to be kept and told."""
    return bool(member(members, "stream", YES_NO))


def goes_on(members: Members) -> bool:
    """Whether it goes on from a response before. Raises BadInput."""
    return member(members, PREVIOUS, TEXT) is not None


def background_submission(members: Members, said: Members, options: Options) -> Submission:
    """What to record. `members` are those to perform, `said` those that the client sent. Raises BadInput.

    In the payload, the member `raincheck` holds what the upstream is spared and the Response tells of all the same.
    """
    if not any(name in said for name in _CONTEXT):
        raise BadInput("`input` is missing; send a text, or a list of items.", param="input")
    if "input" in said:
        items_of(said["input"])
    understood = submission(PATH, members, deferred=True)
    understood = _telling(understood, {PREVIOUS: member(said, PREVIOUS, TEXT), TIER: _tier(understood.service_tier)})
    return structs.replace(understood, options=_with_metadata(options, said))


async def continued_submission(said: Members, tenant: str, desk: Desk, *, at_most: int) -> Submission:
    """What to record for one that goes on from a response before and is asked for among others, with what applies to
    all of them. Raises NotFound, BadInput, TooLarge, StoreUnavailable."""
    understood = submission(PATH, await continued(said, tenant, desk, at_most=at_most), deferred=True)
    return _telling(understood, {PREVIOUS: member(said, PREVIOUS, TEXT)})


def items_of(raw: Raw) -> list[Raw]:
    """The items of an `input`; a text is the user's message. Raises BadInput."""
    try:
        items = _ITEMS.decode(raw)
    except msgspec.DecodeError:
        raise BadInput("`input` must be a text, or a list of items.", param="input") from None
    return [Raw(msgspec.json.encode(_message(items)))] if isinstance(items, str) else items


async def continued(members: Members, tenant: str, desk: Desk, *, at_most: int) -> Members:
    """The members with the whole conversation as their `input` instead of the id of the response before. Its
    instructions are not carried over. Raises NotFound, BadInput, TooLarge."""
    previous = member(members, PREVIOUS, TEXT)
    if previous is None:
        return members
    record = await _completed(previous, tenant, desk)
    try:
        result = await desk.requests.result(tenant, previous)
    except ResultGone:
        raise _gone(previous) from None
    payload = (await desk.requests.payloads(tenant, [previous])).get(previous)
    if result is None or payload is None:
        raise _gone(previous)
    size = len(payload) + (len(result.body) if result.size is None else result.size)
    if size > at_most:
        raise TooLarge(f"The conversation up to {previous} has {size} bytes, {at_most} are accepted; begin a new one.")
    joined = partial(_joined, members, record, payload, await desk.body(result))
    whole = await aside(size + memoryview(members.get("input", b"")).nbytes, joined)
    return {name: raw for name, raw in members.items() if name != PREVIOUS} | {"input": whole}


def _joined(members: Members, record: Request, payload: bytes, body: bytes) -> Raw:
    """The input of the response before, its output, and the input that goes on."""
    asked = _MEMBERS.decode(payload)
    items = items_of(asked["input"]) if "input" in asked else []
    items += _output_of(record, body)
    items += items_of(members["input"]) if "input" in members else []
    return Raw(msgspec.json.encode(items))


async def _completed(previous: str, tenant: str, desk: Desk) -> Request:
    try:
        record = await desk.requests.get(tenant, previous)
    except NotFound:
        raise _unknown(previous) from None
    if record.operation != OPERATION:
        raise _unknown(previous)
    if record.purged:
        raise _gone(previous)
    if not record.status.final:
        raise BadInput(f"{previous} is {record.status}; go on from it when it is completed.", param=PREVIOUS)
    if record.status is not Status.COMPLETED:
        raise BadInput(
            f"{previous} was not completed, it is {record.status}; go on from one before it.", param=PREVIOUS
        )
    return record


def _output_of(record: Request, body: bytes) -> list[Raw]:
    try:
        output = _ANSWER.decode(body).output
        # A call that was cut short is none that anyone could answer.
        return [raw for raw in output if not _cut_short(raw)] if b'"incomplete"' in body else output
    except msgspec.DecodeError:
        raise BadInput(f"What answered {record.id} said no `output` to go on from.", param=PREVIOUS) from None


def _cut_short(raw: Raw) -> bool:
    item = _ITEM.decode(raw)
    return item.type == "function_call" and item.status == "incomplete"


def _telling(understood: Submission, told: Mapping[str, str | None]) -> Submission:
    """The same with what the Response tells of and the upstream is spared."""
    told = {name: value for name, value in told.items() if value is not None}
    if not told:
        return understood
    payload: dict[str, Any] = _MEMBERS.decode(understood.payload) | {"raincheck": told}
    return structs.replace(understood, payload=msgspec.json.encode(payload))


def _message(text: str) -> dict[str, str]:
    return {"type": "message", "role": "user", "content": text}


def _tier(service_tier: str | None) -> str | None:
    """The tier as it is echoed: `auto` is the default one here."""
    priority = PRIORITIES.get(service_tier or "")
    return None if priority is None else priority.name.lower()


def _with_metadata(options: Options, members: Members) -> Options:
    """The response's own metadata is the record's as well, so that it can be searched for; where both have no room or
    say different things, the option wins. Raises BadInput."""
    metadata = dict(options.metadata)
    given = fit_metadata(member(members, "metadata", _STRINGS) or {})
    for key, value in given.items():
        if len(metadata) < MAX_METADATA:
            metadata.setdefault(key, value)
    return structs.replace(options, metadata=metadata)


def _unknown(previous: str) -> NotFound:
    return NotFound(f"No response {previous!r} to go on from.", param=PREVIOUS)


def _gone(previous: str) -> NotFound:
    return NotFound(f"{previous} was purged when its retention ended; send the conversation itself.", param=PREVIOUS)

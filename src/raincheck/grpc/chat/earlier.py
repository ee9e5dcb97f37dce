"""Takes the id of a completion that was recorded, hands on the conversation up to and with it, for the next one to go
on from."""

from collections.abc import Sequence
from functools import partial

import msgspec

from raincheck.core.errors import BadInput, NotEnded, NotFound, ResultGone, TooLarge
from raincheck.core.model import Tenant
from raincheck.core.responses import Json, aside
from raincheck.core.status import Status
from raincheck.grpc.chat.reading import find, not_a_completion, result_of
from raincheck.grpc.edge import Edge

PREVIOUS = "previous_response_id"

_KEPT = ("content", "name", "reasoning_content", "tool_calls", "refusal")
"""What of an answer is said again. Some servers refuse members that they have put there themselves."""


class _Asked(msgspec.Struct):
    messages: list[Json]


class _Choice(msgspec.Struct):
    message: Json


class _Answered(msgspec.Struct):
    choices: list[_Choice]


_ASKED = msgspec.json.Decoder(_Asked)
_ANSWERED = msgspec.json.Decoder(_Answered)


async def earlier_messages(request_id: str, tenant: Tenant, edge: Edge) -> Sequence[Json]:
    """The messages that were sent for a completion, and its first answer; the caller must be one who may read. Raises
    NotFound, BadInput for one that did not come to an answer, NotEnded, TooLarge, and Ended for an odd one."""
    request = await find(request_id, tenant, edge)
    if not request.status.final:
        raise NotEnded(f"{request_id} is {request.status}; go on from it when it is completed.", param=PREVIOUS)
    if request.status is not Status.COMPLETED:
        raise BadInput(
            f"{request_id} was not completed, it is {request.status}; go on from one before it.", param=PREVIOUS
        )
    try:
        answered = await result_of(request, edge)
        asked = (await edge.store.requests.payloads(tenant.name, [request_id]))[request_id]
    except (ResultGone, KeyError):
        words = f"{request_id} was purged when its retention ended; send the conversation itself."
        raise NotFound(words, param=PREVIOUS) from None
    size, most = len(asked) + len(answered), edge.settings.max_body_bytes
    if size > most:
        raise TooLarge(
            f"The conversation up to {request_id} has {size} bytes, {most} are accepted; begin a new one.",
            param=PREVIOUS,
        )
    return await aside(size, partial(_joined, request_id, asked, answered))


def _joined(request_id: str, asked: bytes, answered: bytes) -> Sequence[Json]:
    try:
        before, [first, *_] = _ASKED.decode(asked).messages, _ANSWERED.decode(answered).choices
    except (msgspec.DecodeError, ValueError):  # A ValueError: it has no choices.
        raise not_a_completion(request_id) from None
    said = {name: value for name in _KEPT if (value := first.message.get(name)) is not None}
    return [*before, {"role": "assistant", "content": None} | said]

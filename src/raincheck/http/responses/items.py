"""Takes the input of a response, hands on the items of a page, each with an id.

An input may have very many items: those of the page alone are looked into.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from raincheck.core.errors import BadInput, NotFound
from raincheck.intake.responses import items_of

_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}
_NUMBER_DIGITS = 9
"""More than any item's place has."""


class _Named(msgspec.Struct):
    id: Any = None


_ITEM = msgspec.json.Decoder(dict[str, Any])
_NAMED = msgspec.json.Decoder(_Named)


def page_of(given: msgspec.Raw | None, request_id: str, *, after: str | None, limit: int, newest: bool) -> bytes:
    """The items behind the item `after`, in the order that is asked for, as OpenAI lists them; one without an id is
    given one by its place. Raises NotFound for an unknown cursor, and BadInput for what is no item."""
    raws = [] if given is None else items_of(given)
    _, _, stem = request_id.rpartition("_")
    places = range(len(raws))[:: -1 if newest else 1]
    if after is not None:
        places = places[places.index(_place_of(after, raws, stem)) + 1 :]
    try:
        page = [_identified(_ITEM.decode(raws[place]), stem, place) for place in places[:limit]]
    except msgspec.DecodeError:
        raise BadInput(f"The input of {request_id} has items that are no objects.") from None
    first, last = (page[0]["id"], page[-1]["id"]) if page else (None, None)
    more = len(places) > limit
    return msgspec.json.encode({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})


def _place_of(item_id: str, raws: Sequence[msgspec.Raw], stem: str) -> int:
    """Where the item stands that was listed under this id."""
    _, _, number = item_id.rpartition("_")
    if number.isascii() and number.isdecimal() and len(number) < _NUMBER_DIGITS and int(number) < len(raws):
        place = int(number)
        if _listed_as(raws[place], stem, place) == item_id:
            return place
    marked = msgspec.json.encode(item_id)
    for place, raw in enumerate(raws):
        # Written with escapes it would not be found; no server makes such ids.
        if marked in bytes(raw) and _listed_as(raw, stem, place) == item_id:
            return place
    raise NotFound(f"The input has no item {item_id!r}.", param="after")


def _listed_as(raw: msgspec.Raw, stem: str, place: int) -> str | None:
    try:
        named = _NAMED.decode(raw).id
        return named if isinstance(named, str) else _identified(_ITEM.decode(raw), stem, place)["id"]
    except msgspec.DecodeError:
        return None


def _identified(item: dict[str, Any], stem: str, place: int) -> dict[str, Any]:
    kind = item.setdefault("type", "message")
    prefix = _PREFIXES.get(kind) if isinstance(kind, str) else None
    if not isinstance(item.get("id"), str):
        item["id"] = f"{prefix or 'item'}_{stem}_{place}"
    if prefix is not None and kind != "reasoning":
        item.setdefault("status", "completed")
    if kind == "message" and isinstance(text := item.get("content"), str):
        item["content"] = [_part(item.get("role"), text)]
    return item


def _part(role: object, text: str) -> dict[str, Any]:
    if role == "assistant":
        return {"type": "output_text", "text": text, "annotations": []}
    return {"type": "input_text", "text": text}

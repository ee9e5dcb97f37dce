"""Talking to a server: the client for a command, and a request's answer as text."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

from raincheck.cli.exits import Code, Problem
from raincheck.cli.show import say

if TYPE_CHECKING:
    from openai import BaseModel

    from raincheck.client import Raincheck

DEFAULT_URL = "http://127.0.0.1:8421"


def connect(base_url: str | None) -> "Raincheck":
    """A client of that server; the key comes from RAINCHECK_API_KEY, never from a flag that others could read."""
    import httpx2

    from raincheck.client import Raincheck

    if base_url and not base_url.startswith(("http://", "https://")):
        raise Problem(f"the server's URL must begin with http:// or https://, not {base_url!r}", Code.USAGE)
    try:
        return Raincheck(base_url=base_url or DEFAULT_URL)
    except ValueError as error:  # of the key
        raise Problem(str(error), Code.USAGE, "usage") from None
    except httpx2.InvalidURL as error:
        raise Problem(f"the server's URL {base_url!r} is none: {error}", Code.USAGE, "usage") from None


def print_record(record: "BaseModel") -> None:
    """The whole record as one line of JSON."""
    say(json.dumps(record.to_dict(mode="json"), ensure_ascii=False))


def print_records(records: "Sequence[BaseModel]") -> None:
    """All of them as one list."""
    say(json.dumps([record.to_dict(mode="json") for record in records], ensure_ascii=False))


def answer_text(result: object) -> str:
    """What a person wants to read of a result: the text of a completion, the measures of a video, else the JSON."""
    if result is None:
        return ""
    members = cast("Mapping[str, object]", result) if isinstance(result, dict) else dict[str, object]()
    if members.get("object") == "video":
        known = {name: members.get(name) for name in ("seconds", "width", "height")}
        told = "{seconds:g} s, {width}x{height}, ".format(**known) if all(known.values()) else ""
        return f"a video, {told}by {members.get('model')}: `raincheck download` fetches it"
    choices = members.get("choices")
    texts = [_choice_text(choice) for choice in cast("Sequence[object]", choices)] if isinstance(choices, list) else []
    if texts and all(text is not None for text in texts):
        return "\n\n".join(text or "" for text in texts)
    return json.dumps(result, indent=2, ensure_ascii=False)


def _choice_text(choice: object) -> str | None:
    if not isinstance(choice, dict):
        return None
    fields = cast("dict[str, object]", choice)
    message = fields.get("message")
    text = cast("dict[str, object]", message).get("content") if isinstance(message, dict) else fields.get("text")
    return text if isinstance(text, str) else None

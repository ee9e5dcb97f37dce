"""Takes a multipart call for a video, hands on the members it would have as JSON, and the files that came with it.

A name with brackets is a member of a member, as in `video[id]`; a file is in the object store when it has been read.
"""

import re
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

from raincheck.core.errors import BadInput
from raincheck.core.model import Attachment
from raincheck.http.multipart import Form, Upload
from raincheck.intake.options import yes_or_text
from raincheck.intake.uploads import Inbox

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEY = re.compile(r"\[([^\[\]]*)\]")
_OBJECTS = frozenset({"raincheck", "metadata"})
"""Members that a form may hold as JSON text."""
_LISTS = frozenset({"reference_images", "webhook_events"})
DEEPEST = 3
FILES = frozenset({"image", "input_reference", "reference_images", "video"})
"""Members that may be files."""


@dataclass(slots=True)
class Parts:
    """What a form holds."""

    members: dict[str, msgspec.Raw] = field(default_factory=dict[str, msgspec.Raw])
    files: dict[str, list[Attachment]] = field(default_factory=dict[str, list[Attachment]])


async def read_form(form: Form, inbox: Inbox, fresh: list[str]) -> Parts:
    """All parts of a form; `fresh` takes the blobs of its files as they come. Raises BadInput, MediaRefused, TooLarge,
    and what the inbox does."""
    parts, tree = Parts(), dict[str, Any]()
    async for part in form:
        name, keys = _split(part.name)
        if not isinstance(part, Upload):
            _plant(tree, [name, *keys], part.value, part.name)
            continue
        if name not in FILES:
            raise BadInput(f"{part.name!r} cannot be a file; these can: {', '.join(sorted(FILES))}.", param=name)
        attachment = await inbox.receive(name, part.pieces, filename=part.filename)
        fresh.append(attachment.blob)
        parts.files.setdefault(name, []).append(attachment)
    parts.members = {name: _raw(name, value) for name, value in tree.items()}
    return parts


def _split(name: str) -> tuple[str, list[str]]:
    found = _NAME.fullmatch(name)
    keys = _KEY.findall(found[2]) if found else []
    if found is None or len(keys) > DEEPEST:
        raise BadInput(f"The part {name[:100]!r} has a name that cannot be read; use one as in `video[id]`.")
    return found[1], keys or [""] * (found[1] in _LISTS)


def _plant(tree: dict[str, Any], keys: list[str], value: str, name: str) -> None:
    """Put a text where its name says; an empty key is the next of a list."""
    at = tree
    for key in keys[:-1]:
        inner: Any = at.setdefault(key or str(len(at)), {})
        if not isinstance(inner, dict):
            raise _twice(name)
        at = cast("dict[str, Any]", inner)
    last = keys[-1] or str(len(at))
    if last in at:
        raise _twice(name)
    at[last] = value


def _twice(name: str) -> BadInput:
    return BadInput(f"The form says {name!r} more than once, or in two ways.", param=name.partition("[")[0])


def _raw(name: str, value: Any) -> msgspec.Raw:
    if name in _LISTS and isinstance(value, dict):
        value = list(cast("dict[str, Any]", value).values())
    elif name == "raincheck" and isinstance(value, dict):
        value = {option: _option(option, text) for option, text in cast("dict[str, Any]", value).items()}
    elif name in _OBJECTS and isinstance(value, str):
        return msgspec.Raw(value.encode())
    return msgspec.Raw(msgspec.json.encode(value))


def _option(name: str, value: Any) -> Any:
    """An option that is no text, as `raincheck[include_result]` may say it."""
    match name, value:
        case "webhook_events", dict():
            return list(cast("dict[str, Any]", value).values())
        case "include_result", str():
            return yes_or_text(value)
        case _:
            return value

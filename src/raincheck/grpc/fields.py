"""What the fields of messages have in common, whatever they ask for."""

from collections.abc import Mapping, Sized
from typing import Any

from raincheck.core.errors import BadInput


def word_of(name: str, value: int, words: Mapping[Any, str]) -> str | None:
    """What the JSON dialects call a value of the enumeration `name`; None for 0. Raises BadInput for a number that only
    newer clients know."""
    if value and value not in words:
        raise BadInput(f"{name} has the unknown value {value}; known are {', '.join(words.values())}.", param=name)
    return words.get(value)


def check_few(name: str, items: Sized, most: int) -> None:
    """Raise BadInput for more than so many, before anything goes through them: a message has room for millions."""
    if len(items) > most:
        raise BadInput(f"{name} has {len(items)} items, {most} are accepted.", param=name)

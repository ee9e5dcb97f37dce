"""Takes a JSON Schema, says whether a server may be asked to keep to it strictly: OpenAI refuses to with most."""

from collections.abc import Iterator
from typing import Any, cast

from raincheck.core.responses import Json

_MAPS = ("properties", "$defs", "definitions")
"""Members that hold schemas by name."""
_LISTS = ("anyOf", "prefixItems")
"""Members that hold some."""
_NEVER = frozenset(
    {
        *("allOf", "oneOf", "not", "if", "then", "else"),
        *("patternProperties", "dependentRequired", "dependentSchemas"),
    }
)
"""Members that are not taken then."""


def can_be_strict(schema: Json) -> bool:
    """Whether it is an object, and each object in it is closed and has all its properties required."""
    left: list[Any] = [schema]
    while left:
        inner = left.pop()
        if not isinstance(inner, dict):
            return False  # `true` is a schema that takes anything.
        inner = cast("Json", inner)
        if not _NEVER.isdisjoint(inner) or not _closed(inner):
            return False
        left += _inside(inner)
    return schema.get("type") == "object" and "anyOf" not in schema


def _closed(schema: Json) -> bool:
    kind = schema.get("type")
    if "properties" not in schema and kind != "object" and not (isinstance(kind, list) and "object" in kind):
        return True
    properties, required = schema.get("properties", {}), schema.get("required", [])
    if not isinstance(properties, dict) or not isinstance(required, list):
        return False
    named = [name for name in cast("list[Any]", required) if isinstance(name, str)]
    return schema.get("additionalProperties") is False and not cast("Json", properties).keys() - named


def _inside(schema: Json) -> Iterator[Any]:
    for name in _MAPS:
        if isinstance(named := schema.get(name), dict):
            yield from cast("Json", named).values()
    for name in _LISTS:
        if isinstance(some := schema.get(name), list):
            yield from cast("list[Any]", some)
    if isinstance(items := schema.get("items"), dict):
        yield items

"""Headers as frameworks hand them over: a mapping, a list of pairs, bytes or text, or WSGI's environment."""

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Items(Protocol):
    """Any mapping of headers, `request.META` and the environment of WSGI among them."""

    def items(self) -> Iterable[tuple[Any, Any]]: ...


Headers = Items | Iterable[tuple[Any, Any]]
"""Mappings and lists of pairs; names in any case, as bytes or text."""


def lowered(headers: Headers) -> dict[str, str]:
    """Names in lower case with hyphens. Of a name that occurs twice the first counts."""
    pairs = headers.items() if isinstance(headers, Items) else headers
    found: dict[str, str] = {}
    for name, value in pairs:
        if isinstance(name, str | bytes) and isinstance(value, str | bytes):
            plain = _text(name).lower().removeprefix("http_").replace("_", "-")
            found.setdefault(plain, _text(value).strip())
    return found


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value

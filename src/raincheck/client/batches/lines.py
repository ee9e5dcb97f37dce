"""Requests as people have them, to the lines of a batch file."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

Requests: TypeAlias = str | PathLike[str] | Iterable[str | Mapping[str, Any]]
"""The path of a `.jsonl` file of OpenAI's lines; or any iterable of prompts, of request bodies, or of such lines."""

CHAT = "/v1/chat/completions"
_LINE = frozenset({"custom_id", "method", "url"})
_PROMPTS = {
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
    "/v1/responses": "input",
    "/v1/images/generations": "prompt",
    "/v1/videos": "prompt",
    "/v1/videos/generations": "prompt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is filled in where a request does not say it."""

    model: str | None = None
    endpoint: str | None = None
    custom_ids: Iterable[str] | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Members for every body, such as `temperature`; what a body says itself stands."""


def opened(given: str | PathLike[str]) -> IO[bytes]:
    """The file. Raises ValueError for a text that names none: prompts come in a list. Raises OSError."""
    if isinstance(given, str) and not Path(given).is_file():
        raise ValueError(f"{given[:100]!r} is no file; a prompt of its own goes into a list: [prompt].")
    return Path(given).open("rb")


def each(requests: Requests, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """A line for each request, one at a time, so that any number of them will do. Raises ValueError, OSError."""
    if isinstance(requests, str | PathLike):
        with opened(requests) as file:
            yield from lines((record for _, record in read(file)), recipe)
    else:
        yield from lines(requests, recipe)


def lines(requests: Iterable[str | Mapping[str, Any]], recipe: Recipe) -> Iterator[dict[str, Any]]:
    """A line for each request, in order. Raises ValueError, with the number of the request, for what makes none."""
    names = None if recipe.custom_ids is None else iter(recipe.custom_ids)
    for number, request in enumerate(requests, 1):
        name = f"request-{number}" if names is None else next(names, None)
        if name is None:
            raise ValueError(f"request {number} has no custom id: there are only {number - 1} custom_ids.")
        try:
            yield _line(request, name, recipe)
        except ValueError as error:
            raise ValueError(f"request {number}: {error}") from None


def text_of(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def read(file: IO[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with the numbers of their lines, blank ones left out. Raises ValueError, with the
    number of the line."""
    for number, raw in enumerate(file, 1):
        text = raw.strip().removeprefix(b"\xef\xbb\xbf")
        if not text:
            continue
        try:
            value: object = json.loads(text)
        except ValueError as error:
            raise ValueError(f"line {number} is not JSON: {error}") from None
        if not isinstance(value, dict):
            raise ValueError(f"line {number} must be a JSON object, not {type(value).__name__}")
        yield number, cast("dict[str, Any]", value)


def is_line(request: Mapping[str, Any]) -> bool:
    """Whether it is a line as in OpenAI's batch files, and not a body."""
    return "body" in request and bool(_LINE & request.keys())


def asked(endpoint: str, prompt: str) -> dict[str, Any]:
    """The body that asks it. Raises ValueError."""
    if endpoint == CHAT:
        return {"messages": [{"role": "user", "content": prompt}]}
    if endpoint in _PROMPTS:
        return {_PROMPTS[endpoint]: prompt}
    raise ValueError(f"a prompt makes no body for {endpoint}; give bodies.")


def _line(request: str | Mapping[str, Any], name: str, recipe: Recipe) -> dict[str, Any]:
    if not isinstance(request, str | Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers have no checker
        raise ValueError(f"a {type(request).__name__} is no request; give a prompt, a body or a line.")
    endpoint = recipe.endpoint or CHAT
    if isinstance(request, str):
        return _made(name, endpoint, asked(endpoint, request), recipe)
    if not is_line(request):
        return _made(name, endpoint, request, recipe)
    named = request.get("custom_id", name)
    if not isinstance(request["body"], Mapping):
        raise ValueError("its body is no object.")
    made = _made(named, request.get("url", endpoint), cast("Mapping[str, Any]", request["body"]), recipe)
    return {**made, "method": request.get("method", "POST")}


def _made(name: str, url: str, body: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    model = {} if recipe.model is None else {"model": recipe.model}
    full = {**model, **recipe.params, **body}
    if "model" not in full:
        raise ValueError("it names no model; give model=…")
    return {"custom_id": name, "method": "POST", "url": url, "body": full}

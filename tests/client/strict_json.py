"""Reads the replies of the deferred chat protocol as a strictly typed client does (System.Text.Json in the C# client):
every 2xx is parsed, whole numbers must be written as whole numbers, strings as strings, and nothing may be missing."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn, cast

FINISH_REASONS = ("stop", "length", "tool_calls", "content_filter", "function_call")


class _Float(float):
    """A number written with a point or an exponent: a strict reader refuses it where it wants an integer."""


def check_submit(status: int, raw: bytes) -> str:
    """The reply to a submit with `deferred: true`. Returns the request id."""
    assert status == 200, f"a submit is answered 200, not {status}"
    body = _object(raw)
    request_id = _text(body, "id")
    assert _text(body, "request_id") == request_id, "id and request_id differ"
    _envelope(body)
    assert body["choices"] == [], "a submit has no choices yet"
    return request_id


def check_pending(status: int, headers: Mapping[str, str], raw: bytes) -> None:
    """A poll that comes too early."""
    assert status == 202, f"not ready is answered 202, not {status}"
    body = _object(raw)
    assert _text(body, "id") == _text(body, "request_id")
    assert _text(body, "status") in ("pending", "processing")
    _envelope(body)
    assert body["choices"] == [], "no choices before the end: a client counts them to see whether it is done"
    retry_after = {name.lower(): value for name, value in headers.items()}.get("retry-after")
    assert retry_after is not None, "a 202 says when to come back"
    assert retry_after.isdigit(), f"Retry-After is whole seconds, not {retry_after!r}"


def check_done(status: int, raw: bytes) -> None:
    """A poll that finds the completion."""
    assert status == 200, f"a completion is answered 200, not {status}"
    body = _object(raw)
    _text(body, "id")
    _envelope(body)
    choices = cast("list[dict[str, Any]]", body["choices"])
    assert choices, "a completion has choices"
    for choice in choices:
        _integer(choice, "index")
        _text(choice["message"], "role")
        assert choice["message"].get("content") is None or isinstance(choice["message"]["content"], str)
        assert choice.get("finish_reason") in (None, *FINISH_REASONS), f"finish_reason {choice['finish_reason']!r}"
    if body.get("usage") is not None:
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            _integer(body["usage"], name)
    assert body.get("system_fingerprint") is None or isinstance(body["system_fingerprint"], str)


def check_failed(status: int, raw: bytes) -> None:
    """A poll for a request that ended without a completion: never a 2xx, which would be polled on for ever."""
    assert status >= 400, f"a failure is an error status, not {status}"
    error = _object(raw)["error"]
    assert isinstance(error, dict), "the OpenAI envelope"
    _text(cast("dict[str, Any]", error), "message")
    _text(cast("dict[str, Any]", error), "type")
    assert {"param", "code"} <= error.keys(), "param and code are there, null or not"


def _envelope(body: dict[str, Any]) -> None:
    assert body["object"] == "chat.completion"
    _integer(body, "created")
    _text(body, "model")
    assert isinstance(body["choices"], list), "choices is an array, never null"


def _object(raw: bytes) -> dict[str, Any]:
    assert raw, "an empty body is no JSON"
    assert not raw.startswith(b"\xef\xbb\xbf"), "a byte order mark is no JSON"
    body = json.loads(raw.decode("utf-8"), parse_float=_Float, parse_constant=_refuse)
    assert isinstance(body, dict), "the reply is an object"
    return cast("dict[str, Any]", body)


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is no JSON")


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    assert isinstance(value, str), f"{name} must be a string, not {value!r}"
    assert value, f"{name} is empty"
    return value


def _integer(body: dict[str, Any], name: str) -> int:
    value = body.get(name)
    assert isinstance(value, int), f"{name} must be written as a whole number, not {value!r}"
    assert not isinstance(value, bool), f"{name} must be a number"
    return value

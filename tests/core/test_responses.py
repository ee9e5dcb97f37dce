"""The Response object that tells of a payload."""

from typing import Any

import msgspec
import pytest
from openai.types.responses import Response

from raincheck.core.responses import error_object, response_object

AT = 1_750_000_000_000_000
FUNCTION: dict[str, Any] = {"type": "function", "name": "f", "parameters": {}, "strict": None}


def told(**members: Any) -> dict[str, Any]:
    """Of a payload that is still raw, as it comes out of the record; OpenAI's types accept it."""
    raw = msgspec.json.decode(msgspec.json.encode({"model": "m"} | members), type=dict[str, msgspec.Raw])
    shown = response_object(raw, "resp_1", AT, "queued")
    Response.model_validate(shown, strict=True)
    assert shown == response_object({"model": "m"} | members, "resp_1", AT, "queued")
    return shown


def test_a_payload_that_says_little_is_told_of_in_full() -> None:
    shown = told(input="hi", temperature=None)

    required = {
        *("id", "object", "created_at", "error", "incomplete_details", "instructions", "metadata", "model", "output"),
        *("parallel_tool_calls", "temperature", "tool_choice", "tools", "top_p"),
    }
    assert required <= shown.keys()
    assert "input" not in shown
    assert (shown["created_at"], shown["output"], shown["temperature"]) == (AT // 1_000_000, [], 1.0)
    assert (shown["background"], shown["store"]) == (True, True)


def test_what_the_payload_says_is_echoed() -> None:
    said = {"temperature": 0.5, "metadata": {"k": "v"}, "tools": [FUNCTION], "instructions": "Rhyme.", "user": "u"}
    shown = told(**said, text={"verbosity": "low"}, reasoning={"effort": "high"})

    assert {name: shown[name] for name in said} == said
    assert shown["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert shown["reasoning"] == {"effort": "high", "summary": None}


def test_what_the_edge_did_wins_over_what_was_said() -> None:
    ours = {"previous_response_id": "resp_0", "service_tier": "flex", "other": 1}
    shown = told(raincheck=ours, service_tier="auto")
    assert (shown["previous_response_id"], shown["service_tier"]) == ("resp_0", "flex")
    assert "other" not in shown


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("upstream_busy", "rate_limit_exceeded"),
        ("invalid_prompt", "invalid_prompt"),
        ("not_translatable", "invalid_prompt"),
        ("upstream_cut_off", "server_error"),
        (None, "server_error"),
    ],
)
def test_an_error_has_a_code_that_clients_know(code: str | None, shown: str) -> None:
    assert error_object(code, "why") == {"code": shown, "message": "why"}

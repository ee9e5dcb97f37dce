"""A request for a completion, as the body that the HTTP API would have been sent."""

import json
from math import nan
from typing import Any

import pytest
from xai_sdk.chat import required_tool, tool
from xai_sdk.tools import code_execution, web_search

from raincheck.core.errors import BadInput, TooLarge
from raincheck.grpc.chat.asking import IGNORED, body_of, refuse
from raincheck.grpc.chat.bounds import MOST_PIECES, MOST_SCHEMA, MOST_STOPS, MOST_TOOLS, check_extent
from raincheck.grpc.protos import chat_pb2, usage_pb2
from raincheck.intake.bodies import OURS, read_object

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = tool("weather", "Looks out of the window.", SCHEMA)
OF_WEATHER = {"name": "weather", "description": "Looks out of the window.", "parameters": SCHEMA}
CLOSED = SCHEMA | {"required": ["city"], "additionalProperties": False}
JSON_SCHEMA = chat_pb2.ResponseFormat(format_type=chat_pb2.FORMAT_TYPE_JSON_SCHEMA, schema=json.dumps(CLOSED))

MAPPED: dict[str, tuple[Any, Any]] = {
    "messages": ([], []),
    "model": ("m", "m"),
    "user": ("u", "u"),
    "safety_identifier": ("s", "s"),
    "n": (2, 2),
    "max_tokens": (7, 7),
    "seed": (-1, -1),
    "stop": (["a", "b"], ["a", "b"]),
    "temperature": (0.7, 0.7),
    "top_p": (0.1, 0.1),
    "frequency_penalty": (-0.3, -0.3),
    "presence_penalty": (2, 2.0),
    "logprobs": (True, True),
    "top_logprobs": (3, 3),
    "tools": ([WEATHER], [{"type": "function", "function": OF_WEATHER}]),
    "tool_choice": (required_tool("weather"), {"type": "function", "function": {"name": "weather"}}),
    "response_format": (
        JSON_SCHEMA,
        {"type": "json_schema", "json_schema": {"name": "response", "schema": CLOSED, "strict": True}},
    ),
    "reasoning_effort": (chat_pb2.EFFORT_XHIGH, "xhigh"),
    "parallel_tool_calls": (False, False),
    "service_tier": (usage_pb2.SERVICE_TIER_PRIORITY, "priority"),
}
"""Each field that the model's server is told of: a value, and what it is told under the same name."""
REFUSED: dict[str, Any] = {
    "search_parameters": chat_pb2.SearchParameters(mode=chat_pb2.AUTO_SEARCH_MODE),
    "agent_count": chat_pb2.AGENT_COUNT_4,
    "guidelines": [chat_pb2.Guideline()],
}
ELSEWHERE = {"previous_response_id"}
"""Turned into messages before: see test_stored.py."""
LOOSE: list[dict[str, Any]] = [
    {},
    {"type": "string"},
    SCHEMA,
    CLOSED | {"additionalProperties": {"type": "string"}},
    CLOSED | {"required": []},
    CLOSED | {"anyOf": [CLOSED]},
    CLOSED | {"$defs": {"Part": SCHEMA}},
    CLOSED | {"properties": {"city": {"type": "array", "items": SCHEMA}}},
    CLOSED | {"properties": {"city": {"anyOf": [{"type": "null"}, SCHEMA]}}},
    CLOSED | {"properties": {"city": {"oneOf": [{"type": "null"}]}}},
    CLOSED | {"properties": {"city": True}},
    CLOSED | {"properties": [], "required": "city"},
]
"""Schemas that OpenAI refuses when it shall keep to them strictly."""
A_MESSAGE = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.Content(text="")])
TOO_MANY: dict[str, tuple[str, Any]] = {
    "messages": ("messages", [chat_pb2.Message()] * (MOST_PIECES + 1)),
    "parts": ("messages", [chat_pb2.Message(content=[chat_pb2.Content()] * MOST_PIECES)]),
    "calls": ("messages", [chat_pb2.Message(tool_calls=[chat_pb2.ToolCall()] * MOST_PIECES)]),
    "tools": ("tools", [WEATHER] * (MOST_TOOLS + 1)),
    "stops": ("stop", [""] * (MOST_STOPS + 1)),
    "schemas": ("tools", [chat_pb2.Tool(function=chat_pb2.Function(parameters=" " * (MOST_SCHEMA // 2 + 1)))] * 2),
}
MODES = [
    (chat_pb2.TOOL_MODE_AUTO, "auto"),
    (chat_pb2.TOOL_MODE_NONE, "none"),
    (chat_pb2.TOOL_MODE_REQUIRED, "required"),
]


def test_each_field_of_a_request_is_told_refused_or_left_out_for_a_reason() -> None:
    """A new release of the SDK that adds a field fails here, until someone decides what becomes of it."""
    known = [*MAPPED, *REFUSED, *ELSEWHERE, *IGNORED]
    assert sorted(known) == sorted(field.name for field in chat_pb2.GetCompletionsRequest.DESCRIPTOR.fields)


@pytest.mark.parametrize("field", MAPPED)
def test_a_field_is_told_as_the_http_api_has_it(field: str) -> None:
    given, told = MAPPED[field]
    assert _told(**{field: given})[field] == told


@pytest.mark.parametrize("field", REFUSED)
def test_what_only_xais_own_servers_can_do_is_refused_by_name(field: str) -> None:
    with pytest.raises(BadInput, match=f"^{field} cannot be served") as caught:
        refuse(_a_request(**{field: REFUSED[field]}))
    assert caught.value.param == field
    assert "client-side tools" in caught.value.message


def test_what_says_nothing_is_not_told() -> None:
    request = _a_request(
        search_parameters=chat_pb2.SearchParameters(mode=chat_pb2.OFF_SEARCH_MODE),
        agent_count=chat_pb2.AGENT_COUNT_UNSPECIFIED,
        tool_choice=chat_pb2.ToolChoice(),
        response_format=chat_pb2.ResponseFormat(),
        reasoning_effort=chat_pb2.INVALID_EFFORT,
        max_turns=3,
        use_encrypted_content=True,
        include=[chat_pb2.INCLUDE_OPTION_INLINE_CITATIONS],
        store_messages=True,
    )
    refuse(request)
    assert body_of(request, []) == {"model": "m", "messages": []}


def test_no_member_of_the_body_is_one_that_raincheck_would_take_for_its_own() -> None:
    assert not OURS & set(MAPPED)


@pytest.mark.parametrize("server_side", [web_search(), code_execution()])
def test_a_tool_that_runs_on_xais_servers_is_refused(server_side: chat_pb2.Tool) -> None:
    with pytest.raises(BadInput, match=r"tools\[1\] cannot be served: .* client-side tools") as caught:
        _told(tools=[WEATHER, server_side])
    assert str(server_side.WhichOneof("tool")) in caught.value.message


@pytest.mark.parametrize(("mode", "word"), MODES)
def test_how_tools_are_chosen_is_a_word(mode: Any, word: str) -> None:
    assert _told(tool_choice=chat_pb2.ToolChoice(mode=mode))["tool_choice"] == word


@pytest.mark.parametrize("kind", ["text", "json_object"])
def test_a_format_without_a_schema_is_its_name(kind: str) -> None:
    wanted = chat_pb2.ResponseFormat(format_type=f"FORMAT_TYPE_{kind.upper()}")
    assert _told(response_format=wanted)["response_format"] == {"type": kind}


def test_a_strict_tool_without_parameters_says_no_more_than_it_has() -> None:
    bare = chat_pb2.Tool(function=chat_pb2.Function(name="now", strict=True))
    assert _told(tools=[bare])["tools"] == [{"type": "function", "function": {"name": "now", "strict": True}}]


@pytest.mark.parametrize("broken", ["", "{", "[]", "1", '"\\ud800"', "[" * 5000])
def test_a_schema_that_is_no_json_object_is_refused(broken: str) -> None:
    wanted = chat_pb2.ResponseFormat(format_type=chat_pb2.FORMAT_TYPE_JSON_SCHEMA, schema=broken)
    with pytest.raises(BadInput, match=r"response_format.schema"):
        _told(response_format=wanted)


@pytest.mark.parametrize("loose", LOOSE)
def test_a_schema_that_leaves_something_open_is_not_asked_for_strictly(loose: dict[str, Any]) -> None:
    wanted = chat_pb2.ResponseFormat(format_type=chat_pb2.FORMAT_TYPE_JSON_SCHEMA, schema=json.dumps(loose))
    assert _told(response_format=wanted)["response_format"]["json_schema"] == {"name": "response", "schema": loose}


def test_a_schema_that_is_closed_all_through_is_asked_for_strictly() -> None:
    part = {"$ref": "#/$defs/Part"}
    closed = CLOSED | {"$defs": {"Part": CLOSED}, "properties": {"city": {"type": "array", "items": part}}}
    wanted = chat_pb2.ResponseFormat(format_type=chat_pb2.FORMAT_TYPE_JSON_SCHEMA, schema=json.dumps(closed))
    assert _told(response_format=wanted)["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("kind", TOO_MANY)
def test_a_chat_of_more_pieces_than_could_be_gone_through_is_refused(kind: str) -> None:
    field, many = TOO_MANY[kind]
    with pytest.raises((BadInput, TooLarge), match=f"{MOST_SCHEMA} are|at most") as caught:
        check_extent(_a_request(**{field: many}))
    assert caught.value.param == field
    check_extent(_a_request(messages=[A_MESSAGE] * (MOST_PIECES // 2), tools=[WEATHER] * MOST_TOOLS))


@pytest.mark.parametrize("number", [nan, float("inf"), -1e39])
def test_a_number_that_is_none_is_refused(number: float) -> None:
    with pytest.raises(BadInput, match="`temperature` must be a finite number"):
        _told(temperature=number)


def test_a_value_that_is_not_known_here_is_refused() -> None:
    later: Any = 99
    with pytest.raises(BadInput, match="reasoning_effort has the unknown value 99; known are low,"):
        _told(reasoning_effort=later)


def test_the_body_is_one_that_the_http_api_takes() -> None:
    everything = {name: given for name, (given, _) in MAPPED.items()}
    assert set(read_object(json.dumps(_told(**everything)).encode())) == set(MAPPED)


def _a_request(**fields: Any) -> chat_pb2.GetCompletionsRequest:
    fields.setdefault("model", "m")
    return chat_pb2.GetCompletionsRequest(**fields)


def _told(**fields: Any) -> dict[str, Any]:
    return body_of(_a_request(**fields), [])

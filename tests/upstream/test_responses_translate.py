"""Responses payloads in the words of chat completions."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raincheck.core.errors import BadInput
from raincheck.upstream.openai.responses.translate import translate
from raincheck.upstream.openai.responses.untranslatable import NotTranslatable

Json = dict[str, Any]
PIXEL = "data:image/png;base64,AAAA"


def chat_of(**members: Any) -> Json:
    raw = msgspec.json.encode({"model": "m", "input": "hi"} | members)
    return translate(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))


def messages_of(*items: Json, **members: Any) -> list[Json]:
    return chat_of(input=list(items), **members)["messages"]


def message(role: str, *content: Json) -> Json:
    return {"type": "message", "role": role, "content": list(content)}


def a_text(text: str, kind: str = "input_text") -> Json:
    return {"type": kind, "text": text}


def test_instructions_and_leading_developers_are_one_word_of_the_system() -> None:
    said = messages_of(
        message("developer", a_text("Rhyme.")), {"role": "user", "content": "hi"}, instructions="Be brief."
    )
    assert said == [{"role": "system", "content": "Be brief.\n\nRhyme."}, {"role": "user", "content": "hi"}]


def test_pictures_and_files_stay_where_they_stand() -> None:
    image = {"type": "input_image", "image_url": PIXEL, "detail": "low"}
    file = {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}
    [said] = messages_of(
        message("user", a_text("Look:"), image, {"type": "input_image", "image_url": "https://x/y"}, file)
    )
    assert said["content"] == [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]


def test_a_turn_with_calls_is_one_message_and_its_outputs_follow() -> None:
    said = messages_of(
        {"role": "user", "content": "weather?"},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        message("assistant", a_text("Looking.", "output_text")),
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "g", "arguments": "[]"},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
        {"type": "function_call_output", "call_id": "b", "output": [a_text("su"), a_text("n")]},
    )
    assert said[1:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "g", "arguments": "[]"}},
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "rain"},
        {"role": "tool", "tool_call_id": "b", "content": "sun"},
    ]


def test_what_is_said_after_a_call_is_said_before_its_output() -> None:
    """Chat servers refuse a turn between a call and its output."""
    said = messages_of(
        {"role": "user", "content": "weather?"},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        message("assistant", a_text("Wait.", "output_text")),
        message("assistant", a_text("Soon.", "output_text")),
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
    )
    assert [each["role"] for each in said] == ["user", "assistant", "tool"]
    assert (said[1]["content"], len(said[1]["tool_calls"])) == ("Wait.\n\nSoon.", 1)


def test_parts_of_one_turn_are_put_together() -> None:
    image = {"type": "input_image", "image_url": PIXEL}
    items = [message("assistant", a_text("a"), image), message("assistant", a_text("b"))]
    for each in (items, items[::-1]):
        [_, said] = messages_of({"role": "user", "content": "hi"}, *each)
        assert sorted(part["type"] for part in said["content"]) == ["image_url", "text", "text"]


def test_a_refusal_is_what_the_assistant_said() -> None:
    said = messages_of(message("assistant", {"type": "refusal", "refusal": "No."}))
    assert said == [{"role": "assistant", "content": "No."}]


def test_functions_are_nested_and_a_choice_among_some_leaves_only_those() -> None:
    tools: list[Json] = [{"type": "function", "name": name, "parameters": {}, "strict": True} for name in "fg"]
    nested: Json = {"type": "function", "function": {"name": "f", "parameters": {}, "strict": True}}
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "f"}]}

    forced = chat_of(tools=tools, tool_choice={"type": "function", "name": "f"}, parallel_tool_calls=False)
    assert forced["tools"][0] == nested
    assert forced["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert forced["parallel_tool_calls"] is False
    some = chat_of(tools=tools, tool_choice=allowed)
    assert (some["tools"], some["tool_choice"]) == ([nested], "required")
    assert chat_of(tools=[], tool_choice="auto", parallel_tool_calls=True).keys() == {"model", "messages"}


def test_a_name_that_is_no_word_allows_no_tool() -> None:
    odd: Json = {"type": "allowed_tools", "tools": [{"type": "function", "name": []}]}
    assert "tools" not in chat_of(tools=[{"type": "function", "name": "f"}], tool_choice=odd)


def test_structured_output_keeps_its_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True, "description": None}
    chat = chat_of(text={"format": form, "verbosity": "low"})
    assert chat["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": schema, "strict": True},
    }
    assert chat["verbosity"] == "low"
    assert chat_of(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    assert "response_format" not in chat_of(text={"format": {"type": "text"}})


def test_the_rest_has_another_name_or_the_same() -> None:
    chat = chat_of(
        reasoning={"effort": "low", "summary": "auto"},
        max_output_tokens=7,
        top_logprobs=2,
        temperature=0.5,
        top_p=None,
        user="u",
        seed=4,
        never_heard_of={"a": 1},
        metadata={"k": "v"},
        truncation="auto",
        store=True,
    )
    del chat["messages"]
    assert chat == {
        "model": "m",
        "reasoning_effort": "low",
        "max_tokens": 7,
        "logprobs": True,
        "top_logprobs": 2,
        "temperature": 0.5,
        "user": "u",
        "seed": 4,
        "never_heard_of": {"a": 1},
    }
    assert chat_of(include=["message.output_text.logprobs"])["logprobs"] is True


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}]}, "tools[1]"),
        ({"tools": [{"type": "mcp", "server_url": "x"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"text": {"format": {"type": []}}}, "text.format"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "computer_call_output"}]}, "input[0]"),
        ({"input": [message("user", {"type": "input_file", "file_id": "file_1"})]}, "input[0].content[0]"),
        ({"input": [message("user", a_text("a"), {"type": "input_image", "file_id": "f"})]}, "input[0].content[1]"),
        (
            {"input": [{"type": "function_call_output", "output": [{"type": "input_image", "image_url": PIXEL}]}]},
            "input[0].output[0]",
        ),
    ],
)
def test_what_has_no_words_there_is_named(members: Json, param: str) -> None:
    with pytest.raises(NotTranslatable) as told:
        chat_of(**members)
    assert told.value.param == param
    assert param in told.value.message


UNREADABLE: list[Json] = [
    {"input": None},
    {"input": []},
    {"input": 1},
    {"input": ["hi"]},
    {"input": [{"role": "robot", "content": "hi"}]},
    {"input": [{"role": "user", "content": 1}]},
    {"input": [message("user", {"type": "input_text"})]},
    {"input": [{"type": "function_call", "call_id": "a"}]},
    {"input": [{"type": "function_call_output", "call_id": "a"}]},
    {"tools": {"type": "function"}},
    {"text": "json"},
    {"input": [{"role": [], "content": "hi"}]},
    {"tools": [], "tool_choice": {"type": "allowed_tools", "tools": 5}},
]


@pytest.mark.parametrize("members", UNREADABLE)
def test_what_no_server_could_read_is_bad_input(members: Json) -> None:
    with pytest.raises(BadInput) as told:
        chat_of(**members)
    assert told.value.param is not None


NAMES = ["type", "role", "content", "text", "output", "name", "function", "tools", "format", "image_url", "arguments"]
WORDS = ["message", "function", "allowed_tools", "json_schema", "user", "assistant", "function_call", "input_text"]
MEMBERS = ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "top_logprobs"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(MEMBERS), json_values))
def test_any_payload_is_translated_or_refused_in_words(members: Json) -> None:
    chat, refusal = tried(members)
    if refusal is not None:
        assert refusal.param is not None
        assert "`" in refusal.message
    else:
        assert chat["messages"]
        msgspec.json.encode(chat)


def tried(members: Json) -> tuple[Json, BadInput | NotTranslatable | None]:
    try:
        return chat_of(**members), None
    except (BadInput, NotTranslatable) as refusal:
        return {}, refusal

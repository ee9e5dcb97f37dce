"""A streamed answer assembled is the answer that a non-streamed call would have had."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from raincheck.upstream.openai.assemble import Assembly

Json = dict[str, Any]
FRAME: Json = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "m"}


def assembled(*chunks: Json, legacy: bool = False) -> Json:
    assembly = Assembly(legacy=legacy)
    for chunk in chunks:
        data = msgspec.json.encode(chunk)
        assembly.add(msgspec.json.decode(data), len(data))
    return msgspec.json.decode(assembly.body())


def choice(delta: Json | None = None, index: int = 0, finish: str | None = None, **more: Any) -> Json:
    return {"index": index, "delta": delta or {}, "finish_reason": finish} | more


def chunk(*choices: Json, **top: Any) -> Json:
    return FRAME | {"choices": list(choices)} | top


def message_of(*deltas: Json) -> Json:
    return assembled(*(chunk(choice(delta)) for delta in deltas))["choices"][0]["message"]


def test_text_with_usage_in_a_last_chunk_that_has_no_choices() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    answer = assembled(
        chunk(choice({"role": "assistant", "content": ""}), usage=None, system_fingerprint="fp"),
        chunk(choice({"content": "Hel"}), usage=None, system_fingerprint="fp"),
        chunk(choice({"content": "lo"}), usage=None, system_fingerprint="fp"),
        chunk(choice(finish="stop"), usage=None, system_fingerprint="fp"),
        chunk(usage=usage, system_fingerprint="fp"),
    )
    assert answer == FRAME | {
        "object": "chat.completion",
        "system_fingerprint": "fp",
        "usage": usage,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}],
    }


def test_whole_numbers_stay_whole() -> None:
    assembly = Assembly()
    assembly.add(chunk(choice({"content": "x"}, finish="stop"), usage={"total_tokens": 3, "cost": 0.5}), 100)
    assert b'"created":1700000000,' in assembly.body()
    assert assembly.usage() == b'{"total_tokens":3,"cost":0.5}'


def test_parallel_tool_calls_are_put_together_by_their_index() -> None:
    def call(index: int, **more: Any) -> Json:
        return {"tool_calls": [{"index": index} | more]}

    message = message_of(
        {"role": "assistant", "content": None},
        call(0, id="call_a", type="function", function={"name": "weather", "arguments": ""}),
        call(0, function={"arguments": '{"city":'}),
        call(1, id="call_b", type="function", function={"name": "time", "arguments": '{"zone":'}),
        call(0, function={"arguments": '"Bern"}'}),
        call(1, function={"arguments": '"CET"}'}),
    )
    assert message == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}},
            {"id": "call_b", "type": "function", "function": {"name": "time", "arguments": '{"zone":"CET"}'}},
        ],
    }


def test_tool_calls_without_an_index_or_all_with_index_0_are_told_apart_by_id() -> None:
    for index in ({}, {"index": 0}):
        pieces = [{"id": i, "function": {"name": "f", "arguments": "{}"}} | index for i in ("a", "b")]
        calls = message_of({"tool_calls": pieces[:1]}, {"tool_calls": pieces[1:]})["tool_calls"]
        assert [call["id"] for call in calls] == ["a", "b"]


def test_empty_ids_and_names_in_later_pieces_change_nothing() -> None:
    call = message_of(
        {"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "1"}}]},
        {"tool_calls": [{"index": 0, "id": "", "type": "", "function": {"name": "", "arguments": "2"}}]},
    )["tool_calls"][0]
    assert call == {"id": "a", "type": "function", "function": {"name": "f", "arguments": "12"}}


def test_content_is_null_when_an_empty_string_came_with_tool_calls_only() -> None:
    message = message_of({"content": ""}, {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]})
    assert message["content"] is None


def test_the_older_function_call_is_joined_too() -> None:
    message = message_of({"function_call": {"name": "f", "arguments": "{"}}, {"function_call": {"arguments": "}"}})
    assert message["function_call"] == {"name": "f", "arguments": "{}"}


def test_reasoning_refusal_and_audio_are_joined() -> None:
    message = message_of(
        {"reasoning_content": "Let me", "reasoning": "a"},
        {"reasoning_content": " think", "reasoning": "b"},
        {"refusal": "I "},
        {"refusal": "won't"},
        {"audio": {"id": "au", "transcript": "la"}},
        {"audio": {"transcript": " la", "data": "AA"}},
    )
    assert message == {
        "role": "assistant",
        "content": None,
        "reasoning_content": "Let me think",
        "reasoning": "ab",
        "refusal": "I won't",
        "audio": {"id": "au", "transcript": "la la", "data": "AA"},
    }


def test_logprobs_grow() -> None:
    tokens = [{"token": word, "logprob": -0.5, "bytes": [104], "top_logprobs": []} for word in ("ha", "ha")]
    answer = assembled(
        chunk(choice({"content": ""}, logprobs=None)),
        *(chunk(choice({"content": "ha"}, logprobs={"content": [token], "refusal": None})) for token in tokens),
        chunk(choice(finish="stop", logprobs=None)),
    )
    assert answer["choices"][0]["logprobs"] == {"content": tokens, "refusal": None}


def test_several_choices_are_kept_apart_and_sorted() -> None:
    answer = assembled(
        chunk(choice({"content": "b"}, index=1)),
        chunk(choice({"content": "a"}), choice({"content": "B"}, index=1, finish="length")),
        chunk(choice(finish="stop")),
    )
    assert [(c["index"], c["message"]["content"], c["finish_reason"]) for c in answer["choices"]] == [
        (0, "a", "stop"),
        (1, "bB", "length"),
    ]


def test_legacy_completions_keep_their_shape() -> None:
    logprobs = [{"tokens": [t], "token_logprobs": [-1.0], "text_offset": [o]} for t, o in (("a", 0), ("b", 1))]
    pieces = [
        {"index": 0, "text": t, "logprobs": of, "finish_reason": None} for t, of in zip("ab", logprobs, strict=True)
    ]
    answer = assembled(
        *(chunk(piece) for piece in pieces),
        chunk({"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}),
        legacy=True,
    )
    joined = {"tokens": ["a", "b"], "token_logprobs": [-1.0, -1.0], "text_offset": [0, 1]}
    assert answer["object"] == "text_completion"
    assert answer["choices"] == [{"index": 0, "text": "ab", "logprobs": joined, "finish_reason": "stop"}]


def test_members_nobody_has_heard_of_are_kept() -> None:
    answer = assembled(
        chunk(choice({"content": "x", "annotations": [1]}, stop_reason=None, token_ids=[1]), citations=["a"]),
        chunk(choice({"annotations": [2]}, finish="stop", stop_reason=7, token_ids=[2]), citations=["a", "b"]),
    )
    assert answer["citations"] == ["a", "b"]
    assert answer["choices"][0]["stop_reason"] == 7
    assert answer["choices"][0]["token_ids"] == [1, 2]
    assert answer["choices"][0]["message"]["annotations"] == [1, 2]


def test_the_message_so_far_beside_each_delta_is_not_counted_twice() -> None:
    answer = assembled(
        chunk(choice({"content": "a"}, message={"content": "a"})),
        chunk(choice({"content": "b"}, finish="stop", message={"content": "ab"})),
    )
    assert answer["choices"][0]["message"]["content"] == "ab"


def test_tokens_are_what_the_upstream_counted_or_else_the_pieces() -> None:
    assembly = Assembly()
    assembly.add(chunk(choice({"content": "a"})), 99)
    assembly.add(chunk(choice({"content": "b"})), 99)
    assert assembly.tokens == 2
    assembly.add(chunk(choice({"content": "c"}), usage={"completion_tokens": 8}), 99)
    assert assembly.tokens == 8
    assembly.add(chunk(usage={"completion_tokens": 4}), 99)
    assert assembly.tokens == 8


def test_an_abort_is_no_finish() -> None:
    assembly = Assembly()
    assembly.add(chunk(choice({"content": "a"}, finish="abort")), 99)
    assert not assembly.finished(1)


KEYS = st.sampled_from(["index", "delta", "tool_calls", "function", "content", "audio", "text", "logprobs"])
JUNK: list[Any] = [None, True, 0, 1.5, "", "x", [], {}, [[]], [None], {"name": []}]
SCALAR: st.SearchStrategy[Any] = st.sampled_from(JUNK)
DELTA: st.SearchStrategy[Any] = st.dictionaries(KEYS, SCALAR | st.lists(st.dictionaries(KEYS, SCALAR), max_size=2))
CHOICE: st.SearchStrategy[Any] = SCALAR | st.dictionaries(KEYS, SCALAR | DELTA)
CHUNK: st.SearchStrategy[Json] = st.fixed_dictionaries(
    {"choices": SCALAR | st.lists(CHOICE, max_size=3), "usage": SCALAR}
)


@settings(max_examples=50)
@given(st.lists(CHUNK, max_size=3))
def test_no_chunk_however_strange_raises(chunks: list[Json]) -> None:
    assembled(*chunks)


# --- the round trip: an answer taken apart as servers do, and put together again

TEXT = st.text('aé🌧\n"', min_size=1, max_size=12)


def a_call(number: int, name: str, arguments: str) -> Json:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


@st.composite
def some_calls(draw: st.DrawFn) -> list[Json]:
    return [a_call(number, draw(TEXT), draw(TEXT)) for number in range(draw(st.integers(1, 3)))]


@st.composite
def answers(draw: st.DrawFn) -> Json:
    choices: list[Json] = []
    for index in range(draw(st.integers(1, 3))):
        message: Json = {"role": "assistant", "content": draw(st.none() | TEXT)}
        for key, values in (
            ("reasoning_content", TEXT),
            ("refusal", TEXT),
            ("tool_calls", some_calls()),
            ("extra", TEXT),
        ):
            if draw(st.booleans()):
                message[key] = draw(values)
        logprobs = draw(st.none() | st.lists(st.fixed_dictionaries({"token": TEXT, "logprob": st.floats(-9, 0)})))
        choices.append(
            {
                "index": index,
                "message": message,
                "logprobs": {"content": logprobs} if logprobs else None,
                "finish_reason": draw(st.sampled_from(["stop", "length", "tool_calls"])),
            }
        )
    usage = {"prompt_tokens": draw(st.integers(0, 9)), "details": {"cached_tokens": draw(st.integers(0, 9))}}
    return FRAME | {"object": "chat.completion", "choices": choices, "usage": usage, "citations": draw(st.lists(TEXT))}


def taken_apart(answer: Json, size: int) -> list[Json]:
    """The chunks of an answer, its texts in pieces of `size` characters, its choices interleaved."""
    top = {key: value for key, value in answer.items() if key not in ("choices", "usage", "object")}
    lines = [_choice_apart(one, size) for one in answer["choices"]]
    longest = max(len(line) for line in lines)
    pieces = [line[turn] for turn in range(longest) for line in lines if turn < len(line)]
    return [FRAME | top | {"choices": [piece]} for piece in pieces] + [
        FRAME | top | {"choices": [], "usage": answer["usage"]}
    ]


def _choice_apart(one: Json, size: int) -> list[Json]:
    message: Json = dict(one["message"])
    found: list[Json] = message.pop("tool_calls", [])
    texts = {key: message.pop(key) for key in ("content", "reasoning_content", "refusal") if message.get(key)}
    deltas: list[Json] = [message | {"content": None}]
    deltas += [{key: text[at : at + size]} for key, text in texts.items() for at in range(0, len(text), size)]
    for index, call in enumerate(found):
        arguments: str = call["function"]["arguments"]
        first = {"index": index, "id": call["id"], "type": "function"}
        deltas.append({"tool_calls": [first | {"function": {"name": call["function"]["name"], "arguments": ""}}]})
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": arguments[at : at + size]}}]}
            for at in range(0, len(arguments), size)
        ]
    pieces = [choice(delta, one["index"], logprobs=None) for delta in deltas]
    tokens: list[Json] = one["logprobs"]["content"] if one["logprobs"] else []
    pieces += [choice({}, one["index"], logprobs={"content": [token]}) for token in tokens]
    return [*pieces, choice({}, one["index"], one["finish_reason"], logprobs=None)]


@settings(max_examples=50)
@given(answers(), st.integers(1, 5))
def test_an_answer_taken_apart_and_assembled_is_the_same_answer(answer: Json, size: int) -> None:
    assert assembled(*taken_apart(answer, size)) == answer

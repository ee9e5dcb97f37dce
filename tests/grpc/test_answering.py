"""What upstreams answer, well-behaved and not, as xAI's messages."""

import json
from collections import deque
from collections.abc import Iterable
from itertools import chain
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.core.canonical import Canonical
from raincheck.core.model import Priority
from raincheck.grpc.chat.answering import NotACompletion, completion, response
from raincheck.grpc.chat.chunks import Chunk, Chunks, as_chunk
from raincheck.grpc.problems import Ended
from raincheck.grpc.protos import chat_pb2, sample_pb2, usage_pb2

Json = dict[str, Any]
WEATHER = {"id": "call-1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
ENDS: list[tuple[object, str]] = [
    ("stop", "REASON_STOP"),
    ("length", "REASON_MAX_LEN"),
    ("max_tokens", "REASON_MAX_LEN"),
    ("tool_calls", "REASON_TOOL_CALLS"),
    ("function_call", "REASON_TOOL_CALLS"),
    ("content_filter", "REASON_STOP"),
    (None, "REASON_STOP"),
    ([], "REASON_STOP"),
]
NO_COMPLETION = [
    (b"", "no JSON object", Canonical.INTERNAL),
    (b"<html>", "no JSON object", Canonical.INTERNAL),
    (b"[]", "no JSON object", Canonical.INTERNAL),
    (b'{"a":' * 5000, "no JSON object", Canonical.INTERNAL),
    (b'{"id":"\xff","choices":[]}', "no JSON object", Canonical.INTERNAL),
    (b'{"id":"\\ud800","choices":[{}]}', "no JSON object", Canonical.INTERNAL),
    (b"{}", "no choices", Canonical.INTERNAL),
    (b'{"choices":[]}', "no choices", Canonical.INTERNAL),
    (b'{"choices":null,"id":"a"}', "no choices", Canonical.INTERNAL),
    (b'{"error":{"message":"out of memory"}}', "out of memory", Canonical.INTERNAL),
    (b'{"error":{"message":"too long","type":"invalid_request_error"}}', "too long", Canonical.INVALID_ARGUMENT),
    (b'{"error":{"message":"slow down","code":429}}', "slow down", Canonical.RESOURCE_EXHAUSTED),
    (b'{"object":"error","message":"no"}', "no", Canonical.INTERNAL),
]
CUT_OFF = '{"city": "Os'
ARGUMENTS: list[tuple[object, object]] = [
    ('{"city":"Oslo"}', {"city": "Oslo"}),
    ({"city": "Oslo"}, {"city": "Oslo"}),
    ("", {}),
    (None, {}),
    (CUT_OFF, {"invalid_json": CUT_OFF}),
]


def test_all_that_a_completion_tells_is_told() -> None:
    token = {"token": "H", "logprob": -0.5, "bytes": [72]}
    told = completion(
        _body(
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": "Hi", "reasoning_content": "hm"},
                "logprobs": {"content": [token | {"top_logprobs": [token]}]},
            },
            id="chatcmpl-1",
            created=1_700_000_000.7,
            model="m",
            system_fingerprint="fp",
            service_tier="priority",
            citations=["https://example.com"],
            usage={
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 4, "image_tokens": 3},
                "completion_tokens_details": {"reasoning_tokens": 2},
                "num_sources_used": 1,
                "cost_in_usd_ticks": 5_000_000_000,
            },
        )
    )
    top = chat_pb2.TopLogProb(token="H", logprob=-0.5, bytes=b"H")
    usage = usage_pb2.SamplingUsage(
        prompt_tokens=10,
        prompt_text_tokens=7,
        prompt_image_tokens=3,
        cached_prompt_text_tokens=4,
        completion_tokens=5,
        reasoning_tokens=2,
        total_tokens=15,
        num_sources_used=1,
        cost_in_usd_ticks=5_000_000_000,
    )
    output = chat_pb2.CompletionOutput(
        finish_reason=sample_pb2.REASON_STOP,
        message=chat_pb2.CompletionMessage(role=chat_pb2.ROLE_ASSISTANT, content="Hi", reasoning_content="hm"),
        logprobs=chat_pb2.LogProbs(content=[chat_pb2.LogProb(token="H", logprob=-0.5, bytes=b"H", top_logprobs=[top])]),
    )
    expected = chat_pb2.GetChatCompletionResponse(
        id="chatcmpl-1",
        model="m",
        system_fingerprint="fp",
        service_tier=usage_pb2.SERVICE_TIER_PRIORITY,
        citations=["https://example.com"],
        outputs=[output],
        usage=usage,
    )
    expected.created.FromSeconds(1_700_000_000)
    assert told == expected
    assert completion(_body({}), response_id="mine").id == "mine"


def test_what_is_left_out_is_nothing_or_what_the_record_knows() -> None:
    body = _body({})
    bare = completion(body)
    assert bare.outputs == [
        chat_pb2.CompletionOutput(
            finish_reason=sample_pb2.REASON_STOP, message=chat_pb2.CompletionMessage(role=chat_pb2.ROLE_ASSISTANT)
        )
    ]
    assert not bare.HasField("created")
    known = response(body, "id", 1_700_000_000_900_000, Priority.PRIORITY)
    assert (known.id, known.created.seconds, known.created.nanos) == ("id", 1_700_000_000, 0)
    assert known.service_tier == usage_pb2.SERVICE_TIER_PRIORITY
    assert response(body, "id", 0, Priority.FLEX).service_tier == usage_pb2.SERVICE_TIER_DEFAULT
    said = response(_body({}, created=5, service_tier="default"), "id", 0, Priority.PRIORITY)
    assert (said.created.seconds, said.service_tier) == (5, usage_pb2.SERVICE_TIER_DEFAULT)


@pytest.mark.parametrize(("said", "reason"), ENDS)
def test_each_end_has_its_reason(said: object, reason: str) -> None:
    told = completion(_body({"finish_reason": said}))
    assert sample_pb2.FinishReason.Name(told.outputs[0].finish_reason) == reason


@pytest.mark.parametrize(
    ("message", "content", "reasoning"),
    [
        ({"content": None, "reasoning": "hm"}, "", "hm"),
        ({"content": [{"type": "text", "text": "a"}, {"text": "b"}, {"type": "other"}, 1]}, "ab", ""),
        ({"content": None, "refusal": "I won't."}, "I won't.", ""),
        ({"content": 5, "reasoning_content": [{"text": "x"}]}, "", "x"),
        ({"content": "NUL \0, and more"}, "NUL \0, and more", ""),
        (None, "", ""),
        ("text", "", ""),
    ],
)
def test_text_is_found_wherever_it_stands(message: object, content: str, reasoning: str) -> None:
    told = completion(_body({"message": message})).outputs[0].message
    assert (told.content, told.reasoning_content) == (content, reasoning)


@pytest.mark.parametrize(("said", "told"), ARGUMENTS)
def test_arguments_of_tools_are_json_whatever_the_model_wrote(said: object, told: object) -> None:
    call = {"id": "c", "function": {"name": "weather", "arguments": said}}
    [output] = completion(_body({"message": {"tool_calls": [call]}})).outputs
    [made] = output.message.tool_calls
    assert (made.id, made.type, made.function.name) == ("c", chat_pb2.TOOL_CALL_TYPE_CLIENT_SIDE_TOOL, "weather")
    assert json.loads(made.function.arguments) == told


def test_calls_without_an_id_get_one_and_the_old_kind_of_call_is_one() -> None:
    nameless = {"function": {"name": "a"}}
    message = completion(_body({"message": {"tool_calls": [nameless, nameless]}})).outputs[0].message
    assert [call.id for call in message.tool_calls] == ["call_0", "call_1"]
    message = completion(_body({"message": {"function_call": {"name": "f", "arguments": "{}"}}})).outputs[0].message
    assert [call.function.name for call in message.tool_calls] == ["f"]


def test_each_output_has_an_index_of_its_own() -> None:
    def indices(*said: object) -> list[int]:
        return [output.index for output in completion(_body(*({"index": index} for index in said))).outputs]

    assert indices(0, 1, 2) == [0, 1, 2]
    assert indices(1, 0) == [1, 0]
    assert indices(0, 0, 0) == [0, 1, 2]
    assert indices(None, "1", 2**40, -1, True) == [0, 1, 2, 3, 4]
    assert indices(1, 1, 0, 0) == [0, 1, 2, 3]


@pytest.mark.parametrize(("body", "words", "code"), NO_COMPLETION)
def test_what_is_no_completion_says_so(body: bytes, words: str, code: Canonical) -> None:
    with pytest.raises(NotACompletion, match=words) as caught:
        completion(body)
    assert caught.value.problem.code is code


def test_a_stream_is_told_as_it_comes_and_the_last_chunk_has_the_rest() -> None:
    chunks = list(
        _told(
            _event({"role": "assistant", "content": ""}, id="c", created=5, model="m"),
            _event({"reasoning": "hm"}),
            _event({"content": "Hi"}, usage={"prompt_tokens": 1, "completion_tokens": 1}),
            _event({}, finish="stop"),
            {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}},
        )
    )
    assert [(each.id, each.model, each.created.seconds) for each in chunks] == [("c", "m", 5)] * 3
    assert {output.delta.role for each in chunks for output in each.outputs} == {chat_pb2.ROLE_ASSISTANT}
    told = [(each.outputs[0].delta.reasoning_content, each.outputs[0].delta.content) for each in chunks]
    assert told == [("hm", ""), ("", "Hi"), ("", "")]
    ends = [each.outputs[0].finish_reason for each in chunks]
    assert ends == [sample_pb2.REASON_INVALID, sample_pb2.REASON_INVALID, sample_pb2.REASON_STOP]
    assert [each.usage.total_tokens for each in chunks] == [0, 0, 3]


def test_calls_of_tools_are_told_whole() -> None:
    def piece(index: int, arguments: str, **more: Any) -> Json:
        return {"tool_calls": [{"index": index, **more, "function": {"arguments": arguments}}]}

    [last] = _told(
        _event({"tool_calls": [WEATHER | {"index": 0, "function": {"name": "weather", "arguments": ""}}]}),
        _event(piece(0, '{"city":')),
        _event(piece(0, '"Oslo"}')),
        _event({"tool_calls": [WEATHER | {"index": 1, "id": "call-2"}]}),
        _event({}, finish="tool_calls"),
    )
    [output] = last.outputs
    assert output.finish_reason == sample_pb2.REASON_TOOL_CALLS
    assert [(call.id, call.function.name, call.function.arguments) for call in output.delta.tool_calls] == [
        ("call-1", "weather", '{"city":"Oslo"}'),
        ("call-2", "weather", '{"city":"Oslo"}'),
    ]


def test_a_completion_of_one_chunk_is_all_there_is() -> None:
    whole = _body(
        {"message": {"content": "Hi", "tool_calls": [WEATHER]}, "finish_reason": "tool_calls"}, id="c", created=5
    )
    chunk = as_chunk(completion(whole))
    assert chunk.outputs[0].delta.content == "Hi"
    assert chunk.outputs[0].delta.tool_calls[0].id == "call-1"
    assert (chunk.id, chunk.created.seconds) == ("c", 5)


def test_calls_that_would_never_end_are_bounded() -> None:
    chunks = Chunks()
    event = msgspec.json.encode(_event({"tool_calls": [{"index": 0, "function": {"arguments": "x" * (1 << 20)}}]}))
    with pytest.raises(Ended) as caught:
        deque(chain.from_iterable(chunks.take(event) for _ in range(64)), maxlen=0)
    assert caught.value.problem.code is Canonical.RESOURCE_EXHAUSTED


NAMES = st.sampled_from(
    [
        *("choices", "id", "created", "model", "usage", "error", "object", "citations", "service_tier"),
        *("index", "message", "delta", "finish_reason", "logprobs", "content", "tool_calls", "function_call"),
        *("function", "name", "arguments", "token", "logprob", "bytes", "top_logprobs", "reasoning", "text"),
        *("prompt_tokens", "prompt_tokens_details", "cached_tokens", "cost_in_usd_ticks", "role", "refusal"),
    ]
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([2**31, -(2**63), 1e39])
ANYTHING = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5))
MESSAGES = st.fixed_dictionaries({}, optional={"content": ANYTHING, "tool_calls": ANYTHING, "reasoning": ANYTHING})
CHOICES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("index", "finish_reason", "logprobs"), ANYTHING),
        **dict.fromkeys(("message", "delta"), MESSAGES | ANYTHING),
    },
)
ODD = st.dictionaries(NAMES, ANYTHING, max_size=5) | st.fixed_dictionaries(
    {"choices": st.lists(CHOICES | ANYTHING, max_size=3)}, optional={"usage": ANYTHING, "id": ANYTHING}
)


@pytest.mark.slow("tries many odd answers")
@given(ODD | ANYTHING)
def test_no_json_whatever_breaks_the_translation(said: object) -> None:
    body = json.dumps(said).encode()
    try:
        told = completion(body)
    except Ended:
        return
    told.SerializeToString()
    assert [output.message.role for output in told.outputs] == [chat_pb2.ROLE_ASSISTANT] * len(told.outputs)
    for output in told.outputs:
        for call in output.message.tool_calls:
            json.loads(call.function.arguments)
    told.created.ToDatetime()


@given(st.binary(max_size=40))
def test_no_bytes_whatever_break_the_translation(body: bytes) -> None:
    with pytest.raises(Ended):
        completion(body)


@pytest.mark.slow("tries many odd answers")
@given(st.lists(ODD | ANYTHING, max_size=4))
def test_no_events_whatever_break_the_translation(said: list[object]) -> None:
    chunks = Chunks()
    try:
        told = [chunk for each in said for chunk in chunks.take(json.dumps(each).encode())]
        told.append(chunks.end())
    except Ended:
        return
    assert told[-1].outputs
    for chunk in told:
        chunk.SerializeToString()


def _body(*choices: Json, **members: Any) -> bytes:
    return msgspec.json.encode({"object": "chat.completion", "choices": choices, **members})


def _event(delta: Json, *, finish: str | None = None, **members: Any) -> Json:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **members}


def _told(*events: Json) -> Iterable[Chunk]:
    chunks = Chunks()
    for event in events:
        yield from chunks.take(msgspec.json.encode(event))
    yield chunks.end()

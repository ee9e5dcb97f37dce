"""One line of a batch: what it asks for, and what is said of one that asks for nothing that could be done."""

from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.core.batches import LineError
from raincheck.intake.batches.line import LineRefused, Lines, too_long, write_line
from raincheck.intake.batches.xai import KINDS
from tests.intake.batches.inputs import CHAT, Videos, a_call, a_line, lines_of


async def refused(text: bytes, endpoint: str | None = CHAT, *, xai: bool = False) -> LineError:
    with pytest.raises(LineRefused) as caught:
        (await lines_of(endpoint, xai=xai)).read(text, 7)
    assert caught.value.error.line == 7
    return caught.value.error


async def test_a_line_says_what_is_asked_and_where_it_will_wait() -> None:
    asked = (await lines_of()).read(a_line("one", body=a_call("other", seed=1)), 1)
    assert (asked.custom_id, asked.url, asked.path) == ("one", CHAT, "/chat/completions")
    assert (asked.model, asked.queue) == ("other", "other")
    assert bytes(asked.members["seed"]) == b"1"


async def test_lines_of_a_batch_without_an_endpoint_ask_what_they_like() -> None:
    lines = await lines_of(None, xai=True)
    assert lines.read(a_line(url="/v1/embeddings"), 1).path == "/embeddings"
    video = lines.read(a_line(url="/v1/videos", body={"model": "small", "prompt": "A cat."}), 1)
    assert (video.path, video.queue) == ("/videos/generations", "small/video")


@pytest.mark.parametrize(
    ("text", "code", "param", "words"),
    [
        (b"{", "invalid_json_line", None, "This line is not valid JSON"),
        (b"[]", "invalid_json_line", None, "This line must be a JSON object"),
        (b'{"custom_id": "\xff"}', "invalid_json_line", None, "not valid UTF-8"),
        (a_line("a\0").replace(b"\\u0000", b"\0"), "invalid_json_line", None, "not valid JSON"),
        (a_line("one").replace(b'"one"', rb'"\ud800"'), "invalid_json_line", None, "half a surrogate"),
        (a_line(x=1).replace(b'"x":1', b'"x":' + b"[" * 99 + b"]" * 99), None, None, ""),
        (a_line(x=1).replace(b'"x":1', b'"x":' + b"[" * 99_999), "invalid_json_line", None, "nested"),
        (a_line(...), "missing_required_parameter", "custom_id", "`custom_id`"),
        (a_line(None), "missing_required_parameter", "custom_id", "`custom_id`"),
        (a_line(12), "invalid_type", "custom_id", "must be a string"),
        (a_line().replace(b"{", b'{"url": 1,', 1), "invalid_json_line", None, "a member twice"),
        (a_line(""), "invalid_custom_id", "custom_id", "between 1 and 256"),
        (a_line("x" * 257), "invalid_custom_id", "custom_id", "not 257"),
        (a_line("a\0b"), "invalid_custom_id", "custom_id", "NUL"),
        (a_line(method=...), "missing_required_parameter", "method", "`method`"),
        (a_line(method="GET"), "invalid_method", "method", "must be POST"),
        (a_line(url=...), "missing_required_parameter", "url", "`url`"),
        (a_line(url="/v1/embeddings"), "invalid_url", "url", "does not match the batch's endpoint"),
        (a_line(body=...), "missing_required_parameter", "body", "`body`"),
        (a_line(body=[]), "invalid_request", "body", "must be a JSON object"),
        (a_line(body=a_call(stream=True)), "streaming_unsupported", "body.stream", "not supported in a batch"),
        (a_line(body=a_call(service_tier=1)), "invalid_request", "body.service_tier", "wrong type"),
        (a_line(body={"messages": [1]}), "invalid_request", "body.model", "`model` is missing"),
        (a_line(body={"model": "small"}), "invalid_request", "body.messages", "`messages` is missing"),
        (a_line(body=a_call("\n")), "invalid_request", "body.model", "control characters"),
        (a_line(body=a_call("nobody")), "model_not_found", "body.model", "Known models: other, small"),
    ],
)
async def test_a_line_that_cannot_be_done_says_what_is_wrong(
    text: bytes, code: str | None, param: str | None, words: str
) -> None:
    if code is None:  # What is beside the body is nobody's, however it is.
        assert (await lines_of()).read(text, 7).custom_id == "one"
        return
    error = await refused(text)
    assert (error.code, error.param) == (code, param)
    assert words in error.message


@given(st.binary(max_size=6), st.integers(0, len(a_line())), st.integers(0, 12))
async def test_whatever_a_line_is_it_is_understood_or_refused(noise: bytes, at: int, left_out: int) -> None:
    text = a_line()[:at] + noise + a_line()[at + left_out :]
    lines = Lines(endpoint=None, xai=True, videos=Videos())
    with suppress(LineRefused):
        assert lines.read(text, 7).custom_id.encode()


async def test_a_video_is_checked_by_the_edge_that_knows_videos_and_names_its_model() -> None:
    error = await refused(a_line(url="/v1/videos", body={"model": "small"}), "/v1/videos")
    assert (error.code, error.param) == ("invalid_request", "body.prompt")
    error = await refused(a_line(url="/v1/videos", body={"prompt": "A cat."}), "/v1/videos")
    assert (error.code, error.param) == ("invalid_request", "body.model")


@pytest.mark.parametrize("url", ["/v1/batches", "/v1/webhook_endpoints", "/v1/webhook_event_types", "/v1/models"])
async def test_what_no_batch_can_ask_is_no_url_of_a_line(url: str) -> None:
    error = await refused(a_line(url=url), None)
    assert (error.code, error.param) == ("invalid_url", "url")


def test_a_line_that_was_checked_before_is_taken_whoever_serves_its_model_now() -> None:
    lines = Lines(endpoint=None, xai=False, videos=Videos())
    assert lines.read(a_line(body=a_call("gone")), 1).queue == "gone"


@pytest.mark.parametrize(("kind", "url"), KINDS.items())
async def test_a_line_may_have_the_form_of_xais_calls_where_the_batch_has(kind: str, url: str) -> None:
    body = a_call(prompt="A cat.")
    text = msgspec.json.encode({"batch_request_id": "one", "batch_request": {kind: body, "image_request": None}})
    if kind == "image_request":
        text = msgspec.json.encode({"batch_request_id": "one", "batch_request": {kind: body}})
    asked = (await lines_of(None, xai=True)).read(text, 1)
    assert (asked.custom_id, asked.url, asked.model) == ("one", url, "small")
    error = await refused(text)
    assert (error.code, error.param) == ("missing_required_parameter", "custom_id")


async def test_a_line_of_xais_form_without_an_id_is_given_one_that_stays() -> None:
    text = msgspec.json.encode({"batch_request": {"chat_get_completion": a_call()}})
    names = [(await lines_of(None, xai=True)).read(text, number).custom_id for number in (1, 1, 2)]
    assert names[0] == names[1] != names[2]
    assert [len(name) for name in names] == [36, 36, 36]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (1, "must be an object"),
        ({}, "it has 0 members"),
        ({"chat_get_completion": {}, "image_request": {}}, "it has 2 members"),
        ({"dance": {}}, "has 'dance'; it must have one of chat_get_completion"),
    ],
)
async def test_an_unknown_kind_of_xais_calls_is_told_with_the_known_ones(request_: object, words: str) -> None:
    error = await refused(msgspec.json.encode({"batch_request": request_}), None, xai=True)
    assert (error.code, error.param) == ("invalid_request", "batch_request")
    assert words in error.message


async def test_a_call_that_is_written_as_a_line_reads_as_it_was() -> None:
    body = msgspec.Raw(b'{\r\n  "model": "small",\n  "messages": ["a\\nb"]\n}')
    line = write_line("one", CHAT, body)
    assert line.count(b"\n") == 1
    asked = (await lines_of()).read(line[:-1], 1)
    assert (asked.custom_id, asked.url) == ("one", CHAT)
    assert bytes(asked.members["messages"]) == rb'["a\nb"]'
    for name in ("", "\0", "\ud800"):
        with pytest.raises(LineRefused):
            write_line(name, CHAT, body)


def test_a_long_line_is_told_how_long_it_may_be() -> None:
    assert "longer than the 32 MiB" in too_long(3, 32 << 20).message
    assert "longer than the 100 bytes" in too_long(3, 100).message


async def test_ten_thousand_paths_and_models_are_understood_without_all_being_remembered() -> None:
    lines = Lines(endpoint=None, xai=False, videos=Videos())
    texts = [a_line(url=f"/v1/path-{number}", body=a_call(f"model-{number}")) for number in range(5_000)]
    queues = {lines.read(text, 1).queue for text in texts}
    assert len(queues) == 5_000

"""What files and listings say of a line: always one line of JSON, whatever an upstream answered."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raincheck.core.model import Result
from raincheck.intake.batches import telling


def test_json_is_copied_as_it_came() -> None:
    body = '{"b": 1.0, "a": "é\u2028", "n": 1e400}'.encode()
    assert telling.as_json(Result(200, "application/json", body)) == body


def test_json_over_several_lines_is_put_on_one() -> None:
    said = telling.as_json(Result(200, "application/json; charset=utf-8", b'{\r\n  "a": "x\\n"\n}\n'))
    assert b"\n" not in said
    assert b"\r" not in said
    assert msgspec.json.decode(said) == {"a": "x\n"}


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": 1} {"b": 2}', b"plain\nwords"])
def test_what_only_says_that_it_is_json_is_a_text(body: bytes) -> None:
    assert msgspec.json.decode(telling.as_json(Result(200, "application/json", body))) == body.decode()


def test_a_text_is_a_string() -> None:
    assert telling.as_json(Result(200, "text/vtt", b'"1"\n')) == b'"\\"1\\"\\n"'


def test_what_is_no_text_is_a_data_uri() -> None:
    said = msgspec.json.decode(telling.as_json(Result(200, "audio/mpeg", b"\xff\xfb\x90")))
    assert said == "data:audio/mpeg;base64," + base64.b64encode(b"\xff\xfb\x90").decode()
    odd = telling.as_json(Result(200, 'a"b\n', b"\xff"))
    assert msgspec.json.decode(odd) == "data:application/octet-stream;base64,/w=="


@given(st.binary(max_size=40), st.sampled_from(["application/json", "text/plain", "audio/mpeg", ""]))
def test_any_answer_fits_into_a_line(body: bytes, content_type: str) -> None:
    line = telling.opening("i", "c", "r", 200) + telling.as_json(Result(200, content_type, body)) + telling.CLOSING
    assert len(line.splitlines()) == 1
    assert msgspec.json.decode(line)["response"]["status_code"] == 200


def test_a_line_without_a_request_always_has_the_same_id() -> None:
    first, second = telling.line_id("batch_1", 1, None), telling.line_id("batch_1", 2, None)
    assert first == telling.line_id("batch_1", 1, None) != second
    assert first.startswith("batch_req_")
    assert len(first) == len("batch_req_") + 32

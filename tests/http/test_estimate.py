"""How long an answer may become, as the body of a call says it."""

import msgspec
import pytest

from raincheck.http.codec import parse
from tests.server import a_chat


@pytest.mark.parametrize(
    ("members", "tokens"),
    [
        ({}, None),
        ({"max_tokens": 100}, 100),
        ({"max_completion_tokens": 200, "max_tokens": 100}, 200),
        ({"max_output_tokens": 300}, 300),
        ({"max_tokens": 100, "n": 4}, 400),
        ({"max_tokens": 100, "n": None}, 100),
        ({"n": 4}, None),
        ({"max_tokens": None}, None),
        ({"max_tokens": "many"}, None),
        ({"max_tokens": -5}, None),
        ({"max_tokens": 10**40}, None),
        ({"max_tokens": 100, "n": "two"}, 100),
    ],
)
def test_the_longest_answer_is_read_by_any_of_its_names_and_what_makes_no_sense_is_passed_on(
    members: dict[str, object], tokens: int | None
) -> None:
    body = msgspec.json.encode(a_chat(deferred=True))[:-1]
    body += b"".join(b",%b:%b" % (_json(name), _json(value)) for name, value in members.items()) + b"}"

    assert parse("/chat/completions", body, {}, prefers_async=False).submission.answer_tokens == tokens


def _json(value: object) -> bytes:
    return str(value).encode() if isinstance(value, int) else msgspec.json.encode(value)

"""How long an answer may become, as the body of a call says it."""

import msgspec
import pytest

from raincheck.http.codec import parse
from tests.server import a_chat


@pytest.mark.parametrize(
    ("members", "tokens", "choices"),
    [
        ({}, None, 1),
        ({"max_tokens": 100}, 100, 1),
        ({"max_completion_tokens": 200, "max_tokens": 100}, 200, 1),
        ({"max_completion_tokens": None, "max_tokens": 50_000}, 50_000, 1),
        ({"max_output_tokens": 300}, 300, 1),
        ({"max_tokens": 100, "n": 4}, 100, 4),
        ({"max_tokens": 100, "n": None}, 100, 1),
        ({"n": 4}, None, 4),
        ({"max_tokens": None}, None, 1),
        ({"max_tokens": "many"}, None, 1),
        ({"max_tokens": -5}, None, 1),
        ({"max_tokens": 10**40}, None, 1),
        ({"max_tokens": 100, "n": "two"}, 100, 1),
    ],
)
def test_the_longest_answer_is_read_by_any_of_its_names_and_what_makes_no_sense_is_passed_on(
    members: dict[str, object], tokens: int | None, choices: int
) -> None:
    body = msgspec.json.encode(a_chat(deferred=True))[:-1]
    body += b"".join(b",%b:%b" % (_json(name), _json(value)) for name, value in members.items()) + b"}"

    submission = parse("/chat/completions", body, {}, prefers_async=False).submission
    assert (submission.answer_tokens, submission.choices) == (tokens, choices)


def _json(value: object) -> bytes:
    return str(value).encode() if isinstance(value, int) else msgspec.json.encode(value)

"""Exit codes and the line that comes with them."""

import json
import socket

import pytest

from raincheck.cli.exits import Code, Problem, explain
from raincheck.core.errors import NotFound, StoreTaken
from tests.cli.desk import run


def nobody() -> str:
    """The URL of a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.slow("the client tries a lost connection three times")
def test_an_unreachable_server_is_exit_code_5_with_what_to_do():
    url = nobody()
    ended = run("status", "req_1", "--base-url", url)
    assert (ended.code, ended.stdout) == (5, "")
    assert ended.stderr == (
        f"raincheck: cannot reach {url}: start a server with `raincheck serve`, "
        "or point RAINCHECK_BASE_URL or --base-url at one\n"
    )


@pytest.mark.slow("the client tries a lost connection three times")
def test_with_json_the_error_is_json_too():
    ended = run("list", "--json", RAINCHECK_BASE_URL=nobody())
    assert ended.code == 5
    error = json.loads(ended.stderr)["error"]
    assert (error["code"], error["exit_code"]) == ("unreachable", 5)


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFound(), Code.NOT_FOUND), (StoreTaken(), Code.FAILED), (Problem("x", Code.USAGE), Code.USAGE)],
)
def test_known_errors_have_a_code(error: Exception, code: Code):
    problem = explain(error)
    assert problem is not None
    assert problem.code == code


def test_a_fault_of_ours_keeps_its_traceback():
    assert explain(KeyError("x")) is None


def test_an_id_that_is_none_is_a_usage_error():
    for wrong in ("", "a/b", ".."):
        assert run("status", wrong).code == 2


@pytest.mark.parametrize("key", ["é", "bad\nkey"])
def test_a_key_that_no_header_can_carry_is_a_usage_error_that_does_not_repeat_it(key: str):
    ended = run("list", RAINCHECK_API_KEY=key, RAINCHECK_BASE_URL=nobody())
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith("raincheck: RAINCHECK_API_KEY must be printable ASCII")
    assert key not in ended.stderr

"""The fuzz finds what it is there for: a server that is planted with mistakes does not get past it."""

import json
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from tests.fuzz.engine import Budget, fuzz
from tests.fuzz.judge import CASES, EXCUSED, LED, Excuse, Tally, code_of, complaints

BUDGET = Budget(seconds=5, seed=1, examples=1)
ONCE = ("examples",)
SLOW = pytest.mark.slow("the first of them waits for all of schemathesis to load")


@SLOW
def test_a_5xx_is_found_and_told_with_a_curl_line() -> None:
    tally = _fuzzed(status=500, body={"error": {"message": "no", "code": "internal_error"}})

    failure = tally.failures["POST /thing", "Server error"]
    assert "internal_error" in failure.message
    assert failure.curl.startswith("curl -X POST")


@SLOW
def test_an_answer_with_a_status_that_the_document_does_not_have_is_found() -> None:
    tally = _fuzzed(status=201, body={"id": "a"})

    assert ("POST /thing", "Undocumented status code") in tally.failures


@SLOW
def test_an_answer_that_does_not_follow_its_schema_is_found() -> None:
    tally = _fuzzed(body={"id": 1})

    assert ("POST /thing", "Response violates schema") in tally.failures


@SLOW
def test_a_call_that_is_let_in_without_a_key_is_found() -> None:
    tally = _fuzzed(body={"id": "a"}, asks_for_key=False)

    assert {title for _, title in tally.failures} == {"API accepts requests without authentication"}


@SLOW
def test_a_server_that_does_as_documented_passes() -> None:
    tally = _fuzzed(body={"id": "a"})

    assert tally.failures == {}
    assert tally.accepted["POST /thing"] > 0


@SLOW
@pytest.mark.parametrize(
    ("excuse", "counts"),
    [
        (Excuse("POST /thing", "not_a_server_error", 502, "odd"), True),
        (Excuse("POST /other", "not_a_server_error", 502, "odd"), False),
        (Excuse("POST /thing", "response_schema_conformance", 502, "odd"), False),
        (Excuse("POST /thing", "not_a_server_error", 500, "odd"), False),
        (Excuse("POST /thing", "not_a_server_error", 502, "even"), False),
    ],
)
def test_an_excuse_is_good_for_one_operation_one_check_and_one_answer(
    monkeypatch: pytest.MonkeyPatch, excuse: Excuse, *, counts: bool
) -> None:
    monkeypatch.setitem(EXCUSED, excuse, "for the test")
    tally = _fuzzed(status=502, body={"error": {"code": "odd"}})

    assert (excuse in tally.excused, ("POST /thing", "Server error") not in tally.failures) == (counts, counts)


@pytest.mark.parametrize("body", [b'{"error":"flat"}', b'{"error":{}}', b"[]", b"<html>", b""])
def test_an_answer_without_a_code_has_an_empty_one(body: bytes) -> None:
    assert code_of(body) == ""


def test_a_run_that_called_too_little_is_found_out() -> None:
    nothing = list(Tally().too_little(["GET /thing"]))
    assert nothing == [
        "GET /thing was never called.",
        f"0 cases are few; {CASES} are wanted.",
        f"0 kinds of links led somewhere; {LED} are wanted.",
    ]
    links = Counter({f"link {n}": 1 for n in range(LED)})
    enough = Tally(cases=CASES, operations=Counter({"GET /thing": CASES}), led=links)
    assert list(enough.too_little(["GET /thing"])) == []
    assert len(list(Tally(cases=CASES, led=links | Counter({"nowhere": 0})).too_little(["GET /thing"]))) == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('{"level":"error","event":"call.crashed"}', "call.crashed"),
        ('{"level":"critical","event":"x"}', "x"),
        ("Traceback (most recent call last):", "No JSON"),
        ("Task exception was never retrieved", "No JSON"),
        ("[]", "No JSON"),
    ],
)
def test_what_a_log_complains_of_is_found(line: str, kind: str) -> None:
    good = '{"level":"info","event":"server.started"}\n\n{"level":"warning","event":"w"}\n'
    assert list(complaints(good)) == []
    assert list(complaints(f"{good}{line}\n")) == [(kind, line)]


def _fuzzed(**answers: Any) -> Tally:
    with _planted(**answers) as url:
        return fuzz(_DOCUMENT, url, "rc_key", BUDGET, ONCE)


_DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Planted", "version": "1"},
    "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    "security": [{"key": []}],
    "paths": {
        "/thing": {
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {"type": "object"},
                            "examples": {"example": {"value": {"name": "a"}}},
                        }
                    }
                },
                "responses": {
                    "200": {
                        "description": "Made.",
                        "content": {
                            "application/json": {
                                "schema": {
                                    "type": "object",
                                    "required": ["id"],
                                    "properties": {"id": {"type": "string"}},
                                }
                            }
                        },
                    },
                    "401": {"description": "No key."},
                },
            }
        }
    },
}


@contextmanager
def _planted(*, body: object, status: int = 200, asks_for_key: bool = True) -> Generator[str]:
    """A server that answers every POST like this, or 401 without the key; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            known = not asks_for_key or self.headers.get("authorization") == "Bearer rc_key"
            data = json.dumps(body).encode() if known else b"{}"
            self.send_response(status if known else 401)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()

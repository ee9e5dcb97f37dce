"""The checker refuses what a strictly typed client stumbles over."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.client.servers import a_completion
from tests.client.strict_json import check_done, check_failed, check_pending, check_submit

SUBMITTED: dict[str, Any] = {
    "id": "req_1",
    "request_id": "req_1",
    "object": "chat.completion",
    "status": "pending",
    "created": 1790000000,
    "model": "tiny",
    "choices": [],
}


def raw(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_good_replies_pass() -> None:
    assert check_submit(200, raw(SUBMITTED)) == "req_1"
    check_pending(202, {"Retry-After": "1"}, raw(SUBMITTED))
    check_done(200, raw(a_completion()))
    check_failed(502, raw({"error": {"message": "no", "type": "server_error", "param": None, "code": None}}))


@pytest.mark.parametrize(
    "check",
    [
        lambda: check_submit(200, raw(SUBMITTED | {"created": 1790000000.0})),
        lambda: check_submit(200, raw(SUBMITTED | {"created": "1790000000"})),
        lambda: check_submit(200, raw(SUBMITTED | {"choices": None})),
        lambda: check_submit(200, raw(SUBMITTED | {"id": 5})),
        lambda: check_submit(200, raw({"request_id": "req_1"})),
        lambda: check_submit(202, raw(SUBMITTED)),
        lambda: check_pending(202, {"retry-after": "1"}, b""),
        lambda: check_pending(202, {}, raw(SUBMITTED)),
        lambda: check_pending(202, {"retry-after": "0.5"}, raw(SUBMITTED)),
        lambda: check_pending(200, {"retry-after": "1"}, raw(SUBMITTED)),
        lambda: check_done(200, raw(a_completion()).replace(b'"index": 0', b'"index": 0.0')),
        lambda: check_done(200, raw(a_completion()).replace(b'"total_tokens": 4', b'"total_tokens": 4e0')),
        lambda: check_done(200, raw(a_completion()).replace(b'"total_tokens": 4', b'"total_tokens": NaN')),
        lambda: check_done(200, raw(a_completion() | {"choices": []})),
        lambda: check_done(200, b"\xef\xbb\xbf" + raw(a_completion())),
        lambda: check_failed(200, raw({"error": {}})),
        lambda: check_failed(502, raw({"error": "flat"})),
    ],
)
def test_bad_ones_do_not(check: Callable[[], object]) -> None:
    with pytest.raises(AssertionError):
        check()

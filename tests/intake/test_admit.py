"""From a submission to a record that is fit for the store."""

from typing import Any

import pytest
from msgspec.structs import replace

from raincheck.core.clock import DAY, SECOND
from raincheck.core.errors import BadInput, WebhookRefused
from raincheck.core.model import NewRequest, Priority, Tenant
from raincheck.intake.admit import (
    IMAGE_TOKENS,
    MOST_TOKENS,
    REPEAT_WINDOW,
    UNSAID_ANSWER,
    Options,
    Submission,
    admit,
    check_model,
)

NOW = 1_790_000_000 * SECOND


def a_submission(**changes: Any) -> Submission:
    return replace(Submission(path="/chat/completions", model="m", payload=b'{"model":"m"}'), **changes)


def admitted(submission: Submission, tenant: Tenant | None = None) -> NewRequest:
    return admit(submission, tenant or Tenant("t"), new_id="req_1", max_attempts=5, now=NOW)


def with_options(**options: Any) -> NewRequest:
    return admitted(a_submission(options=Options(**options)))


def test_a_plain_submission_has_the_defaults() -> None:
    new = admitted(a_submission(), Tenant("t", weight=2.0, max_pending=7))

    assert (new.tenant, new.weight, new.max_pending) == ("t", 2.0, 7)
    assert (new.queue, new.model, new.priority, new.max_attempts) == ("m", "m", Priority.DEFAULT, 5)
    assert (new.deadline, new.not_before, new.fingerprint, new.repeat_until) == (None, None, None, None)


def test_expires_in_is_a_deadline_from_now() -> None:
    assert with_options(expires_in=60 * SECOND).deadline == NOW + 60 * SECOND


def test_a_start_in_the_past_is_no_wait_at_all() -> None:
    assert with_options(not_before=NOW - SECOND).not_before is None


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"deadline": NOW}, "deadline"),
        ({"deadline": NOW + 366 * DAY}, "deadline"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 366 * DAY}, "expires_in"),
        ({"expires_in": 5, "deadline": NOW + DAY}, "expires_in"),
        ({"not_before": NOW + 366 * DAY}, "not_before"),
        ({"not_before": NOW + DAY, "deadline": NOW + DAY}, "not_before"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"metadata": {"k" * 65: "x"}}, "metadata"),
        ({"metadata": {"k": "a\0"}}, "metadata"),
        ({"metadata": {"k": "\ud800"}}, "metadata"),
        ({"metadata": {"\udfff": "x"}}, "metadata"),
        ({"webhook_url": "ftp://example.com"}, "webhook_url"),
        ({"webhook_url": "http://"}, "webhook_url"),
        ({"webhook_url": "http://[::1"}, "webhook_url"),
        ({"webhook_url": "https://example.com/" + "x" * 2048}, "webhook_url"),
        ({"webhook_url": "https://example.com/\n"}, "webhook_url"),
        ({"webhook_url": "https://example.com/\0"}, "webhook_url"),
        ({"webhook_url": "https://example.com/\ud800"}, "webhook_url"),
        ({"webhook_url": "http://example.com/"}, "webhook_url"),
        ({"webhook_url": "https://10.0.0.1/"}, "webhook_url"),
        ({"webhook_events": ("completed", "done")}, "webhook_events"),
    ],
)
def test_options_beyond_their_bounds_are_refused_by_name(options: dict[str, Any], param: str) -> None:
    with pytest.raises(BadInput) as raised:
        with_options(**options)

    assert raised.value.param == param


def test_who_is_told_of_what_stands_in_the_record() -> None:
    new = with_options(
        webhook_url="https://example.com/", webhook_events=("failed", "progress", "failed"), include_result=True
    )

    assert (new.webhook_url, new.webhook_events) == ("https://example.com/", ("failed", "progress"))
    assert new.webhook_result


def test_a_webhook_may_go_where_the_operator_allows_it() -> None:
    submission = a_submission(options=Options(webhook_url="http://10.0.0.1:8000/hook"))

    new = admit(submission, Tenant("t"), new_id="r", max_attempts=5, now=NOW, webhook_hosts=("10.0.0.0/8",))

    assert new.webhook_url == "http://10.0.0.1:8000/hook"
    with pytest.raises(WebhookRefused, match=r"webhooks\.allow"):
        admitted(submission)


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "é", "a\n", "a\0", "\ud800"])
def test_an_idempotency_key_is_visible_ascii(key: str) -> None:
    with pytest.raises(BadInput):
        admitted(a_submission(idempotency_key=key))


@pytest.mark.parametrize("model", ["", "m" * 257, "m\n", "\0", "m\ud800"])
def test_a_model_name_is_printable_and_of_sane_size(model: str) -> None:
    with pytest.raises(BadInput):
        check_model(model)


def test_g9_the_fingerprint_is_the_content_and_nothing_else() -> None:
    """G9: equal for the same thing asked at another time by another tenant, different for anything else asked."""
    one = a_submission(idempotency_key="k", options=Options(expires_in=60 * SECOND))
    later = admit(one, Tenant("other"), new_id="req_2", max_attempts=9, now=NOW + DAY)
    others = [
        replace(one, payload=b"{}"),
        replace(one, path="/completions"),
        replace(one, service_tier="flex"),
        replace(one, options=Options(expires_in=61 * SECOND)),
        replace(one, options=Options(expires_in=60 * SECOND, metadata={"a": "b"})),
    ]

    assert admitted(one).fingerprint == later.fingerprint
    assert len({admitted(other).fingerprint for other in [one, *others]}) == 6


@pytest.mark.parametrize(("count", "is_retry"), [(0, False), (1, True), (2, True)])
def test_a_client_that_retries_by_itself_is_recognised_for_a_while(count: int, is_retry: bool) -> None:
    new = admitted(a_submission(client_retry=count))

    assert new.fingerprint is not None
    assert (new.repeat_until, new.is_retry) == (NOW + REPEAT_WINDOW, is_retry)


def test_g9_how_long_it_is_recognised_is_part_of_what_is_asked() -> None:
    short = a_submission(client_retry=1, repeat_within=60 * SECOND)

    assert admitted(short).repeat_until == NOW + 60 * SECOND
    assert admitted(short).fingerprint != admitted(a_submission(client_retry=1)).fingerprint


def test_with_an_idempotency_key_content_alone_decides_nothing() -> None:
    new = admitted(a_submission(client_retry=1, idempotency_key="k"))

    assert new.fingerprint is not None
    assert (new.repeat_until, new.is_retry) == (None, False)


@pytest.mark.parametrize(
    ("changes", "tokens"),
    [
        ({"payload": b"x" * 400, "answer_tokens": 50}, 100 + 50),
        ({"payload": b"x" * 400}, 100 + UNSAID_ANSWER),
        ({"payload": b"x" * 400, "path": "/responses"}, 100 + UNSAID_ANSWER),
        ({"payload": b"x" * 400, "path": "/embeddings"}, 100),
        ({"payload": b"x" * 400, "path": "/embeddings", "answer_tokens": 0}, 100),
        ({"payload": b"x" * 400, "answer_tokens": 50, "choices": 3}, 100 + 3 * 50),
        ({"payload": b"x" * 400, "choices": 10}, 100 + 10 * UNSAID_ANSWER),
        ({"payload": b"x" * 400, "path": "/images/generations", "choices": 10}, 100),
        ({"payload": b"{}", "answer_tokens": 10**18}, MOST_TOKENS),
    ],
)
def test_the_estimate_of_tokens_is_a_quarter_of_the_body_and_the_longest_answer(
    changes: dict[str, Any], tokens: int
) -> None:
    assert admitted(a_submission(**changes)).tokens == tokens


def test_pictures_inside_the_body_count_by_the_piece_and_not_by_their_bytes() -> None:
    picture = b'{"url":"data:image/png;base64,' + b"A" * 4_000_000 + b'"}'
    body = b"[" + picture + b"," + picture + b"]"

    tokens = admitted(a_submission(payload=body, answer_tokens=1)).tokens

    assert 2 * IMAGE_TOKENS < tokens < 2 * IMAGE_TOKENS + 50


@pytest.mark.parametrize("between", [b":", b" : "])
def test_sounds_inside_the_body_count_by_the_piece_and_short_or_plain_data_by_its_bytes(between: bytes) -> None:
    sound = b'{"type":"input_audio","input_audio":{"data"' + between + b'"' + b"A" * 4_000_000 + b'","format":"wav"}}'
    short = b'{"data":"' + b"A" * 3_000 + b'"}'
    plain = b'{"data":"' + b"some words " * 1_000 + b'"}'

    tokens = admitted(a_submission(payload=b"[%b,%b,%b]" % (sound, short, plain), answer_tokens=1)).tokens

    assert 0 < tokens - (IMAGE_TOKENS + 3_000 // 4 + 11_000 // 4) < 50

"""How deliveries are told of in a line."""

from typing import Any

import pytest

from raincheck.cli.webhooks_telling import is_retried, state
from raincheck.client.webhooks.models import WebhookDelivery
from raincheck.core.clock import SECOND, now


def delivery(**members: Any) -> WebhookDelivery:
    known = {"id": "whd_1", "event_id": "evt_1", "event_type": "batch.failed", "object_id": "batch_1"}
    return WebhookDelivery.construct(None, **known | {"url": "http://127.0.0.1:8790/hook"} | members)


def test_what_waits_for_a_receiver_that_fails_says_so_and_until_when():
    until = now() / SECOND + 60
    held = delivery(error="It answered 500.", attempt=2, receiver={"failures": 5, "next_try_at": until})
    told = state(held, " to somewhere")
    assert told.startswith("pending (attempt 2): 127.0.0.1:8790 failed 5 times in a row; it is tried next at 20")
    assert state(delivery(receiver={"failures": 1, "next_try_at": None})) == "pending: 127.0.0.1:8790 failed once"


@pytest.mark.parametrize("members", [{}, {"receiver": None}, {"receiver": {"failures": 0, "next_try_at": None}}])
def test_what_waits_its_turn_blames_nobody(members: dict[str, Any]):
    assert state(delivery(**members)) == "pending, waits for its receiver"


def test_what_has_a_time_of_its_own_is_told_with_it():
    due = delivery(next_attempt_at=now() / SECOND + 59.9, attempt=1, error="It answered 500.", receiver={"failures": 1})
    told = state(due, " to 127.0.0.1:8790")
    assert told.startswith("pending to 127.0.0.1:8790, next in 5")
    assert told.endswith(": It answered 500.")
    assert state(delivery(sending=True, attempt=1), " to a") == "sending to a"
    assert state(delivery(status="delivered", attempt=1, test=True, error="once")) == "delivered (test)"


@pytest.mark.parametrize(
    ("members", "retried"),
    [
        ({"attempt": 1, "error": "no"}, True),
        ({"attempt": 2, "error": "no", "sending": True}, True),
        ({"attempt": 0, "error": "before it was sent again"}, False),
        ({"attempt": 1, "error": "before it was sent again", "sending": True}, False),
        ({"attempt": 1, "error": "no", "status": "failed"}, False),
        ({}, False),
    ],
)
def test_only_what_failed_and_is_on_its_way_still_is_retried(members: dict[str, Any], retried: bool):
    assert is_retried(delivery(**members)) is retried

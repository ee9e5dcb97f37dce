"""Errors become the exceptions they should be, and what the client tries again by itself comes out well."""

from typing import Any

import openai

from tests.clients.checks import Given, raises, unique
from tests.clients.openai_client import CHECKS
from tests.clients.openai_client.chat import HELLO, said


@CHECKS("error: a wrong key")
def a_wrong_key(given: Given) -> None:
    wrong = given.client.with_options(api_key="rc_wrong")
    refused = raises(openai.AuthenticationError, wrong.models.list)
    assert (refused.status_code, refused.code) == (401, "api_key_invalid")
    assert refused.request_id


@CHECKS("error: an unknown model")
def an_unknown_model(given: Given) -> None:
    create = given.client.chat.completions.create
    refused = raises(openai.NotFoundError, lambda: create(model="nope", messages=said("Hi")))
    assert (refused.code, refused.param) == ("model_not_found", "model")


@CHECKS("error: a body that makes no sense")
def no_messages(given: Given) -> None:
    create = given.client.chat.completions.create
    refused = raises(openai.BadRequestError, lambda: create(model="m", messages=[], extra_body={"deferred": True}))
    assert (refused.code, refused.type) == ("invalid_request", "invalid_request_error")


@CHECKS("error: of the upstream")
def an_upstreams_own(given: Given) -> None:
    create = given.client.chat.completions.create
    refused = raises(openai.BadRequestError, lambda: create(model="m", messages=said("Fail")))
    body: Any = refused.body
    assert (refused.code, body["message"]) == ("refused", "I will not do that.")


@CHECKS("retry: a busy upstream")
def a_retry_gets_through(given: Given) -> None:
    raw = given.client.chat.completions.with_raw_response.create(model="m", messages=said(unique("Busy")))
    assert raw.parse().choices[0].message.content == HELLO
    assert raw.retries_taken == 1


@CHECKS("retry: of a deferring call")
def a_retried_submit_is_one_request(given: Given) -> None:
    words = unique("Retried")
    create = given.client.chat.completions.create
    first, again = (
        create(
            model="m",
            messages=said(words),
            extra_body={"deferred": True},
            extra_headers={"x-stainless-retry-count": count},
        )
        for count in ("0", "1")
    )
    assert first.id == again.id


@CHECKS("timeout: the client's own")
def a_clients_own_timeout(given: Given) -> None:
    impatient = given.client.with_options(timeout=0.3, max_retries=0)
    raises(openai.APITimeoutError, lambda: impatient.chat.completions.create(model="m", messages=said("Slow")))

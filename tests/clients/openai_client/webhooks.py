"""Webhooks: endpoints managed by the client, deliveries unwrapped by it."""

from typing import Any

import openai

from tests.clients.checks import Given, raises, unique
from tests.clients.openai_client import CHECKS
from tests.clients.openai_client.batches import a_batch
from tests.clients.openai_client.chat import deferred
from tests.clients.openai_client.responses import in_background


def path() -> str:
    return "/" + unique("hook")


def an_endpoint(given: Given, at: str, *types: str) -> Any:
    return given.client.webhooks.create(name="checks", url=given.receiver.at(at), event_types=list(types or ("*",)))


def secret(given: Given) -> str:
    return given.http("GET", "/v1/webhook_secret")[1]["signing_secret"]


def unwrapped(given: Given, at: str, signed_with: str, of: str = "") -> Any:
    """The event that came to a path, of this object: an endpoint is told of what other checks do, too."""
    came = given.receiver.wait(at, of=of)[0]
    return given.client.webhooks.unwrap(came.body.decode(), dict(came.headers), secret=signed_with)


@CHECKS("webhooks.unwrap (response.completed)")
def a_response_is_told(given: Given) -> None:
    at = path()
    response = in_background(given, extra_body={"webhook_url": given.receiver.at(at)})
    event = unwrapped(given, at, secret(given))
    assert (event.type, event.data.id, type(event).__name__) == (
        "response.completed",
        response.id,
        "ResponseCompletedWebhookEvent",
    )
    assert event.id == given.receiver.wait(at)[0].headers["webhook-id"]


@CHECKS("webhooks.unwrap (batch.completed)")
def a_batch_is_told(given: Given) -> None:
    at = path()
    batch = a_batch(given, "Hi", extra_body={"webhook_url": given.receiver.at(at)})
    event = unwrapped(given, at, secret(given))
    assert (event.type, event.data.id) == ("batch.completed", batch.id)


@CHECKS("webhooks.unwrap (chat.completion.completed)")
def a_deferred_chat_is_told(given: Given) -> str:
    at = path()
    ticket = deferred(given, "Hi", webhook_url=given.receiver.at(at))
    event = unwrapped(given, at, secret(given))
    assert (event.type, event.data.id) == ("chat.completion.completed", ticket.id)
    return "an event that the hosted service does not have; the client reads it without a class of its own"


@CHECKS("webhooks.verify_signature")
def forgeries_are_refused(given: Given) -> None:
    at = path()
    deferred(given, "Hi", webhook_url=given.receiver.at(at))
    [came] = given.receiver.wait(at)
    verify, signed_with = given.client.webhooks.verify_signature, secret(given)
    body, headers = came.body.decode(), dict(came.headers)
    assert verify(body, headers, secret=signed_with) is None
    raises(openai.InvalidWebhookSignatureError, lambda: verify(body + " ", headers, secret=signed_with))
    raises(openai.InvalidWebhookSignatureError, lambda: verify(body, headers, secret="whsec_" + "A" * 32))
    old = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 301)}
    raises(openai.InvalidWebhookSignatureError, lambda: verify(body, old, secret=signed_with))


@CHECKS("webhooks.create", needs="webhooks.create")
def an_endpoint_is_told(given: Given) -> None:
    at = path()
    endpoint = an_endpoint(given, at, "response.completed")
    assert (endpoint.object, endpoint.event_types) == ("webhook_endpoint", ["response.completed"])
    response = in_background(given)
    event = unwrapped(given, at, endpoint.signing_secret, response.id)
    given.client.webhooks.delete(endpoint.id)
    assert event.data.id == response.id


@CHECKS("webhooks.retrieve", needs="webhooks.retrieve")
def an_endpoint_is_retrieved(given: Given) -> None:
    made = an_endpoint(given, path())
    found = given.client.webhooks.retrieve(made.id)
    given.client.webhooks.delete(made.id)
    assert (found.id, found.url, found.name) == (made.id, made.url, "checks")
    assert (found.signing_secret_hint, "signing_secret" in found.to_dict()) == (made.signing_secret_hint, False)


@CHECKS("webhooks.update", needs="webhooks.update")
def an_endpoint_is_changed(given: Given) -> None:
    made = an_endpoint(given, path())
    changed = given.client.webhooks.update(made.id, name="other", event_types=["batch.completed"])
    given.client.webhooks.delete(made.id)
    assert (changed.name, changed.event_types, changed.url) == ("other", ["batch.completed"], made.url)


@CHECKS("webhooks.list", needs="webhooks.list")
def endpoints_are_listed(given: Given) -> None:
    ids = [an_endpoint(given, path(), "eval.run.failed").id for _ in range(3)]
    listed = [endpoint.id for endpoint in given.client.webhooks.list(limit=2)]
    assert sorted(each for each in listed if each in ids) == sorted(ids)


@CHECKS("webhooks.rotate_secret", needs="webhooks.rotate_secret")
def both_secrets_sign_for_a_day(given: Given) -> None:
    at = path()
    endpoint = an_endpoint(given, at, "response.completed")
    rotated = given.client.webhooks.rotate_secret(endpoint.id, keep_old_secret_active_for_24_hours=True)
    response = in_background(given)
    events = [unwrapped(given, at, each.signing_secret, response.id) for each in (endpoint, rotated)]
    given.client.webhooks.delete(endpoint.id)
    assert endpoint.signing_secret != rotated.signing_secret
    assert [event.data.id for event in events] == [response.id] * 2


@CHECKS("webhooks.test", needs="webhooks.test")
def an_endpoint_is_tested(given: Given) -> None:
    at = path()
    endpoint = an_endpoint(given, at, "batch.completed")
    tested = given.client.webhooks.test(endpoint.id, event_type="batch.completed")
    event = unwrapped(given, at, endpoint.signing_secret)
    given.client.webhooks.delete(endpoint.id)
    assert (tested.status_code, tested.success, tested.webhook_endpoint_id) == (204, True, endpoint.id)
    assert event.type == "batch.completed"


@CHECKS("webhooks.delete", needs="webhooks.delete")
def an_endpoint_is_deleted(given: Given) -> None:
    endpoint = an_endpoint(given, path())
    assert given.client.webhooks.delete(endpoint.id).deleted is True
    raises(openai.NotFoundError, lambda: given.client.webhooks.retrieve(endpoint.id))


@CHECKS("webhooks.event_types.list", needs="webhooks.event_types")
def types_are_listed(given: Given) -> None:
    listed = given.client.webhooks.event_types.list()
    assert "batch.completed" in str(listed)

"""The reference library of Standard Webhooks on real deliveries: `python -m tests.clients.standard_webhooks URL …`."""

import importlib.metadata
import json
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

from tests.clients.checks import Checks, Given, main, raises, unique
from tests.clients.receiver import Delivered

CHECKS = Checks("standardwebhooks", importlib.metadata.version("standardwebhooks"))


def defer(given: Given, **members: Any) -> str:
    """The id of a deferred chat."""
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "deferred": True, **members}
    status, told = given.http("POST", "/v1/chat/completions", body)
    assert status == 200, told
    return told["id"]


def verified(secret: str, came: Delivered) -> Any:
    return Webhook(secret).verify(came.body, dict(came.headers)) or json.loads(came.body)


def told_by_url(given: Given) -> tuple[str, Delivered, str]:
    """A request's id, what its `webhook_url` was told, and the secret that it is signed with."""
    at = "/" + unique("hook")
    request_id = defer(given, webhook_url=given.receiver.at(at))
    [came] = given.receiver.wait(at)
    return request_id, came, given.http("GET", "/v1/webhook_secret")[1]["signing_secret"]


def an_endpoint(given: Given, at: str) -> Any:
    body = {"name": "checks", "url": given.receiver.at(at), "event_types": ["chat.completion.completed"]}
    return given.http("POST", "/v1/webhook_endpoints", body)[1]


def rotated(given: Given, endpoint: Any, *, keep: bool) -> str:
    path = f"/v1/webhook_endpoints/{endpoint['id']}/rotate_secret"
    return given.http("POST", path, {"keep_old_secret_active_for_24_hours": keep})[1]["signing_secret"]


@CHECKS("Webhook(secret).verify of a webhook_url's delivery")
def a_delivery_is_verified(given: Given) -> None:
    request_id, came, secret = told_by_url(given)
    event = verified(secret, came)
    assert (event["type"], event["data"]["id"]) == ("chat.completion.completed", request_id)
    assert event["timestamp"].endswith("Z")


@CHECKS("Webhook(secret).verify of an endpoint's delivery")
def an_endpoints_delivery_is_verified(given: Given) -> None:
    at = "/" + unique("hook")
    endpoint = an_endpoint(given, at)
    request_id = defer(given)
    assert verified(endpoint["signing_secret"], given.receiver.wait(at)[0])["data"]["id"] == request_id
    given.http("DELETE", f"/v1/webhook_endpoints/{endpoint['id']}")


@CHECKS("Webhook(secret).verify of a forgery")
def forgeries_are_refused(given: Given) -> None:
    _, came, secret = told_by_url(given)
    seconds = int(came.headers["webhook-timestamp"])
    forged = [
        {"webhook-id": "evt_another"},
        {"webhook-timestamp": str(seconds - 301)},
        {"webhook-timestamp": str(seconds + 301)},
        {"webhook-signature": "v1,"},
    ]
    for headers in forged:
        changed = Delivered(came.path, {**came.headers, **headers}, came.body)
        raises(WebhookVerificationError, lambda changed=changed: verified(secret, changed))
    other_body = Delivered(came.path, came.headers, came.body.replace(b"completed", b"cancelled"))
    raises(WebhookVerificationError, lambda: verified(secret, other_body))
    raises(WebhookVerificationError, lambda: verified("whsec_" + "A" * 32, came))


@CHECKS("Webhook(secret).verify through a rotation")
def a_rotation_loses_nothing(given: Given) -> None:
    """Both secrets are good for a day; without `keep_old_secret_active_for_24_hours` the old one is over at once."""
    at = "/" + unique("hook")
    endpoint = an_endpoint(given, at)
    old, new = endpoint["signing_secret"], rotated(given, endpoint, keep=True)
    defer(given)
    [both] = given.receiver.wait(at)
    newest = rotated(given, endpoint, keep=False)
    defer(given)
    after = given.receiver.wait(at, 2)[1]
    given.http("DELETE", f"/v1/webhook_endpoints/{endpoint['id']}")
    assert verified(old, both) == verified(new, both)
    assert verified(newest, after)
    for over in (old, new):
        raises(WebhookVerificationError, lambda over=over: verified(over, after))


if __name__ == "__main__":
    main(CHECKS)

"""Takes deliveries, tells in a line how each stands: for the log, for the request it speaks of, and for a test."""

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from raincheck.cli.show import brief_moment
from raincheck.core.clock import SECOND, now
from raincheck.core.units import show_duration

if TYPE_CHECKING:
    from raincheck.client import Raincheck
    from raincheck.client.webhooks.models import WebhookDelivery

_URGENT = ("failed", "pending", "delivered")


def state(each: "WebhookDelivery", where: str = "") -> str:
    """How it stands, when the next attempt is, and what the last one came to."""
    marks = [*(["test"] if each.test else []), *([f"attempt {each.attempt}"] if each.attempt > 1 else [])]
    marked = f" ({', '.join(marks)})" if marks else ""
    waits = each.status == "pending" and not each.sending
    if waits and each.next_attempt_at is None and (blamed := _held_up(each)):
        return f"{each.status}{marked}: {blamed}"
    told = f"{'sending' if each.sending else each.status}{where}{marked}"
    if waits:
        told += f", {_next(each.next_attempt_at)}"
    return told if each.status == "delivered" or not each.error else f"{told}: {each.error}"


def is_retried(each: "WebhookDelivery") -> bool:
    """Whether it is on its way still, after an attempt that failed."""
    return each.status == "pending" and each.error is not None and each.attempt > each.sending


def host_of(each: "WebhookDelivery") -> str:
    """With the port, where the URL has one: enough to know a receiver by."""
    return urlsplit(each.url).netloc or each.url


def webhook_facts(client: "Raincheck", object_id: str, url: str | None) -> list[tuple[str, str]]:
    """Who is told of a request or batch, that names this webhook_url, and how that goes; nothing when nobody is."""
    log = client.webhooks.deliveries.list(object_id=object_id, limit=100).data
    if not log:
        return [("webhook", f"{url}, told of nothing so far")] if url else []
    first = min(log, key=lambda each: _URGENT.index(each.status))
    more = f" (and {len(log) - 1} more)" if len(log) > 1 else ""
    known = ("webhook", f"{first.url}, {state(first)}{more}")
    return [known, ("log", f"raincheck webhooks deliveries --object {object_id}")]


def why_none(client: "Raincheck", endpoint_id: str | None, object_id: str | None) -> str:
    """Why the log shows nothing. Raises openai's NotFoundError when there is nothing by such an id."""
    from raincheck.client.dialect import batch_path

    if endpoint_id is not None:
        client.webhooks.endpoints.retrieve(endpoint_id)
    match (object_id or "").rpartition("_"):
        case ("", "", ""):
            pass
        case ("we", _, _):
            client.webhooks.endpoints.retrieve(object_id or "")
        case ("batch" | "", _, _):
            client.get(batch_path(object_id or ""), cast_to=object)
        case _:
            request = client.requests.retrieve(object_id or "")
            if request.webhook_url is None:
                return "no deliveries: the request has no webhook_url, and no endpoint was to be told of it"
            if not request.ended:
                return f"no deliveries: the request is {request.status} still"
    return "no deliveries"


def answered_to_test(client: "Raincheck", endpoint_id: str, event_type: str) -> list[str]:
    """What the log has of the test that was just made there."""
    log = client.webhooks.deliveries
    tests = (each for each in log.list(endpoint_id=endpoint_id).data if each.test and each.event_type == event_type)
    if (sample := next(tests, None)) is None:
        return []
    told = [attempt.response.strip() for attempt in log.retrieve(sample.id).attempts or [] if attempt.response]
    return [*(f"It said: {text}" for text in told if text), f"All of it: raincheck webhooks delivery {sample.id}"]


def _next(when: float | None) -> str:
    """What waits without a time waits for others to the same receiver, or for its endpoint to be enabled."""
    if when is None:
        return "waits for its receiver"
    left = round(when * SECOND) - now()
    return f"next in {show_duration(max(left, SECOND))}" if left > 0 else "next now"


def _held_up(each: "WebhookDelivery") -> str:
    """What its receiver did, for which all that goes there has to wait."""
    receiver = each.to_dict(mode="json").get("receiver")
    known = cast("dict[str, Any]", receiver) if isinstance(receiver, dict) else {}
    if not (failures := known.get("failures")):
        return ""
    told = f"{host_of(each)} failed {'once' if failures == 1 else f'{failures} times in a row'}"
    tried_at = known.get("next_try_at")
    return f"{told}; it is tried next at {brief_moment(tried_at)}" if tried_at else told

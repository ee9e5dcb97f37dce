"""`raincheck webhooks deliveries`, `delivery` and `redeliver`: what became of telling, and telling again."""

import json
import sys
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from raincheck.cli.options import AsJson, BaseUrl, DeliveryId, MaybeDeliveryId, MaybeEndpointId, said
from raincheck.cli.show import brief_moment, moment, print_entries, print_facts, print_table, say
from raincheck.cli.submit import time_of
from raincheck.cli.talk import connect, print_record, print_records
from raincheck.cli.webhooks_telling import host_of, is_retried, state, why_none
from raincheck.core.clock import SECOND, now
from raincheck.core.units import parse_duration, show_duration

if TYPE_CHECKING:
    from raincheck.client.webhooks.models import DeliveryAttempt, WebhookDelivery

Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Since when: 2h or 3d ago, or a time as 2027-01-31T12:00:00Z.")
]


def deliveries(
    endpoint_id: MaybeEndpointId = None,
    *,
    status: Annotated[
        Literal["pending", "retrying", "delivered", "failed"] | None,
        typer.Option(help="Only those; retrying are the pending ones that have failed before."),
    ] = None,
    object_id: Annotated[
        str | None, typer.Option("--object", metavar="ID", help="Only of this request, batch or endpoint.")
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first: what was sent where, and why not. Without an id those to webhook_urls too.

    \b
    raincheck webhooks deliveries
    raincheck webhooks deliveries we_0199… --status failed --since 2h
    raincheck webhooks deliveries --status retrying
    raincheck webhooks deliveries --object req_0199…
    """
    begin, known = _since(since, "--since"), "pending" if status == "retrying" else status
    given = said(endpoint_id=endpoint_id, status=known, object_id=object_id, since=begin)
    client = connect(base_url)
    log = iter(client.webhooks.deliveries.list(**given, limit=min(limit, 100)))
    found = list(islice(filter(is_retried, log) if status == "retrying" else log, limit))
    why = "" if found else why_none(client, endpoint_id, object_id)
    if as_json:
        print_records(found)
    elif found and sys.stdout.isatty():
        rows = [(each.id, brief_moment(each.created_at or 0), each.event_type) for each in found]
        print_entries(rows, [state(each, f" to {host_of(each)}") for each in found])
    else:
        rows = [(each.id, brief_moment(each.created_at or 0), each.event_type, each.url, state(each)) for each in found]
        print_table(("id", "happened", "event", "to", "state"), rows, empty=why)


def delivery(delivery_id: DeliveryId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show one delivery, each attempt with what came back.

    \b
    raincheck webhooks delivery whd_0199…
    """
    found = connect(base_url).webhooks.deliveries.retrieve(delivery_id)
    if as_json:
        print_record(found)
        return
    print_facts(_facts(found))
    for attempt in found.attempts or []:
        say(f"\n{f'attempt {attempt.number}':<12}{moment(attempt.started_at or 0)}, {_outcome(attempt)}")
        if attempt.response and attempt.response.strip():
            say(f"{'':<12}{attempt.response.strip()}")


def redeliver(
    delivery_id: MaybeDeliveryId = None,
    *,
    endpoint_id: Annotated[
        str | None, typer.Option("--endpoint", metavar="ID", help="All of this endpoint that have not arrived.")
    ] = None,
    since: Since = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only what happened before that.")] = None,
    delivered_too: Annotated[bool, typer.Option("--delivered-too", help="Also what had arrived.")] = False,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Send a delivery again, or all since a time that have not arrived. Each keeps its webhook-id.

    Those that are tried again by themselves, later, go out at once too.

    \b
    raincheck webhooks redeliver whd_0199…
    raincheck webhooks redeliver --endpoint we_0199… --since 2h
    raincheck webhooks redeliver --since 2h      # of all endpoints and webhook_urls
    raincheck webhooks redeliver --endpoint we_0199… --since 3d --delivered-too     # it lost what it had
    """
    of_many = {"--endpoint": endpoint_id, "--since": since, "--until": until, "--delivered-too": delivered_too or None}
    if delivery_id is not None and (wrong := [option for option, value in of_many.items() if value is not None]):
        raise typer.BadParameter("says which of many; one is named by its id alone", param_hint=wrong[0])
    begin = _since(since, "--since")
    if delivery_id is None and begin is None:
        raise typer.BadParameter("give the id of a delivery, or --since", param_hint="ID")
    log = connect(base_url).webhooks.deliveries
    if begin is None:
        one = log.redeliver(delivery_id or "")
        if as_json:
            print_record(one)
        else:
            say(f"{one.id} goes to {one.url} again")
        return
    which = said(endpoint_id=endpoint_id, until=_since(until, "--until"), delivered_too=delivered_too or None)
    number = log.redeliver_since(begin, **which)
    if as_json:
        say(json.dumps({"object": "webhook_redelivery", "count": number}))
    else:
        say(f"{number:,} {'goes' if number == 1 else 'go'} out again")


def _since(text: str | None, option: str) -> float | None:
    """Unix seconds of a time, or of how long ago."""
    if text is None:
        return None
    try:
        return (now() - parse_duration(text)) / SECOND if text.strip()[-1:].isalpha() else time_of(text, option)
    except ValueError:
        return time_of(text, option)


def _facts(each: "WebhookDelivery") -> list[tuple[str, str]]:
    to = f"{each.url} ({each.endpoint_id})" if each.endpoint_id else each.url
    facts = [("id", each.id), ("event", f"{each.event_type} {each.event_id}"), ("about", each.object_id), ("to", to)]
    facts += [("happened", moment(each.created_at or 0)), ("state", state(each))]
    if each.ended_at is not None:
        facts.append(("ended", moment(each.ended_at)))
    if each.status == "failed":
        facts.append(("once more", f"raincheck webhooks redeliver {each.id}"))
    return facts


def _outcome(attempt: "DeliveryAttempt") -> str:
    ms = attempt.duration_ms or 0
    took = f"{ms:.0f} ms" if ms < 1000 else show_duration(round(ms * 1000))
    return f"{took}: {attempt.error or f'It answered {attempt.status_code}.'}"

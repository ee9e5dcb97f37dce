"""`raincheck webhooks …`: who is told of events, with what secret, and whether they can be reached."""

import json
import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from raincheck.cli.exits import Code
from raincheck.cli.options import AsJson, BaseUrl, EndpointId, MaybeEndpointId, said, words
from raincheck.cli.show import moment, print_entries, print_facts, print_table, say
from raincheck.cli.talk import connect, print_record, print_records
from raincheck.cli.webhooks_deliveries import deliveries, delivery, redeliver
from raincheck.cli.webhooks_listen import listen
from raincheck.cli.webhooks_telling import answered_to_test
from raincheck.cli.webhooks_verify import SECRET_VARIABLE, verify

if TYPE_CHECKING:
    from raincheck.client.webhooks.models import WebhookEndpoint, WebhookSecret

SAMPLE = "chat.completion.completed"
"""What an endpoint for every end is tested with, unless the caller names another type."""

app = typer.Typer(no_args_is_help=True, help="Be told of ends: endpoints, secrets, the delivery log, a local receiver.")

Events = Annotated[
    list[str] | None,
    typer.Option(metavar="TYPES", help="Of what, as in video.completed,batch.failed; may be repeated."),
]
Now = Annotated[bool, typer.Option("--now", help="The old secret ends at once, not after 24 hours.")]


@app.command()
def create(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are to go.", show_default=False)],
    *,
    name: Annotated[str, typer.Option(help="What it is for.")] = "webhook",
    events: Events = None,
    include_result: Annotated[bool, typer.Option("--include-result", help="Send results along, if small.")] = False,
    signature: Annotated[
        Literal["v1", "v1a"], typer.Option(help="v1: a shared secret. v1a: Ed25519, you get the public key.")
    ] = "v1",
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Have events sent to a URL; without --events every end. Prints the secret, which is shown only now.

    \b
    raincheck webhooks create https://example.com/hook --name billing
    raincheck webhooks create https://example.com/hook --events video.completed,video.failed --include-result
    raincheck webhooks create https://example.com/hook --signature v1a
    """
    types = words(events, "--events") or ["*"]
    endpoint = connect(base_url).webhooks.endpoints.create(
        url, name=name, event_types=types, include_result=include_result, signature=signature
    )
    if as_json:
        print_record(endpoint)
        return
    say(endpoint.signing_secret)
    say(f"Endpoint {endpoint.id} is told of {_types(endpoint)}, from now on.", err=True)
    _tell_use(endpoint)
    say(f"Try it: raincheck webhooks test {endpoint.id}", err=True)


@app.command("list")
def list_(base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show all endpoints, newest first, and how they fare.

    \b
    raincheck webhooks list
    raincheck webhooks list --json | jq -r '.[] | select(.raincheck.status != "enabled") | .url'
    """
    endpoints = list(connect(base_url).webhooks.endpoints.list(limit=100))
    if as_json:
        print_records(endpoints)
        return
    if endpoints and sys.stdout.isatty():
        remarks = [f"{_status(each)}, {_brief_types(each)} to {each.url}" for each in endpoints]
        print_entries([(each.id, each.name) for each in endpoints], remarks)
        return
    rows = [(each.id, each.name, each.url, ", ".join(each.event_types), _status(each)) for each in endpoints]
    print_table(("id", "name", "url", "events", "state"), rows, empty="no endpoints yet")


@app.command()
def show(endpoint_id: EndpointId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show one endpoint.

    \b
    raincheck webhooks show we_0199…
    """
    _print(connect(base_url).webhooks.endpoints.retrieve(endpoint_id), as_json)


@app.command()
def update(
    endpoint_id: EndpointId,
    *,
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    url: Annotated[str | None, typer.Option(help="Where events are to go, also those that still wait.")] = None,
    events: Events = None,
    include_result: Annotated[
        bool | None, typer.Option("--include-result/--no-include-result", help="Whether small results go along.")
    ] = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Change an endpoint. What is not named stays; its secret stays in any case.

    \b
    raincheck webhooks update we_0199… --url https://example.com/new --events "*"
    """
    changes = said(name=name, url=url, event_types=words(events, "--events"), include_result=include_result)
    if not changes:
        raise typer.BadParameter("give at least one of --name, --url, --events and --include-result")
    _print(connect(base_url).webhooks.endpoints.update(endpoint_id, **changes), as_json)


@app.command()
def enable(endpoint_id: EndpointId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Send to an endpoint again. What was kept for it meanwhile goes out.

    \b
    raincheck webhooks enable we_0199…
    """
    _print(connect(base_url).webhooks.endpoints.enable(endpoint_id), as_json)


@app.command()
def disable(endpoint_id: EndpointId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Send nothing to an endpoint until it is enabled. What happens meanwhile is kept as long as the log.

    \b
    raincheck webhooks disable we_0199…
    """
    _print(connect(base_url).webhooks.endpoints.disable(endpoint_id), as_json)


@app.command()
def delete(endpoint_id: EndpointId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Forget an endpoint, with what was still to be sent to it.

    \b
    raincheck webhooks delete we_0199…
    """
    deleted = connect(base_url).webhooks.endpoints.delete(endpoint_id)
    if as_json:
        print_record(deleted)
    else:
        say(f"deleted {endpoint_id}")


@app.command()
def rotate(
    endpoint_id: MaybeEndpointId = None,
    *,
    urls: Annotated[bool, typer.Option("--urls", help="The secret for webhook_urls, not that of an endpoint.")] = False,
    now: Now = False,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Make a new secret. For 24 hours the old one signs too, so that no verification fails while you change over.

    \b
    raincheck webhooks rotate we_0199…
    raincheck webhooks rotate --urls
    raincheck webhooks rotate we_0199… --now     # the old one is known to others
    """
    if (endpoint_id is None) != urls:
        raise typer.BadParameter("give the id of an endpoint, or --urls", param_hint="ID")
    webhooks = connect(base_url).webhooks
    if endpoint_id is None:
        made = webhooks.rotate_secret(keep_old_secret_active_for_24_hours=not now)
    else:
        made = webhooks.endpoints.rotate_secret(endpoint_id, keep_old_secret_active_for_24_hours=not now)
    if as_json:
        print_record(made)
        return
    say(made.signing_secret)
    say("The old one signs no more." if now else "The old one signs too, for 24 hours.", err=True)
    _tell_use(made)


@app.command()
def secret(base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Print the secret that deliveries to the webhook_url of a request or batch are signed with.

    \b
    export RAINCHECK_WEBHOOK_SECRET=$(raincheck webhooks secret)
    raincheck webhooks secret --json
    """
    found = connect(base_url).webhooks.secret()
    if as_json:
        print_record(found)
        return
    say(found.signing_secret)
    if found.previous_active_until is not None:
        say(f"The one before signs too, until {moment(found.previous_active_until)}.", err=True)


@app.command("test")
def try_out(
    endpoint_id: EndpointId,
    *,
    event: Annotated[
        str | None, typer.Option(metavar="TYPE", help=f"Which. [default: the first it asks for, or {SAMPLE}]")
    ] = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Send an endpoint a made-up event at once and tell what it answers.

    \b
    raincheck webhooks test we_0199…
    raincheck webhooks test we_0199… --event batch.failed
    """
    client = connect(base_url)
    endpoints = client.webhooks.endpoints
    if event is None:
        wanted = endpoints.retrieve(endpoint_id).event_types
        event = next((each for each in wanted if each != "*"), SAMPLE)
    result = endpoints.test(endpoint_id, event_type=event)
    if as_json:
        print_record(result)
    else:
        say(f"{endpoint_id} answered {result.status_code} to a made-up {event}")
    if not 200 <= result.status_code < 300:
        if not as_json:
            say("\n".join(answered_to_test(client, endpoint_id, event)), err=True)
        raise typer.Exit(Code.FAILED)


@app.command()
def events(base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """List the types of events, by what they tell of; in a pipe one on each line.

    \b
    raincheck webhooks events
    raincheck webhooks events | grep video
    raincheck webhooks events --json
    """
    types = connect(base_url).webhooks.event_types()
    if as_json:
        say(json.dumps(types))
    elif not sys.stdout.isatty():
        say("\n".join(types))
    else:
        families = dict[str, list[str]]()
        for each in types:
            family, _, word = each.rpartition(".")
            families.setdefault(family, []).append(word)
        print_table(("of", "events"), [(family, ", ".join(told)) for family, told in families.items()], empty="")


app.command()(deliveries)
app.command()(delivery)
app.command()(redeliver)
app.command()(listen)
app.command()(verify)


def _print(endpoint: "WebhookEndpoint", as_json: bool) -> None:
    if as_json:
        print_record(endpoint)
        return
    print_facts(_facts(endpoint))


def _facts(endpoint: "WebhookEndpoint") -> list[tuple[str, str]]:
    extras = endpoint.extras
    facts = [("id", endpoint.id), ("name", endpoint.name), ("url", endpoint.url), ("state", _state(endpoint))]
    facts += [("events", ", ".join(endpoint.event_types)), ("created", moment(endpoint.created_at))]
    facts.append(("signs with", f"{extras.signature}, {endpoint.signing_secret_hint or ''}".rstrip(", ")))
    facts.append(("results", "sent along, if small" if extras.include_result else "fetched by you"))
    facts.append(("log", f"raincheck webhooks deliveries {endpoint.id}"))
    return facts


def _status(endpoint: "WebhookEndpoint") -> str:
    """In a word; of one that the server disabled also why."""
    why = endpoint.extras.disabled_reason
    return f"{endpoint.status}: {why}" if why else endpoint.status


def _state(endpoint: "WebhookEndpoint") -> str:
    extras = endpoint.extras
    match extras.status:
        case "disabled" if extras.disabled_at is not None:
            why = f": {extras.disabled_reason}" if extras.disabled_reason else ""
            return f"disabled since {moment(extras.disabled_at)}{why}"
        case "failing":
            since = "" if extras.failing_since is None else f" since {moment(extras.failing_since)}"
            again = "" if extras.next_try_at is None else f", next try {moment(extras.next_try_at)}"
            return f"failing{since}, {extras.failures} in a row{again}"
        case status:
            return status


def _types(endpoint: "WebhookEndpoint") -> str:
    return "every end" if endpoint.event_types == ["*"] else ", ".join(endpoint.event_types)


def _brief_types(endpoint: "WebhookEndpoint") -> str:
    first, *others = endpoint.event_types or ["nothing"]
    return f"{first} and {len(others)} more" if len(others) > 1 else _types(endpoint)


def _tell_use(made: "WebhookEndpoint | WebhookSecret") -> None:
    key = made.signing_secret or ""
    if key.startswith("whpk_"):
        say("That is the public key; verify with it (needs the package `cryptography`):", err=True)
    elif made.object == "webhook_endpoint":
        say("Keep it where your receiver finds it; it is not shown again. To verify with it:", err=True)
    else:
        say("Put it where your receivers find it. To verify with it:", err=True)
    say(f"  export {SECRET_VARIABLE}={key}", err=True)
    say(f'  event = raincheck.webhooks.verify(body, headers, os.environ["{SECRET_VARIABLE}"])', err=True)

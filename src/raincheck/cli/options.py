"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from raincheck.core.units import Unit

JSON_ASKED = "raincheck.json"


def _remember(ctx: typer.Context, asked: bool) -> bool:
    ctx.meta[JSON_ASKED] = asked  # so that errors, which end far from the command, are told as JSON too
    return asked


def _id_of(what: str, example: str) -> Callable[[str], str]:
    def read(given: str) -> str:
        if not given.strip(" .") or "/" in given:
            raise typer.BadParameter(f"must be the id of {what}, as in {example}")
        return given.strip()

    return read


def _name(given: str) -> str:
    if not given.strip() or not given.isprintable():
        raise typer.BadParameter("must be text on one line, and not empty")
    return given


def _header(given: str) -> str:
    if not given.isascii() or not given.isprintable() or given != given.strip():
        raise typer.BadParameter("must be printable ASCII on one line, without spaces around it")
    return given


def refuse_dropped(ctx: typer.Context) -> None:
    """Refuse options of a family that stand before one of its commands: they would be dropped without a word, and
    another store be changed than the one that was named."""
    if ctx.invoked_subcommand is None:
        return
    for option in ctx.command.params:
        source = option.name and ctx.get_parameter_source(option.name)
        if source and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"options stand after the subcommand: {ctx.invoked_subcommand} … {option.opts[0]}")


def said(**given: object) -> dict[str, Any]:
    """Of these options those that were given; what was not is left to the server."""
    return {name: value for name, value in given.items() if value is not None and value != {}}


def words(given: list[str] | None, option: str) -> list[str] | None:
    """The words of an option that takes several between commas, and may be repeated; None when it was not given."""
    if not given:
        return None
    found = [word.strip() for text in given for word in text.split(",") if word.strip()]
    if not found:
        raise typer.BadParameter("names nothing: give words, with commas between, or leave it out", param_hint=option)
    return found


def webhook_options(url: str | None, events: list[str] | None, include_result: bool = False) -> dict[str, Any]:
    """What a submit says of its webhook."""
    named = words(events, "--webhook-events")
    for option, was_given in (("--webhook-events", named), ("--include-result", include_result)):
        if was_given and url is None:
            raise typer.BadParameter("says something of a webhook: give --webhook-url too", param_hint=option)
    return said(webhook_url=url, webhook_events=named, include_result=include_result or None)


def value_or_none(text: str, unit: Unit, parameter: str) -> Any:
    """What an option that may also say `none` was given."""
    if text.strip().lower() == "none":
        return None
    try:
        return unit.read(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}, or none", param_hint=f"--{parameter.replace('_', '-')}") from None


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.", callback=_remember)]
ErrorsFile = Annotated[
    Path | None, typer.Option("--errors", metavar="FILE", help="Where failures go. [default: OUTPUT.errors.jsonl]")
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url", envvar="RAINCHECK_BASE_URL", metavar="URL", help="The server. [default: http://127.0.0.1:8421]"
    ),
]
Config = Annotated[
    str | None, typer.Option("--config", metavar="FILE", help="The configuration. [default: raincheck.toml, if there]")
]
StoreUrl = Annotated[
    str | None,
    typer.Option("--store", metavar="URL", help="Where requests are kept. [default: sqlite:///raincheck.db]"),
]
Upstreams = Annotated[
    list[str] | None,
    typer.Option("--upstream", metavar="URL", help="An OpenAI-compatible server to send work to; may be repeated."),
]
MaxConcurrency = Annotated[
    str | None,
    typer.Option(
        "--max-concurrency",
        metavar="N",
        help="Requests running at once per upstream, or auto. [default: 32; embedded: 2, preview: 1]",
    ),
]
ModelPath = Annotated[
    str | None,
    typer.Option("--model-path", metavar="GGUF", help="A model file to serve instead of the embedded model."),
]
Timeout = Annotated[str, typer.Option("--timeout", metavar="DURATION", help="How long to wait: 30s, 10m, 1h.")]
_request_id = _id_of("a request", "req_0199…")
_endpoint_id = _id_of("an endpoint", "we_0199…")
_delivery_id = _id_of("a delivery", "whd_0199…")
Ids = Annotated[
    list[str], typer.Argument(metavar="ID...", help="Ids of requests.", parser=_request_id, show_default=False)
]
OneId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a request.", parser=_request_id, show_default=False)
]
BatchId = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="The id of a batch.", parser=_id_of("a batch", "batch_0199…"), show_default=False
    ),
]
EndpointId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of an endpoint.", parser=_endpoint_id, show_default=False)
]
MaybeEndpointId = Annotated[
    str | None, typer.Argument(metavar="ID", help="The id of an endpoint.", parser=_endpoint_id, show_default=False)
]
DeliveryId = Annotated[
    str, typer.Argument(metavar="ID", help="The id of a delivery.", parser=_delivery_id, show_default=False)
]
MaybeDeliveryId = Annotated[
    str | None, typer.Argument(metavar="ID", help="The id of a delivery.", parser=_delivery_id, show_default=False)
]
Name = Annotated[str, typer.Argument(help="What the key is for.", parser=_name, metavar="NAME")]
ItsName = Annotated[str, typer.Argument(parser=_name, metavar="NAME")]
Tenant = Annotated[str, typer.Option(help="Whose requests it sees.", parser=_name, metavar="NAME")]
Tier = Annotated[
    Literal["priority", "default", "flex", "batch"] | None, typer.Option(help="How soon, against other requests.")
]
WebhookUrl = Annotated[str | None, typer.Option(metavar="URL", help="Where to tell of its end.")]
WebhookEvents = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WORDS", help="What to tell there: processing,progress,completed,failed,… [default: every end]"
    ),
]
IncludeResult = Annotated[bool, typer.Option("--include-result", help="Send the result there too, if it is small.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(metavar="KEY", help="The same key and body give the same request again.", parser=_header),
]

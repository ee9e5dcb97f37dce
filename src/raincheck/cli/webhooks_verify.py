"""`raincheck webhooks verify`: whether a delivery that was kept is genuine, and if not, what is wrong with it."""

import json
import os
import re
import sys
from math import inf
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from raincheck.cli.exits import Code, Problem
from raincheck.cli.options import AsJson, BaseUrl
from raincheck.cli.show import moment, say
from raincheck.cli.talk import connect

SECRET_VARIABLE = "RAINCHECK_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable


def verify(
    payload: Annotated[str, typer.Argument(metavar="PAYLOAD", help="The body as it came, in a file.")] = "-",
    *,
    header: Annotated[
        list[str] | None,
        typer.Option("--header", "-H", metavar="NAME:VALUE", help="One of its headers; may be repeated."),
    ] = None,
    headers: Annotated[
        str | None, typer.Option(metavar="FILE", help="All of them: a line for each, or a JSON object.")
    ] = None,
    any_age: Annotated[bool, typer.Option("--any-age", help="Also when it is older than five minutes.")] = False,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Check a delivery that was kept, and say what is wrong with it.

    The secret is that in RAINCHECK_WEBHOOK_SECRET (of several, with commas between them, any will do); without one
    it is the secret for webhook_urls, as the server tells it.

    \b
    raincheck webhooks verify body.json --headers headers.txt --any-age
    raincheck webhooks verify -H "webhook-id: evt_…" -H "webhook-timestamp: …" -H "webhook-signature: v1,…" < body
    """
    from raincheck import webhooks

    body = _bytes(payload, "PAYLOAD")
    given = _headers(header or [], headers)
    secrets = [secret.strip() for secret in os.environ.get(SECRET_VARIABLE, "").split(",") if secret.strip()]
    if not secrets:
        found = connect(base_url).webhooks.secret()
        secrets = [found.signing_secret]
    try:
        event = webhooks.verify(body, given, secrets, tolerance=inf if any_age else 300)
    except webhooks.WebhookError as error:
        raise Problem(str(error), Code.FAILED, _snake(type(error).__name__)) from None
    if as_json:
        say(json.dumps(event.raw, ensure_ascii=False))
    else:
        say(f"genuine: {event.type} of {event.data.id}, {event.id}, happened {moment(event.created_at)}")


def _headers(pairs: list[str], file: str | None) -> dict[str, str]:
    """From lines as `curl -i` and logs have them, or a JSON object; a line without a colon is none."""
    lines = list(pairs)
    if file is not None:
        text = _bytes(file, "--headers").decode(errors="replace").strip()
        if text.startswith("{"):
            return _json_headers(text) | _headers(pairs, None)
        lines += text.splitlines()
    parted = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, colon, value in parted if colon}


def _json_headers(text: str) -> dict[str, str]:
    try:
        found: Any = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"is neither lines nor JSON: {error}", param_hint="--headers") from None
    return {name: value for name, value in cast("dict[str, object]", found).items() if isinstance(value, str)}


def _bytes(source: str, option: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{source} cannot be read: {error.strerror}", param_hint=option) from None


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()

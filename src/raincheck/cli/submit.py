"""`raincheck submit`: a prompt or a ready-made body becomes a deferred request."""

import json
import sys
from contextlib import suppress
from datetime import datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from raincheck.cli.exits import Code, Problem
from raincheck.cli.options import (
    AsJson,
    BaseUrl,
    IdempotencyKey,
    IncludeResult,
    Tier,
    Timeout,
    WebhookEvents,
    WebhookUrl,
    said,
    webhook_options,
)
from raincheck.cli.show import say
from raincheck.cli.talk import connect, print_record
from raincheck.cli.wait import seconds_of, wait_for_all

if TYPE_CHECKING:
    from raincheck.client import Raincheck

CHAT = "/chat/completions"


def submit(
    prompt: Annotated[str | None, typer.Argument(help="What to ask; `-` reads it from stdin.")] = None,
    *,
    model: Annotated[str | None, typer.Option("--model", "-m", help="[default: the first the server lists]")] = None,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="The longest answer.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, help="0 for the likeliest answer.")] = None,
    file: Annotated[
        str | None, typer.Option("--file", "-f", metavar="FILE", help="A JSON body to send instead; `-` is stdin.")
    ] = None,
    path: Annotated[str, typer.Option(help="Where to, below /v1; anything that an upstream serves.")] = CHAT,
    tier: Tier = None,
    deadline: Annotated[
        str | None, typer.Option(metavar="TIME", help="Expire it then: Unix seconds or RFC 3339.")
    ] = None,
    expires_in: Annotated[str | None, typer.Option(metavar="DURATION", help="Expire it after that: 90s, 10m.")] = None,
    not_before: Annotated[str | None, typer.Option(metavar="TIME", help="Do not start before that time.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A label; may be repeated.")] = None,
    webhook_url: WebhookUrl = None,
    webhook_events: WebhookEvents = None,
    include_result: IncludeResult = False,
    max_attempts: Annotated[int | None, typer.Option(min=1, help="How many tries it gets.")] = None,
    idempotency_key: IdempotencyKey = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait and print the answer.")] = False,
    timeout: Timeout = "10m",
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Submit a request. Prints its id, or with --wait its answer.

    \b
    raincheck submit "What is the capital of Japan?" --wait
    raincheck submit "Write a poem about rain" --max-tokens 200 --tier flex
    cat long.txt | raincheck submit - --system "Summarise this." --expires-in 1h
    raincheck submit --file body.json --path /embeddings
    raincheck submit "Hello?" --webhook-url https://example.com/hook --webhook-events completed,failed
    """
    patience = seconds_of(timeout, "--timeout")
    options = said(
        **webhook_options(webhook_url, webhook_events, include_result),
        not_before=None if not_before is None else time_of(not_before, "--not-before"),
        deadline=None if deadline is None else time_of(deadline, "--deadline"),
        expires_in=None if expires_in is None else seconds_of(expires_in, "--expires-in"),
        max_attempts=max_attempts,
        idempotency_key=idempotency_key,
        request_metadata=_metadata(metadata or []),
    )
    body = _body(prompt, file, system, path)
    body |= said(model=model, max_tokens=max_tokens, temperature=temperature, service_tier=tier)
    client = connect(base_url)
    if "model" not in body:
        body["model"] = first_model(client)
    ticket = client.requests.submit(path=path, body=body, **options)
    if wait:
        if not as_json:
            say(ticket.id, err=True)
        raise typer.Exit(wait_for_all(client, [ticket.id], patience, as_json=as_json))
    if as_json:
        print_record(ticket.request)
    else:
        say(ticket.id)


def _body(prompt: str | None, file: str | None, system: str | None, path: str) -> dict[str, Any]:
    if (prompt is None) == (file is None):
        raise typer.BadParameter("give a prompt, or a body with --file", param_hint="PROMPT")
    if file is not None:
        if system is not None:
            raise typer.BadParameter("goes with a prompt, not with --file", param_hint="--system")
        return _read_body(file)
    if path != CHAT:
        raise typer.BadParameter("a prompt is a chat; for another path give the body with --file", param_hint="--path")
    text = _read_prompt() if prompt == "-" else prompt
    if not text or not text.strip():
        raise typer.BadParameter("is empty", param_hint="PROMPT")
    messages = [{"role": "system", "content": system}] if system is not None else []
    return {"messages": [*messages, {"role": "user", "content": text}]}


def _read_prompt() -> str:
    try:
        return _read_stdin()
    except UnicodeDecodeError:
        raise typer.BadParameter("stdin is not UTF-8 text", param_hint="PROMPT") from None


def _read_stdin() -> str:
    """In UTF-8 and strictly: in some locales Python would let other bytes pass that can be sent nowhere."""
    return sys.stdin.buffer.read().decode()


def _read_body(file: str) -> dict[str, Any]:
    try:
        body: object = json.loads(_read_stdin() if file == "-" else Path(file).read_text(encoding="utf-8"))
        json.dumps(body, ensure_ascii=False).encode()  # `"\ud800"` can be read, but not sent
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}", param_hint="--file") from None
    except ValueError as error:
        raise typer.BadParameter(f"{file} is not JSON: {error}", param_hint="--file") from None
    if not isinstance(body, dict):
        raise typer.BadParameter(f"{file} must hold a JSON object", param_hint="--file")
    return cast("dict[str, Any]", body)


def _metadata(pairs: list[str]) -> dict[str, str]:
    if wrong := next((pair for pair in pairs if not pair.partition("=")[0] or "=" not in pair), None):
        raise typer.BadParameter(f"{wrong!r} is not KEY=VALUE", param_hint="--metadata")
    return dict(pair.split("=", 1) for pair in pairs)


def time_of(text: str, option: str) -> float:
    """Unix seconds of a time given as such, or with date and zone."""
    with suppress(ValueError):
        return _unix_seconds(text)
    told = "must be Unix seconds or an RFC 3339 time with its zone, as in 2027-01-31T12:00:00Z"
    raise typer.BadParameter(told, param_hint=option)


def _unix_seconds(text: str) -> float:
    try:
        unix_seconds = float(text)
    except ValueError:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise
        unix_seconds = moment.timestamp()
    if not 0 <= unix_seconds < inf:
        raise ValueError(text)
    return unix_seconds


def first_model(client: "Raincheck") -> str:
    """The model to ask when none was named: the first that the server lists."""
    model = next(iter(client.models.list()), None)
    if model is None:
        raise Problem("the server lists no models just now: name one with --model", Code.FAILED)
    return model.id

"""`raincheck status` and `raincheck list`: how requests stand."""

import json
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from raincheck.cli.options import AsJson, BaseUrl, OneId
from raincheck.cli.show import moment, print_facts, print_table, say
from raincheck.cli.talk import answer_text, connect, print_record
from raincheck.cli.webhooks_telling import webhook_facts
from raincheck.core.clock import micros
from raincheck.core.units import show_duration

if TYPE_CHECKING:
    from raincheck.client import Request

StatusName = Literal["pending", "processing", "completed", "failed", "cancelled", "expired"]


def status(request_id: OneId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show one request. Where it stands, why it waits, how its attempts went, and its answer.

    \b
    raincheck status req_0199…
    raincheck status req_0199… --json | jq .attempts
    """
    client = connect(base_url)
    request = client.requests.retrieve(request_id)
    if as_json:
        print_record(request)
        return
    print_facts([*_facts(request), *webhook_facts(client, request.id, request.webhook_url)])
    for attempt in request.attempts or []:
        error = f": {attempt.error.message}" if attempt.error and attempt.error.message else ""
        say(f"{f'attempt {attempt.number}':<12}{attempt.outcome} at {attempt.upstream or 'no upstream'}{error}")
    if request.result is not None:
        say(f"\n{answer_text(request.result)}")


def list_(
    state: Annotated[StatusName | None, typer.Option("--status", help="Only those.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Only for this model.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 20,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List requests, newest first.

    \b
    raincheck list
    raincheck list --status failed --limit 100
    raincheck list --json | jq -r '.[] | select(.status == "pending") | .id'
    """
    asked: dict[str, Any] = {"status": state, "model": model}
    given = {name: value for name, value in asked.items() if value is not None}
    requests = list(islice(connect(base_url).requests.list(**given, limit=min(limit, 100)), limit))
    if as_json:
        say(json.dumps([request.to_dict(mode="json") for request in requests], ensure_ascii=False))
        return
    rows = [
        (each.id, each.status, each.model or "", moment(each.created_at or 0), _lasted(each), _remark(each))
        for each in requests
    ]
    print_table(("id", "status", "model", "submitted", "took", ""), rows, empty="no requests")


def _facts(request: "Request") -> list[tuple[str, str]]:
    from raincheck.client.models import describe

    facts = [("id", request.id), ("status", describe(request)), ("model", request.model or "")]
    for label, when in (
        ("submitted", request.created_at),
        ("not before", request.not_before),
        ("deadline", request.deadline),
        ("started", request.started_at),
        ("ended", request.ended_at),
        ("kept until", request.purge_at),
    ):
        if when is not None:
            facts.append((label, moment(when)))
    if request.ended_at is not None:
        facts.append(("took", _lasted(request)))
    facts += [(key, value) for key, value in (request.metadata or {}).items()]
    return facts


def _lasted(request: "Request") -> str:
    if request.ended_at is None or request.created_at is None:
        return ""
    return show_duration(micros(request.ended_at - request.created_at))


def _remark(request: "Request") -> str:
    if request.error is not None and request.error.message:
        return request.error.message
    return f"{request.progress:.0%}" if request.progress and request.status == "processing" else ""

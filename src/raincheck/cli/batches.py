"""`raincheck batch …`: many requests at once, from a file to a file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raincheck.cli.batch_input import input_of, source_of
from raincheck.cli.batch_output import Target, as_line, save, write
from raincheck.cli.batch_output import follow as take
from raincheck.cli.batch_run import (
    Delimiter,
    Endpoint,
    IdColumn,
    InputFormat,
    Members,
    Model,
    System,
    Template,
    members_of,
    run,
    with_model,
)
from raincheck.cli.exits import Code, Problem
from raincheck.cli.options import AsJson, BaseUrl, BatchId, ErrorsFile
from raincheck.cli.show import is_terminal, moment, print_facts, print_table, say
from raincheck.cli.talk import connect
from raincheck.cli.webhooks_telling import webhook_facts
from raincheck.core.clock import SECOND, now

if TYPE_CHECKING:
    from openai.types import BatchError

    from raincheck.client import Batch, BatchResult, NamedBatch, Raincheck

app = typer.Typer(no_args_is_help=True, help="Run many requests at once, from a file to a file.")
app.command("run")(run)

_OURS = "batch_"
"""With what the ids of batches in OpenAI's dialect begin; others are told of as xAI tells of them."""
_MOST_ERRORS = 10


@app.command()
def status(batch_id: BatchId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Show one batch. How far it is, what failed, and what is wrong with its input.

    \b
    raincheck batch status batch_0199…
    raincheck batch status batch_0199… --json | jq .request_counts
    """
    client = connect(base_url)
    batch = _retrieved(client, batch_id)
    if as_json:
        say(json.dumps(batch.to_dict(mode="json"), ensure_ascii=False))
        return
    url = getattr(getattr(batch, "raincheck", None), "webhook_url", None)
    print_facts([*_facts(batch), *webhook_facts(client, batch.id, url)])
    for error in _errors(batch)[:_MOST_ERRORS]:
        say(f"{'' if error.line is None else f'line {error.line}: '}{error.message}")
    if (more := len(_errors(batch)) - _MOST_ERRORS) > 0:
        say(f"and {more} more: --json has them")


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 20,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """List batches, newest first.

    \b
    raincheck batch list
    raincheck batch list --limit 5 --json | jq -r '.[].id'
    """
    from raincheck.client.batches.listing import newest

    batches = newest(connect(base_url), limit)
    if as_json:
        say(json.dumps([each.to_dict(mode="json") for each in batches], ensure_ascii=False))
        return
    rows = [(each.id, str(each.status), *_numbers(each), _asked(each)) for each in batches]
    print_table(("id", "status", "done", "not completed", ""), rows, empty="no batches")


@app.command()
def cancel(
    batch_id: BatchId,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until what ran has stopped.")] = False,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a batch. What waits never starts, what runs is stopped; results that are there stay.

    \b
    raincheck batch cancel batch_0199…
    raincheck batch cancel batch_0199… --wait && raincheck batch results batch_0199… -o out.jsonl
    """
    client = connect(base_url)
    batch = _cancelled(client, batch_id)
    if wait:
        batch = _ended(client, batch)
    say(json.dumps(batch.to_dict(mode="json")) if as_json else f"{batch.id} {batch.status}")


@app.command()
def results(
    batch_id: BatchId,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where they go. [default: stdout]")
    ] = None,
    errors: ErrorsFile = None,
    after: Annotated[int, typer.Option(min=0, metavar="N", help="Only those that ended after the Nth.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the batch has ended.")] = False,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print results as JSON lines, in the order of ending. With -o, of one that has ended, or with --follow: the two
    files that it ends in, in the order of the input.

    \b
    raincheck batch results batch_0199… | jq -r .custom_id
    raincheck batch results batch_0199… --follow
    raincheck batch results batch_0199… -o out.jsonl
    """
    from raincheck.client import Batch

    client = connect(base_url)
    target = None if output is None else Target.of(output, errors)
    batch = _retrieved(client, batch_id)
    has_files = target is not None and isinstance(batch, Batch) and not after
    if target is not None and has_files and (follow or batch.status in ("completed", "cancelled", "expired")):
        if follow:
            take(client.batches.resume(batch_id, progress=is_terminal()), target)
        ended = client.batches.wait(batch_id)
        save(client, ended, target)
        if as_json:
            say(json.dumps(ended.to_dict(mode="json"), ensure_ascii=False))
        return
    found = _results(client, batch_id, batch, after, follow=follow)
    if target is not None:
        write(found, target.output)
        if isinstance(batch, Batch):
            say(f"{target.output} has what ended so far, failures too, in the order of ending", err=True)
        return
    for result in found:
        say(as_line(result))


@app.command()
def estimate(
    ctx: typer.Context,
    source: Annotated[str, typer.Argument(metavar="INPUT", help="As `raincheck batch run` takes it.")],
    *,
    form: InputFormat = None,
    delimiter: Delimiter = None,
    template: Template = None,
    id_column: IdColumn = None,
    system: System = None,
    model: Model = None,
    endpoint: Endpoint = None,
    members: Members = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Tell how many requests and tokens a file holds, and roughly how long it would take. Nothing is handed in.

    \b
    raincheck batch estimate in.jsonl
    raincheck batch estimate reviews.csv --template "Is this friendly? {text}"
    """
    from raincheck.client.batches.bar import length, short

    client = connect(base_url)
    recipe = {"template": template, "id_column": id_column, "system": system, "model": model, "endpoint": endpoint}
    path = ctx.with_resource(source_of(source))
    given = input_of(path, form, delimiter=delimiter, **recipe, params=members_of(members or []))
    full = given if given.as_it_is is not None else with_model(client, given)
    try:
        told = client.batches.estimate(full.requests(), model=full.model, endpoint=endpoint, params=full.params)
    except ValueError as error:
        raise Problem(str(error), Code.USAGE, "bad_input") from None
    if as_json:
        say(json.dumps(told.to_dict(mode="json"), ensure_ascii=False))
        return
    time = "unknown: nothing was measured yet" if told.seconds is None else f"about {length(told.seconds)}"
    say(f"{'requests':<12}{told.requests:,}\n{'tokens in':<12}about {short(told.input_tokens)}\n{'time':<12}{time}")
    if len(told.models) > 1:
        rows = [
            (one.model, f"{one.requests:,}", "" if one.seconds is None else length(one.seconds)) for one in told.models
        ]
        print_table(("model", "requests", "time"), rows, empty="")


def _retrieved(client: "Raincheck", batch_id: str) -> "Batch | NamedBatch":
    from raincheck.client import Batch, NamedBatch
    from raincheck.client.dialect import batch_path

    shape = Batch if batch_id.startswith(_OURS) else NamedBatch
    return client.get(batch_path(batch_id), cast_to=shape)


def _cancelled(client: "Raincheck", batch_id: str) -> "Batch | NamedBatch":
    from raincheck.client import NamedBatch, OpenBatch

    if batch_id.startswith(_OURS):
        return client.batches.resume(batch_id).cancel()
    return OpenBatch(client, NamedBatch(batch_id=batch_id)).cancel()


def _ended(client: "Raincheck", batch: "Batch | NamedBatch") -> "Batch | NamedBatch":
    from raincheck.client import NamedBatch, OpenBatch

    if isinstance(batch, NamedBatch):
        return OpenBatch(client, batch).wait(polling_interval=1.0)
    return client.batches.wait(batch, polling_interval=1.0, progress=is_terminal())


def _results(
    client: "Raincheck", batch_id: str, batch: "Batch | NamedBatch", after: int, *, follow: bool
) -> "Iterator[BatchResult]":
    from raincheck.client import NamedBatch, OpenBatch

    if isinstance(batch, NamedBatch):
        named = OpenBatch(client, batch)
        if follow:
            named.wait()
        return named.results()
    run = client.batches.resume(batch_id, after=after, progress=False)
    return iter(run) if follow else run.ready()


def _errors(batch: "Batch | NamedBatch") -> "list[BatchError]":
    from raincheck.client import Batch

    return (batch.errors.data or []) if isinstance(batch, Batch) and batch.errors is not None else []


def _numbers(batch: "Batch | NamedBatch") -> tuple[str, str]:
    """How many are done, and how many of them did not complete: `3 failed, 5 cancelled`."""
    from raincheck.client import NamedBatch

    if isinstance(batch, NamedBatch):
        state = batch.state
        ended, all_of_them = state.num_requests - state.num_pending, state.num_requests
        ends = {"failed": state.num_error, "cancelled": state.num_cancelled}
    else:
        counts = batch.counts
        ended, all_of_them = counts.ended, counts.total
        ends = {"failed": counts.failed, "cancelled": counts.cancelled, "expired": counts.expired}
    told = ", ".join(f"{number:,} {name}" for name, number in ends.items() if number)
    return f"{ended:,}/{all_of_them:,}", told


def _asked(batch: "Batch | NamedBatch") -> str:
    return str(getattr(batch, "name", None) or getattr(batch, "model", None) or getattr(batch, "endpoint", None) or "")


def _facts(batch: "Batch | NamedBatch") -> list[tuple[str, str]]:
    from raincheck.client import NamedBatch
    from raincheck.client.batches.bar import length, short
    from raincheck.client.batches.models import describe

    if isinstance(batch, NamedBatch):
        facts = [("id", batch.id), ("name", batch.name or ""), ("status", batch.status)]
        done, others = _numbers(batch)
        return [*facts, ("done", f"{done}, {others}" if others else done)]
    facts = [("id", batch.id), ("status", describe(batch)), ("asks", f"{batch.endpoint} {batch.model or ''}".strip())]
    moments: tuple[tuple[str, int | None], ...] = (
        ("created", batch.created_at),
        ("started", batch.in_progress_at),
        ("expires", None if batch.ended else batch.expires_at),
        ("completed", batch.completed_at),
        ("failed", batch.failed_at),
        ("cancelled", batch.cancelled_at),
        ("expired", batch.expired_at),
    )
    facts += [(label, moment(when)) for label, when in moments if when is not None]
    if (rate := _rate(batch)) > 0:
        facts.append(("rate", f"{rate:,.1f}/s"))
        if not batch.ended:
            facts.append(("left", f"about {length((batch.counts.total - batch.counts.ended) / rate)}"))
    if batch.usage is not None and batch.usage.total_tokens:
        facts.append(("tokens", f"{short(batch.usage.input_tokens)} in, {short(batch.usage.output_tokens)} out"))
    for label, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id)):
        if file_id:
            facts.append((label, file_id))
    return facts + [(key, value) for key, value in (batch.metadata or {}).items()]


def _rate(batch: "Batch") -> float:
    """Lines a second since it began."""
    if batch.in_progress_at is None or not batch.counts.ended:
        return 0.0
    until: Any = batch.finalizing_at or (None if batch.ended else now() / SECOND)
    return 0.0 if until is None else batch.counts.ended / max(until - batch.in_progress_at, 1)

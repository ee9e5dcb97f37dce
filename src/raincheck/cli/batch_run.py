"""`raincheck batch run`: hand in a file of requests, take the results, do again what failed."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raincheck.cli.batch_hints import Hints
from raincheck.cli.batch_input import CHAT, FORMATS, Format, Input, Places, input_of, source_of
from raincheck.cli.batch_output import Target, done_in, follow, merge, names_in, refuse_foreign, save
from raincheck.cli.exits import Code, Problem
from raincheck.cli.options import AsJson, BaseUrl, ErrorsFile, WebhookEvents, WebhookUrl, webhook_options
from raincheck.cli.show import is_terminal, say
from raincheck.cli.submit import first_model
from raincheck.cli.talk import connect

if TYPE_CHECKING:
    from openai.types import BatchError

    from raincheck.client import Batch, BatchRun, Raincheck
    from raincheck.client.batches.lines import Requests

RETRY_OF = "retry_of"
"""In the metadata of a batch that does failures again: what said which."""
_MOST_ERRORS = 10
_LINE = re.compile(r"\bline (\d+)")


def _one_sign(given: str) -> str:
    sign = {"tab": "\t", "\\t": "\t"}.get(given, given)
    if len(sign) != 1 or sign in '"\r\n':
        raise typer.BadParameter("must be one character, or tab")
    return sign


Template = Annotated[
    str | None, typer.Option(metavar="TEXT", help="A prompt with places for columns: 'Translate: {text}'.")
]
IdColumn = Annotated[str | None, typer.Option(metavar="COLUMN", help="Whose cells name the requests.")]
System = Annotated[str | None, typer.Option(help="A system message for every prompt.")]
Model = Annotated[
    str | None, typer.Option("--model", "-m", help="For those that name none. [default: the first the server lists]")
]
Endpoint = Annotated[
    str | None,
    typer.Option(metavar="PATH", help=f"What all of them ask. [default: as the first line says, else {CHAT}]"),
]
Members = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A member for every body, as in temperature=0; may be repeated."),
]
InputFormat = Annotated[
    Format | None, typer.Option("--format", help=f"{FORMATS}. [default: by the suffix, else by the first line]")
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        metavar="CHAR",
        help="Between the columns of a table, or tab. [default: as its first line shows]",
        parser=_one_sign,
    ),
]
Source = Annotated[
    str | None, typer.Argument(metavar="INPUT", help="Batch lines, bodies, a table or prompts; `-` is stdin.")
]


def run(
    ctx: typer.Context,
    source: Source = None,
    *,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where results go. [default: stdout]")
    ] = None,
    errors: ErrorsFile = None,
    form: InputFormat = None,
    delimiter: Delimiter = None,
    template: Template = None,
    id_column: IdColumn = None,
    system: System = None,
    model: Model = None,
    endpoint: Endpoint = None,
    members: Members = None,
    window: Annotated[
        str, typer.Option(metavar="DURATION", help="What is not done by then expires: 1h, 24h, 7d.")
    ] = "24h",
    webhook_url: WebhookUrl = None,
    webhook_events: WebhookEvents = None,
    resume: Annotated[str | None, typer.Option(metavar="ID", help="Come back to a batch that is there.")] = None,
    retry_failed: Annotated[
        str | None,
        typer.Option(metavar="ID|FILE", help="Only what failed in that batch, or stands in that error file."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Print the id and leave.")] = False,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run a file of requests. Results are written as they finish; at the end the file is in the order of the input.

    \b
    raincheck batch run in.jsonl -o out.jsonl
    raincheck batch run reviews.csv --template "Friendly? {text}" --id-column id --set temperature=0 -o out.jsonl
    cat prompts.txt | raincheck batch run - --model smollm2-135m -o out.jsonl
    raincheck batch run in.jsonl -o out.jsonl --retry-failed out.errors.jsonl
    raincheck batch run --resume batch_0199… -o out.jsonl

    Ctrl-C stops the watching, not the batch.
    """
    if retry_failed is None and (source is None) == (resume is None):
        raise typer.BadParameter("give a file, or a batch to --resume", param_hint="INPUT")
    if retry_failed is not None and (output is None or source in (None, "-") or detach):
        raise typer.BadParameter("needs the input's file and --output, and waits", param_hint="--retry-failed")
    target = None if output is None else Target.of(output, errors, Path(source) if source else None)
    hints, client = Hints(ctx), connect(base_url)
    options: dict[str, Any] = {"completion_window": window, **webhook_options(webhook_url, webhook_events)}
    places: Places | None = None
    if source is None:
        batch_run = _resumed(client, resume or "", target)
    else:
        recipe = {"template": template, "id_column": id_column, "system": system, "model": model, "endpoint": endpoint}
        path = ctx.with_resource(source_of(source))
        given = input_of(path, form, delimiter=delimiter, **recipe, params=members_of(members or []))
        if retry_failed is not None and target is not None:
            retry = Retry(client, given, target, hints, options)
            raise typer.Exit(retry.run(retry_failed, resume, as_json=as_json))
        batch_run = hand_in(client, given, options, progress=is_terminal() and not detach)
        places = None if given.as_it_is else given.places
    if detach:
        say(json.dumps(batch_run.batch.to_dict(mode="json")) if as_json else batch_run.id)
        return
    with hints.telling(batch_run.id):
        batch = _watched(batch_run, target, places)
        if target is not None:
            save(client, batch, target)
    raise typer.Exit(_told(batch, target, hints, as_json=as_json))


def hand_in(client: "Raincheck", given: Input, options: dict[str, Any], *, progress: bool) -> "BatchRun":
    path = given.as_it_is
    if path is not None:
        return _handed_in(client, path, given, options, progress=progress)
    return _handed_in(client, given.requests(), with_model(client, given), options, progress=progress)


def with_model(client: "Raincheck", given: Input) -> Input:
    """With the model for those that name none: batch lines name their own, as a rule."""
    return given if given.model is not None else replace(given, model=first_model(client))


def members_of(pairs: list[str]) -> dict[str, Any]:
    """Members of a body, from NAME=VALUE; a value that is no JSON is text."""
    members = dict[str, Any]()
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{pair!r} is not NAME=VALUE", param_hint="--set")
        try:
            members[name] = json.loads(text)
        except ValueError:
            members[name] = text
    return members


def _handed_in(
    client: "Raincheck", requests: "Requests", given: Input, options: dict[str, Any], *, progress: bool
) -> "BatchRun":
    fills = {"model": given.model, "endpoint": given.endpoint, "params": given.params}
    try:
        return client.batches.run(requests, progress=progress, **fills, **options)
    except ValueError as error:  # of what makes no request
        raise Problem(str(error), Code.USAGE, "bad_input") from None


def _resumed(client: "Raincheck", batch_id: str, target: Target | None) -> "BatchRun":
    batch_run = _followed(client, batch_id)
    which = (batch_run.batch.metadata or {}).get(RETRY_OF)
    if which is not None and target is not None and target.output.exists():
        whole = f"raincheck batch run INPUT -o {target.output} --retry-failed {which} --resume {batch_id}"
        told = f"{batch_id} did only what had failed before; to put that into {target.output} and replace nothing else"
        raise Problem(f"{told}: {whole}", Code.USAGE, "usage")
    return batch_run


def _followed(client: "Raincheck", batch_id: str) -> "BatchRun":
    if not batch_id.startswith("batch_"):
        told = f"{batch_id} is not the id of a batch that was made of a file; if it is one in xAI's manner"
        raise Problem(f"{told}: raincheck batch results {batch_id} --follow", Code.USAGE, "usage")
    return client.batches.resume(batch_id, progress=is_terminal())


def _watched(batch_run: "BatchRun", target: Target | None, places: Places | None) -> "Batch":
    """As it ended. The id stands on stderr, above the bar where there is one, for whoever wants to come back."""
    from raincheck.client import BatchFailed

    if not is_terminal():
        say(batch_run.id, err=True)
    began = time.monotonic()
    try:
        follow(batch_run, target)
    except BatchFailed as failed:
        for told in _refusals(failed.errors[:_MOST_ERRORS], places):
            say(told, err=True)
        if (more := len(failed.errors) - _MOST_ERRORS) > 0:
            say(f"and {more} more: raincheck batch status {failed.batch_id} --json", err=True)
        raise Problem(
            f"the input was refused, nothing was begun ({failed.batch_id})", Code.FAILED, "bad_input"
        ) from None
    _summary(batch_run.batch, time.monotonic() - began, target)
    return batch_run.batch


def _refusals(errors: "list[BatchError]", places: Places | None) -> Iterator[str]:
    """In the words of the input: the server knows the lines of what was made of it."""
    told = [f"{'' if error.line is None else f'line {error.line}: '}{error.message}" for error in errors]
    if places is None:
        yield from told
        return
    wanted = {int(number) for text in told for number in _LINE.findall(text)}
    known = {number: where for number, where in enumerate(places(), 1) if number in wanted}
    for text in told:
        yield _LINE.sub(lambda match: known.get(int(match[1]), match[0]), text)


def _summary(batch: "Batch", seconds: float, target: Target | None) -> None:
    from raincheck.client.batches.bar import length

    counts = batch.counts
    ends = ((name, getattr(counts, name)) for name in ("completed", "failed", "cancelled", "expired"))
    told = ", ".join(f"{number:,} {name}" for name, number in ends if number) or "nothing done"
    where = "" if target is None else f" → {target.output}"
    say(f"{counts.total:,} requests in {length(seconds)}: {told}{where}", err=True)


def _told(batch: "Batch", target: Target | None, hints: Hints, *, as_json: bool) -> Code:
    if as_json and target is not None:
        say(json.dumps(batch.to_dict(mode="json"), ensure_ascii=False))
    elif target is not None and target.errors.exists():
        say(f"what failed is in {target.errors}; once more: {hints.again(target.errors)}", err=True)
    return Code.OK if batch.counts.completed == batch.counts.total else Code.FAILED


@dataclass(frozen=True, slots=True)
class Retry:
    """Doing again what failed of an input, and putting its results between those that are there."""

    client: "Raincheck"
    given: Input
    target: Target
    hints: Hints
    options: dict[str, Any]

    def run(self, which: str, resume: str | None, *, as_json: bool) -> Code:
        """`which` says what failed: a file, or a batch. With `resume`, a batch is doing that already."""
        with TemporaryDirectory(prefix="raincheck-") as folder:
            failed, earlier = self._earlier(which, Path(folder))
            for file in (earlier, self.target.errors, failed):
                refuse_foreign(file, self._names())
            wanted = names_in(failed) - done_in(earlier)
            if not wanted:
                say("nothing failed, or all of it has completed since: there is nothing to do again", err=True)
                return Code.OK
            batch_run = self._begun(which, wanted) if resume is None else _followed(self.client, resume)
            with self.hints.telling(batch_run.id):
                batch = _watched(batch_run, self.target, self._places(wanted))
                merge(self.client, batch, self.target, earlier, self._names)
        return _told(batch, self.target, self.hints, as_json=as_json)

    def _begun(self, which: str, wanted: set[str]) -> "BatchRun":
        options = self.options | {"metadata": {RETRY_OF: which[-500:]}}
        full = self.given if self.given.as_it_is is not None else with_model(self.client, self.given)
        some = (line for _, line in self._some(wanted))
        return _handed_in(self.client, some, full, options, progress=is_terminal())

    def _some(self, wanted: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
        return (each for each in self.given.located() if each[1]["custom_id"] in wanted)

    def _places(self, wanted: set[str]) -> Places:
        return lambda: (where for where, _ in self._some(wanted))

    def _names(self) -> Iterator[str]:
        return (str(line["custom_id"]) for line in self.given.requests())

    def _earlier(self, which: str, folder: Path) -> tuple[Path, Path]:
        """What failed, and what completed: in the output file if that is there, else in the batch's own."""
        output, errors = self.target.output, self.target.errors
        if Path(which).is_file() or (Path(which).resolve() == errors.resolve() and output.exists()):
            return Path(which), output
        if not which.startswith("batch_"):
            raise typer.BadParameter(f"{which} is neither a file nor the id of a batch", param_hint="--retry-failed")
        self.client.batches.download(which, folder / "output", errors=folder / "errors")
        return folder / "errors", output if output.exists() else folder / "output"

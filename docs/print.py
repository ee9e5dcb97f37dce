"""Takes the code, writes the pages of docs/reference that are printed from it.

python docs/print.py           # write them
python docs/print.py --check   # write nothing; exit 1 and name the stale ones

What a page says of a log event or of a reason stands in a table below; something new in the code that no table has a
sentence for is an error, so that nothing is left out of the reference.
"""

import ast
import inspect
import json
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "raincheck"
PRINTED = "<!-- Printed from the code by docs/print.py; change that, not this. -->\n"


def pages() -> dict[Path, str]:
    """Every printed page with its text."""
    made = {
        "errors.md": errors_page,
        "settings.md": settings_page,
        "cli.md": cli_page,
        "telemetry.md": telemetry_page,
        "status.md": status_page,
        "events.md": events_page,
        "compatibility.md": compatibility_page,
    }
    return {DOCS / "reference" / name: make() for name, make in made.items()}


def main(arguments: Sequence[str]) -> int:
    check = "--check" in arguments
    stale = {path: text for path, text in pages().items() if not path.is_file() or path.read_text("utf-8") != text}
    for path, text in stale.items():
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(DOCS.parent)}\n")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


# --- settings and status


def settings_page() -> str:
    """Exactly what `raincheck check --reference` prints."""
    from raincheck.cli.check import reference_page

    return reference_page()


STATUSES = {
    "pending": "Recorded; waits to be claimed: for its turn, for a time, or for an upstream.",
    "processing": "A worker holds a lease on it and an upstream is at work.",
    "completed": "The upstream gave a whole answer; the result is kept for the retention.",
    "failed": "The upstream refused it for good, or its attempts are used up. The error says which.",
    "cancelled": "Someone cancelled it.",
    "expired": "Its deadline passed before it could be completed.",
}
MOVES_BECAUSE = {
    ("pending", "processing"): "claim",
    ("pending", "cancelled"): "cancel",
    ("pending", "expired"): "deadline passed",
    ("processing", "pending"): "retry, release or lapse",
    ("processing", "completed"): "whole answer",
    ("processing", "failed"): "refused, or attempts used up",
    ("processing", "cancelled"): "cancel",
    ("processing", "expired"): "deadline passed",
}


def status_page() -> str:
    from raincheck.core.status import FINAL, MOVES, Status

    moves = [(start, end) for start in Status if start in MOVES for end in Status if end in MOVES[start]]
    lines = [PRINTED, "# Statuses", "", "The same words in the API, the record, the log and the metrics.", ""]
    lines += ["```mermaid", "stateDiagram-v2", "    [*] --> pending: submit"]
    lines += [f"    {start} --> {end}: {_sentence(MOVES_BECAUSE, (start.value, end.value))}" for start, end in moves]
    lines += [f"    {status} --> [*]" for status in Status if status in FINAL]
    lines += ["```", "", "| Status | Final | Means |", "|---|---|---|"]
    lines += [
        f"| `{status}` | {'yes' if status.final else 'no'} | {_sentence(STATUSES, status.value)} |" for status in Status
    ]
    lines += _text("""

        A final status never changes (G2 in [the guarantees](../guarantees.md)). A request that is tried again is
        `pending` in between; its `attempt` is then above 0 and `waiting_for.reason` is `retry`.
    """)
    return "\n".join(lines + _batch_statuses()) + "\n"


BATCH_STATUSES = {
    "validating": "Its file is being checked; no line of it runs before all of them are known to be good.",
    "in_progress": "Its lines are fed to the queues and worked off.",
    "finalizing": "Nothing more is fed; what still runs is ended, and the files are written. Towards `cancelled` it is "
    "shown as `cancelling`.",
    "completed": "Every line has ended, as completed or failed.",
    "failed": "Its file was refused; `errors` says which lines, and none has run.",
    "cancelled": "Someone cancelled it. What was finished before is in its files.",
    "expired": "Its `completion_window` was over. What was finished before is in its files.",
}
BATCH_MOVES_BECAUSE = {
    ("validating", "in_progress"): "good file",
    ("validating", "failed"): "bad file",
    ("validating", "finalizing"): "cancel, or window over",
    ("in_progress", "finalizing"): "every line ended, cancel, or window over",
    ("finalizing", "completed"): "files written",
    ("finalizing", "cancelled"): "files written",
    ("finalizing", "expired"): "files written",
}


def _batch_statuses() -> list[str]:
    from raincheck.core.batches import BATCH_MOVES, BatchStatus

    known = list(BatchStatus)
    moves = [(start, end) for start in known for end in known if end in BATCH_MOVES.get(start, frozenset())]
    lines = ["", "## Batches", "", "OpenAI's words; xAI's batches have counts in place of a status.", ""]
    lines += ["```mermaid", "stateDiagram-v2", "    [*] --> validating: create from a file"]
    lines += ["    [*] --> in_progress: create, to be added to"]
    lines += [
        f"    {start} --> {end}: {_sentence(BATCH_MOVES_BECAUSE, (start.value, end.value))}" for start, end in moves
    ]
    lines += [f"    {status} --> [*]" for status in known if status.final]
    lines += ["```", "", "| Status | Final | Means |", "|---|---|---|"]
    return lines + [
        f"| `{status}` | {'yes' if status.final else 'no'} | {_sentence(BATCH_STATUSES, status.value)} |"
        for status in known
    ]


PATHS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/images/generations", "/videos")
"""Those whose operation has a name of its own."""


def events_page() -> str:
    from raincheck.core.batches import BatchStatus
    from raincheck.core.events import ENDPOINT_DISABLED, PROCESSING, PROGRESS, event_type, moment_type
    from raincheck.core.operations import operation_of
    from raincheck.core.status import FINAL, Status

    def listed(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in dict.fromkeys(names))

    def ends(what: str, of: str = "") -> str:
        whole = [event_type(what, status, of=of) for status in Status if status in FINAL]
        return listed([*whole, event_type(what, Status.COMPLETED, incomplete=True, of=of)])

    def moments(what: str, of: str = "") -> str:
        return listed(moment_type(what, moment, of=of) for moment in (PROCESSING, PROGRESS))

    lines = [
        PRINTED,
        *_text("""
            # Events

            One end, one event: it is written in the transaction that ends the request or the batch, and told to the
            `webhook_url` of what ended and to the tenant's endpoints that subscribed to its type or to `*`
            ([webhooks](../howto/webhooks.md)). That work has begun, and how far it is, is told to those alone who named
            that moment; `*` does not mean these.

            | Submitted as | Ends | On the way |
            |---|---|---|
        """),
    ]
    rows = [(f"`{path}`", operation_of(path), "") for path in PATHS if path not in {"/responses", "/videos"}]
    rows += [("`/responses`", "response", "resp_"), ("`/videos`, in OpenAI's words", "video.generation", "video_")]
    natively = ("/videos/generations", "/videos/edits", "/videos/extensions")
    rows += [(f"`{path}`, in native or xAI's words", operation_of(path), "") for path in natively]
    lines += [f"| {shown} | {ends(what, of)} | {moments(what, of)} |" for shown, what, of in rows]
    endings = listed(f"batch.{status}" for status in BatchStatus if status.final)
    lines.append(f"| `/batches` | {endings} (a whole batch; its lines tell nobody) | |")
    lines.append(f"| (an endpoint that was disabled) | `{ENDPOINT_DISABLED}` | |")
    other = operation_of("/audio/speech")
    lines += ["", "Any other path is its own operation, with dots for slashes:"]
    lines += [f"`/audio/speech` is `{other}` and may end as `{event_type(other, Status.COMPLETED)}`."]
    return "\n".join(lines) + "\n"


# --- errors

REASONS = {
    "adapter_error": "A fault in Raincheck's own code for this kind of upstream. Tried again.",
    "batch_cancelled": "The batch was cancelled before this line of it was done.",
    "batch_expired": "The completion window of the batch closed before this line of it was done.",
    "cancelled": "The request was cancelled.",
    "caption_not_drawable": "No font on the server has some letter of the caption. Final.",
    "deadline_exceeded": "The deadline passed; the last attempt's error is inside when there was one.",
    "edit_not_understood": "A part of the prompt is no edit that the renderer knows; the message lists them. Final.",
    "failed": "The record has no other reason.",
    "files_need_deferral": "Your function works with files, and its caller waits for the answer: defer it. Final.",
    "handler_busy": "Your function raised `Busy`, or cancelled calls of it still hold every place. Not counted.",
    "handler_error": "Your function raised an exception. Tried again.",
    "handler_rejected": "Your function raised `Reject` without a code of its own. Final.",
    "handler_result_invalid": "What your function returned is no JSON. Final.",
    "input_missing": "The payload has no such input as your function asked for. Final.",
    "invalid_request": "The payload is not valid; the message says what is wrong. Final.",
    "lease_lapsed": "The worker was not heard of for a whole lease; it may have crashed. Tried again.",
    "media_refused": "An input cannot be used: what it is, where it is, its size or its length. Final.",
    "moderation_blocked": "The upstream's moderation let no video through. Final.",
    "not_translatable": "The server has chat completions only, and the response asks for more. Final.",
    "preview_limit": "The preview renderer cannot make that; the message says the range. Final.",
    "remote_job_failed": "The upstream began the job and could not finish it. Tried again.",
    "remote_job_lost": "The upstream no longer knows the job that it had begun; the next attempt begins another.",
    "remote_result_refused": "The upstream finished the job, and its file cannot be fetched or used.",
    "renderer_crashed": "The renderer's process ended midway. Tried again.",
    "result_too_large": "The upstream's answer is larger than 64 MiB. Final.",
    "scratch_full": "There is no room for the file in the scratch folder. Tried again.",
    "stream_not_supported": "A Python handler cannot stream to a caller who waits; defer the request. Final.",
    "tools_not_supported": "The embedded model has no tool calling. Final.",
    "upstream_busy": "The upstream answered 429 without a code of its own: the queue pauses. Not counted.",
    "upstream_cut_off": "The upstream's stream ended before the answer was whole. Tried again.",
    "upstream_disconnected": "The connection to the upstream broke. Tried again.",
    "upstream_down": "The upstream is not running. Not counted.",
    "upstream_error": "The upstream answered with an error that has no code of its own; `upstream` has all of it.",
    "upstream_key_refused": "The upstream refused Raincheck's own API key: check its `api_key_env`. Final.",
    "upstream_not_json": "The upstream's answer is no JSON. Tried again.",
    "upstream_not_video": "What the upstream sent is no video. Tried again.",
    "upstream_refused": "The same, for a call that was passed through.",
    "upstream_timeout": "The upstream sent nothing for longer than its `silence_timeout`. Tried again.",
    "upstream_unreachable": "No connection to the upstream could be made. Not counted.",
    "videos_are_deferred": "A video cannot be made while the caller waits; defer the request. Final.",
}


GRPC_ALONE = {
    "not_a_completion": "The upstream answered something that is no chat completion.",
    "still_under_way": "The request goes on; ask for it again, by its id.",
    "unimplemented": "Raincheck does not do this; the message says what it does.",
}


def errors_page() -> str:
    answers, at_start = list[str](), list[str]()
    for error in sorted(_errors(), key=lambda error: error.http):
        text = " ".join(inspect.cleandoc(error.__doc__ or "").split())
        # Errors that no call meets have no HTTP status of their own.
        if _says(error, "http"):
            status = error.grpc.name if _says(error, "grpc") or error.http >= 500 else ""
            answers.append(f"| {error.http} | {status} | `{error.code}` | `{error.kind}` | {text} |")
        else:
            at_start.append(f"| `{error.code}` | {text} |")
    lines = [
        PRINTED,
        *_text("""
            # Errors

            ## What a call is answered with

            Below `/v1`: `{"error": {"message", "type", "param", "code"}}`; below `/xai/v1`: `{"code", "error"}`. The
            message says what to do next and may be more exact than the one here; `code` and `type` are for programs.
            `Retry-After` is there when trying again makes sense after so many seconds. A 409 carries
            `x-should-retry: false`, because clients take a 409 for a lock that will be free in a moment.

            Over gRPC a call ends with the status beside it and the same message; its details
            (`grpc-status-details-bin`) hold an `ErrorInfo` whose `reason` is the `code` here, and a `RetryInfo` in
            place of `Retry-After`. UNAVAILABLE always means that nothing was accepted: the xai-sdk then sends the call
            again by itself.

            | HTTP | gRPC | `code` | `type` | Message |
            |---|---|---|---|---|
        """),
        *answers,
        *_text("""

            Over gRPC alone:

            | gRPC | `code` | Message |
            |---|---|---|
        """),
        *(f"| {status} | `{code}` | {_sentence(GRPC_ALONE, code)} |" for status, code in grpc_codes()),
        *_text("""

            ## What stops a command or the start of the server

            Told on stderr, with exit code 1; with `--json` as `{"error": {"message", "code", "exit_code"}}`.

            | `code` | Message |
            |---|---|
        """),
        *at_start,
        *_text("""

            ## Why a request or an attempt did not succeed

            The `code` in a request's `error` and in its `attempts`. An upstream's own code and message come first when
            it sent some, and `error.upstream` has its name, status and body, word for word.

            *Tried again*: the attempt counts, and another follows until `max_attempts`. *Not counted*: nothing was
            done, so the attempt is given back. *Final*: the request fails at once.

            | `code` | Means |
            |---|---|
        """),
        *(f"| `{code}` | {_sentence(REASONS, code)} |" for code in sorted(reason_codes())),
    ]
    return "\n".join(lines) + "\n"


def _errors() -> list[Any]:
    from raincheck.core import errors

    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.RaincheckError) and one.__module__ == errors.__name__
    ]


def _says(error: Any, name: str) -> bool:
    """Whether an error has a value of its own there, or one of a family that is not just any error's."""
    *family, base = [one for one in error.__mro__ if one.__module__ == error.__module__]
    return name in vars(error) or any(name in vars(one) for one in family if one is not base)


def grpc_codes() -> list[tuple[str, str]]:
    """What only the gRPC edge says: its problems' statuses and codes that are neither an error's nor a reason."""
    known = {error.code for error in _errors()} | REASONS.keys()
    found = {
        (status.attr, code.value)
        for call in _calls(SOURCE / "grpc")
        if _name(call.func) == "Problem" and len(call.args) == 3
        for status, _, code in [call.args]
        if isinstance(status, ast.Attribute) and isinstance(code, ast.Constant) and isinstance(code.value, str)
    }
    return sorted((status, code) for status, code in found if code not in known)


_CODE_AT = {"RequestError": 2, "transient": 1, "_failure": 2, "Reject": 1, "Refused": 1}
"""Which argument is the code, in the calls that make reasons."""


def reason_codes() -> set[str]:
    """Every code that is written down, anywhere in the code, as the reason of a request or an attempt."""
    found = set[str]()
    for call in _calls(SOURCE):
        name = _name(call.func)
        given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
        if name in _CODE_AT:
            given += call.args[_CODE_AT[name] : _CODE_AT[name] + 1]
        elif name != "replace":
            continue
        found |= {word for argument in given for word in _words(argument)}
    return found


# --- the command line


def cli_page() -> str:
    from typer.main import get_command

    from raincheck.cli.exits import CODES
    from raincheck.cli.main import app

    lines = [
        PRINTED,
        *_text("""
            # Commands

            `raincheck COMMAND --help` says the same. The flags of `serve` are settings too: see
            [settings](settings.md). The commands that talk to a server find it by `--base-url` or
            `RAINCHECK_BASE_URL`, and send the key in `RAINCHECK_API_KEY`.

            ## Exit codes

            | Code | |
            |---|---|
        """),
        *(f"| {int(code)} | {told} |" for code, told in CODES.items()),
    ]
    for name, command in commands(get_command(app)):
        context = command.context_class(command)
        records = [one.get_help_record(context) for one in command.params if one.name != "help"]
        lines += ["", f"## `{name}`", "", *_prose(inspect.cleandoc(command.help or ""))]
        if rows := [_row(*record) for record in records if record]:
            lines += ["", "| Parameter | |", "|---|---|", *rows]
    return "\n".join(lines) + "\n"


def commands(group: Any, prefix: str = "raincheck") -> Iterator[tuple[str, Any]]:
    """Every command that can be run, by its whole name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _prose(text: str) -> list[str]:
    """Help as Markdown: what follows a `\\b` is kept as it is, in a fence."""
    lines = list[str]()
    for paragraph in text.split("\n\n"):
        kept = paragraph.lstrip().startswith("\b")
        rows = [row for row in paragraph.replace("\b", "").strip("\n").splitlines() if row.strip()]
        lines += ["", "```console", *rows, "```"] if kept else ["", *rows]
    return lines[1:]


def _row(*cells: str) -> str:
    first, second = (" ".join(cell.split()).replace("|", "\\|") for cell in cells)
    return f"| `{first}` | {second} |"


# --- logs and metrics

LOG_EVENTS = {
    "batch.accepted": "A batch's file is good; its `lines` are being fed.",
    "batch.cancelling": "Someone cancelled a batch.",
    "batch.crashed": "A step of a batch met an error nobody expected; it is tried again after a while.",
    "batch.ended": "A batch has ended, with how its lines ended; `seconds` since it was made.",
    "batch.held_up": "A batch could not go on for a known reason; it is tried again after a while.",
    "batch.refused": "A batch's lines were refused, with these `codes`.",
    "blobs.down": "The object store takes no big results; they are kept in memory and written when it does again.",
    "blobs.up": "The object store takes big results again.",
    "call.crashed": "A call, over HTTP or gRPC, met an error nobody expected; `x_request_id` is what its caller was "
    "shown.",
    "clock.off": "This machine's clock is `behind` the store's by so many seconds (below 0: ahead): see to its NTP.",
    "lease.lost": "An attempt ended after its lease was lost; what it had to say is not recorded.",
    "queue.paused": "An upstream asked to be left alone: the queue gives nothing before `until` (Unix seconds).",
    "request.cancelled": "Someone cancelled a request.",
    "request.claimed": "A worker took a request.",
    "request.completed": "An attempt gave the result.",
    "request.deleted": "An ended request was deleted.",
    "request.expired": "The deadline passed: during an attempt, or (only `id`) while it waited.",
    "request.failed": "An attempt failed and there will be no other; with only `id`, the last one's lease lapsed.",
    "request.lapsed": "Nothing was heard of an attempt for a whole lease, or its server died: it is pending again.",
    "request.refused": "The store refused a submit: quota, or an idempotency conflict.",
    "request.released": "A request was given back untried.",
    "request.requeued": "A copy of an ended request was submitted.",
    "request.retried": "An attempt failed and another will follow.",
    "request.submitted": "A request is on disk.",
    "request.crashed": "An attempt met an error nobody expected; its lease lapses and the request is tried again.",
    "server.loop_crashed": "One of the server's own loops met an error nobody expected; it goes on after a second.",
    "server.no_worker": "`--no-worker` on SQLite, where only the server can work: nothing will be worked on.",
    "server.started": "The server takes calls.",
    "server.stopped": "Everything is closed, in a server or a worker.",
    "server.stopping": "SIGTERM or SIGINT came: nothing is claimed any more, `running` attempts may finish.",
    "store.down": "The store cannot be written: running attempts go on, and their outcomes are kept until it can.",
    "store.up": "The store can be written again.",
    "stray.left": "A remote job that nobody wants could not be stopped for a day, and is left alone from now on.",
    "upstream.down": "An upstream could not be reached; it is probed until it answers.",
    "upstream.up": "An upstream that was down answers again.",
    "webhook.crashed": "A delivery met an error nobody expected; it is tried again.",
    "webhook.delivered": "A receiver took a webhook.",
    "webhook.endpoint_disabled": "A webhook endpoint was given up: it answered 410, or nothing has arrived there for "
    "`webhooks.disable_after`.",
    "webhook.failed": "A webhook was given up: its attempts are used up, or may not be made. Its log says why.",
    "webhook.lost": "An attempt to deliver ended after its lease was lost; it may come to its receiver twice.",
    "webhook.retried": "An attempt to deliver failed and another will follow.",
    "webhook.sealed": "Signing secrets cannot be opened: `RAINCHECK_SEALING_KEY` is not what it was. Said once an hour "
    "at most; deliveries are tried again meanwhile.",
    "worker.started": "`raincheck work` takes requests, under the name in `raincheck workers`.",
}


def telemetry_page() -> str:
    lines = [
        PRINTED,
        *_text("""
            # Logs and metrics

            ## Log events

            One line per event on stderr: for people on a terminal, JSON everywhere else. Every line has `event`,
            `level` and `timestamp`. Ids are logged; payloads, results and keys never. `raincheck serve` shows `info`
            and above, unless `log.level` ([settings](settings.md)) says otherwise.

            | Event | Level | Fields | Means |
            |---|---|---|---|
        """),
    ]
    for name, (level, fields) in sorted(log_events().items()):
        shown = ", ".join(f"`{field}`" for field in fields)
        lines.append(f"| `{name}` | {level} | {shown} | {_sentence(LOG_EVENTS, name)} |")
    lines += _text("""

        ## Metrics

        At `GET /metrics`, as Prometheus text; once keys exist it needs one with the scope `read`.

        | Metric | Kind | Labels | Means |
        |---|---|---|---|
    """)
    for name, kind, labels, told in metrics():
        lines.append(f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {told} |")
    lines += _text("""

        Counters start at 0 with the process and count what that process did; gauges of requests, queues and upstreams
        are of the whole store, so any one process shows them all. Durations are in seconds. A `queue` whose model no
        upstream lists is counted as `other`, so that made-up names make no series. Traces are not exported yet.

        A worker answers `/metrics` too, when `raincheck work` is given a `--port`.
    """)
    return "\n".join(lines) + "\n"


_LEVELS = ("debug", "info", "warning", "error")


def log_events() -> dict[str, tuple[str, list[str]]]:
    """Every event that is logged, with its level and fields."""
    found = dict[str, tuple[str, list[str]]]()
    for function in _functions(SOURCE):
        bound = [
            keyword.arg
            for call in _calls_in(function)
            if _name(call.func) == "bind"
            for keyword in call.keywords
            if keyword.arg
        ]
        for call in _calls_in(function):
            level = _name(call.func)
            if level not in _LEVELS or not call.args or _receiver(call.func) not in ("log", "_log", "said"):
                continue
            said = bound if _receiver(call.func) == "said" else []
            fields = [*said, *(keyword.arg for keyword in call.keywords if keyword.arg and keyword.arg != "exc_info")]
            for name in _event_names(call.args[0]):
                known = found.get(name, (level, []))[1]
                found[name] = (level, list(dict.fromkeys([*known, *fields])))
    return found


def _event_names(argument: ast.expr) -> list[str]:
    """The name, or for `f"request.{status}"` one for each way an attempt can end a request without a result."""
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if isinstance(argument, ast.JoinedStr) and ast.unparse(argument) in ("f'request.{status}'", 'f"request.{status}"'):
        return ["request.failed", "request.expired"]
    raise SystemExit(f"docs/print.py cannot tell the names of the log event {ast.unparse(argument)}")


def metrics() -> list[tuple[str, str, list[str], str]]:
    """Every metric of telemetry.Metrics: name, kind, labels, help."""
    found = list[tuple[str, str, list[str], str]]()
    for call in _calls(SOURCE / "telemetry" / "metrics.py"):
        kind = _name(call.func)
        if kind not in ("Counter", "Gauge", "Histogram"):
            continue
        name, told, *labels = [ast.literal_eval(argument) for argument in call.args]
        found.append((f"{name}_total" if kind == "Counter" else name, kind.lower(), labels[0] if labels else [], told))
    return found


# --- which client works


RESULTS = DOCS.parent / "tests" / "clients" / "results.json"
COLUMNS = ("pinned", "old", "latest")


def compatibility_page() -> str:
    clients: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    lines = [
        PRINTED,
        *_text("""
            # Compatibility

            Clients that know nothing of Raincheck, unmodified, and their calls, tried against a server that was just
            started: real sockets, a key, a scripted model and the [preview renderer](preview.md) behind it. Where a
            client has a blocking and an asynchronous kind, a call counts when both do the same.

            *works*: what comes back is what the client's users expect of the hosted service. *differs*: it is meant to
            be otherwise, and is exactly as said here. An empty cell: that version has no such call. *pinned* is the
            version in our own environment, which every run of the tests tries; *old* is the oldest that is tried;
            *latest* was the newest when `make clients` tried all of them and wrote this page's results.
        """),
    ]
    for name, client in sorted(clients.items(), key=lambda item: (item[0] not in _FIRST, item[0].lower())):
        lines += ["", f"## {name}", "", *_said_of(name), *_compatibility_table(client)]
    lines += ["", "## Different by design", "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {what} | {how} |" for what, how in _BY_DESIGN.items())]) + "\n"


_FIRST = ("openai", "xai-sdk", "standardwebhooks")
_OF_CLIENT = {
    "tryAGI Xai (C#), its strict reader": "The one here that is not run itself: what it sends is sent, and each answer "
    "is read as strictly as its sources read it.",
}
_BY_DESIGN = {
    "Tools that run on the server (web and X search, code execution, collections search, MCP, image generation), "
    "`search_parameters`, guidelines, several agents": "Refused, with a message that says so. Tools that the caller "
    "runs work with every model that has them.",
    "Tokenizing, collections, compaction, images over gRPC": "`UNIMPLEMENTED`, with what is served. "
    "`POST /v1/images/generations` goes on to an upstream that has it.",
    "Public URLs of files": "None. What a request has made is at [a link](http.md#files-and-links) that ends.",
    "URLs of files in a chat": "Not fetched: upload the file, or send it along. Inputs of videos may be URLs.",
    "Characters of videos": "404",
    "Uploads in parts (`uploads.create`)": "A file is uploaded whole.",
    "`files.upload` of the xai-sdk with `use_insecure_channel=True`": "The SDK sends no key with it, so it is refused "
    'where keys are needed. Use `api_host="localhost:…"`, TLS, or the upload over HTTP.',
    "A deferred result": "Is read as often as you like until it is purged; xAI's once.",
    "Events of webhooks": "More types than OpenAI's, such as `chat.completion.completed`: [events](events.md).",
}
"""What the hosted services have and a server of one's own does not, or the other way round."""


def _said_of(name: str) -> list[str]:
    return [*textwrap.wrap(_OF_CLIENT[name], 112), ""] if name in _OF_CLIENT else []


def _compatibility_table(client: Any) -> list[str]:
    columns = [column for column in COLUMNS if column in client["versions"]]
    heads = [f"{client['versions'][column]} ({column})" for column in columns]
    lines = [f"| Call | {' | '.join(heads)} | How it differs |", "|---|" + "---|" * len(columns) + "---|"]
    for call, words in sorted(client["calls"].items()):
        cells = [words.get(column, "").partition(": ")[0] for column in columns]
        hows = dict.fromkeys(how for column in columns if (how := words.get(column, "").partition(": ")[2]))
        lines.append(f"| `{call}` | {' | '.join(cells)} | {'; '.join(hows)} |")
    return lines


# --- reading the code


@cache
def _trees(where: Path) -> list[ast.Module]:
    files = sorted(where.rglob("*.py")) if where.is_dir() else [where]
    return [ast.parse(file.read_text(encoding="utf-8")) for file in files]


def _calls(where: Path) -> list[ast.Call]:
    return [call for tree in _trees(where) for call in _calls_in(tree)]


def _functions(where: Path) -> list[ast.AST]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for tree in _trees(where) for node in ast.walk(tree) if isinstance(node, kinds)]


def _calls_in(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def _name(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _receiver(function: ast.expr) -> str:
    return _name(function.value) if isinstance(function, ast.Attribute) else ""


def _words(argument: ast.expr) -> list[str]:
    constants = [node.value for node in ast.walk(argument) if isinstance(node, ast.Constant)]
    return [word for word in constants if isinstance(word, str)]


def _text(block: str) -> list[str]:
    """An indented block of Markdown as lines."""
    return textwrap.dedent(block).removeprefix("\n").rstrip().split("\n")


def _sentence(table: Mapping[Any, str], key: object) -> str:
    if key not in table:
        raise SystemExit(f"docs/print.py has no sentence for {key!r}: write one where its neighbours are.")
    return table[key]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

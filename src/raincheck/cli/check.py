"""`raincheck check`: what the configuration says, what is wrong with it, a sample of it, and its reference page."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from raincheck.cli.exits import Code
from raincheck.cli.extras import without_renderer, without_xai
from raincheck.cli.options import AsJson, Config
from raincheck.cli.reach import reach
from raincheck.core.configuration import Reading, read
from raincheck.core.settings import (
    CONFIG_FILE,
    OTHER_VARIABLES,
    QUEUE_SETTINGS,
    SETTINGS,
    UPSTREAM_SETTINGS,
    Setting,
    bind_problem,
)


def check(
    config: Config = None,
    sample: Annotated[bool, typer.Option("--sample", help=f"Print a {CONFIG_FILE} with every setting.")] = False,
    reference: Annotated[bool, typer.Option("--reference", help="Print the settings' reference as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the configuration, knock at the PostgreSQL and the bucket that it names, and look for what its upstreams
    need here.

    Exits 1 when there are errors; warnings are told apart.

    \b
    raincheck check                            # raincheck.toml here, and RAINCHECK_… variables
    raincheck check --config /etc/raincheck.toml
    raincheck check --sample > raincheck.toml  # every setting with its default
    """
    if sample:
        typer.echo(sample_file(), nl=False)
    elif reference:
        typer.echo(reference_page(), nl=False)
    else:
        reading = read(Path(config) if config else None)
        facts = list[str]() if reading.errors else _look(reading)
        _show(reading, () if reading.errors else facts, as_json)
        raise typer.Exit(Code.FAILED if reading.errors else Code.OK)


def _look(reading: Reading) -> list[str]:
    """What these settings would meet. Adds errors and warnings, returns what is good to know."""
    import asyncio

    settings = reading.settings
    if problem := bind_problem(settings, has_keys=False):
        reading.warnings.append(f"{problem} (Not looked at: whether there is a key already.)")
    reached = asyncio.run(reach(settings))
    reading.errors += reached.errors
    if (lack := without_xai(settings)) is not None:
        reading.errors.append(f"{lack} (needed by `serve`)")
    reading.warnings += reached.warnings
    served = ", ".join(f"{one.name} ({one.kind})" for one in settings.upstreams)
    lack = without_renderer(settings)
    videos = [] if lack is None else [f"videos: {lack}"]
    tls = "" if settings.grpc_cert is None else " with TLS"
    grpc = [] if settings.grpc_port is None else [f"would serve the xai-sdk on port {settings.grpc_port}{tls}"]
    return [f"would serve {served} on {settings.host}:{settings.port}", *grpc, *videos, *reached.facts]


def _show(reading: Reading, facts: Sequence[str], as_json: bool) -> None:
    if as_json:
        path = str(reading.path) if reading.path else None
        told = {"file": path, "errors": reading.errors, "warnings": reading.warnings, "facts": list(facts)}
        typer.echo(json.dumps(told))
        return
    for label, lines in (("error", reading.errors), ("warning", reading.warnings)):
        for line in lines:
            typer.echo(f"{label}: {line}")
    where = str(reading.path) if reading.path else f"no file (there is no {CONFIG_FILE} here): defaults and environment"
    counts = f"{_count(reading.errors, 'error')}, {_count(reading.warnings, 'warning')}"
    typer.echo(f"{where}: {counts}")
    for fact in facts:
        typer.echo(fact)


def _count(lines: Sequence[str], word: str) -> str:
    return f"{len(lines) or 'no'} {word}{'' if len(lines) == 1 else 's'}"


def sample_file() -> str:
    """A configuration file with every setting, each at its default or commented out."""
    lines = [f"# {CONFIG_FILE}: every setting with its default. Flags win over variables, and those over this file."]
    table = ""
    for setting in SETTINGS:
        head, _, name = setting.name.rpartition(".")
        if head != table:
            lines += ["", f"[{head}]"]
            table = head
        lines += _sample_lines(setting, name)
    lines += ["", "# Repeat for each upstream; without any, the embedded model is served.", "# [[upstream]]"]
    lines += [f"# {line}" for setting in UPSTREAM_SETTINGS for line in _sample_lines(setting, setting.name)]
    lines += ["", "# One per queue that needs a limit of its own; a queue is named after its model."]
    lines += ['# [queue."qwen3-8b"]']
    lines += [f"# {line}" for setting in QUEUE_SETTINGS for line in _sample_lines(setting, setting.name)]
    return "\n".join(lines) + "\n"


def _sample_lines(setting: Setting, name: str) -> list[str]:
    told = f"# {setting.help} ({setting.unit.words})"
    return [told, f"{name} = {setting.default}" if setting.default else f"# {name} = …"]


def reference_page() -> str:
    """The settings as a page of Markdown."""
    lines = [
        "# Settings",
        "",
        f"`{CONFIG_FILE}` in the working directory (or what `--config` or `RAINCHECK_CONFIG` names) gives way to",
        "environment variables, and those give way to flags of `raincheck serve`. A variable is `RAINCHECK_` and the",
        "setting's name in capitals, with `_` for `.` and without a leading `server.`; lists are separated by commas.",
        "Unknown names are errors. `raincheck check` finds them; `raincheck check --sample` prints a file to edit.",
        "",
        "Durations are seconds or have a unit (`500ms`, `15s`, `2m`, `1h`, `7d`); sizes likewise (`512KiB`, `32MiB`).",
        "",
        "| Setting | Variable | Flag | Value | Default | |",
        "|---|---|---|---|---|---|",
    ]
    for one in SETTINGS:
        known_as = f"`{one.name}` | `{one.variable}` | {_code(one.flag)}"
        lines.append(f"| {known_as} | {one.unit.words} | {_code(one.default)} | {one.help} |")
    lines += ["", "## `[[upstream]]`", "", "One table per server or function that does the work.", ""]
    lines += _short_table(UPSTREAM_SETTINGS)
    lines += ["", '## `[queue."name"]`', "", "One table per queue; a queue is named after its model.", ""]
    lines += _short_table(QUEUE_SETTINGS)
    lines += ["", "## Other variables", "", "| Variable | |", "|---|---|"]
    lines += [f"| `{name}` | {told} |" for name, told in OTHER_VARIABLES.items()]
    return "\n".join(lines) + "\n"


def _short_table(settings: Sequence[Setting]) -> list[str]:
    rows = [f"| `{one.name}` | {one.unit.words} | {_code(one.default)} | {one.help} |" for one in settings]
    return ["| Name | Value | Default | |", "|---|---|---|---|", *rows]


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""

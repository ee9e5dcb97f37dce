"""Takes the command line, runs the rows it asks for, prints their table and writes their JSON."""

import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console

from bench.options import Options, parse
from bench.processes import allow_many_sockets
from bench.report import as_json, file_name, table
from bench.rows import MEASURES
from bench.setting import Setting
from bench.stats import Row

RESULTS = Path(__file__).parent / "results"


def main(arguments: list[str]) -> int:
    """The exit code: 1 when a row misses its floor."""
    options = parse(arguments, MEASURES)
    console = Console(stderr=True)
    allow_many_sockets()
    # A terminated run ends like an interrupted one, so that no child is left behind.
    signal.signal(signal.SIGTERM, _terminated)
    rows: list[Row] = []
    try:
        # Not in memory: what a durable submit costs depends on a disk, so the stores must be on one.
        with tempfile.TemporaryDirectory(prefix="raincheck-bench-") as folder, ExitStack() as stack:
            setting = Setting(options, Path(folder), stack)
            for name in options.only:
                with console.status(f"{name}: {MEASURES[name].about}"):
                    rows += MEASURES[name].run(setting)
    finally:
        # What was measured is worth showing even when a later row broke.
        _report(rows, options)
    return int(any(row.verdict == "poor" for row in rows))


def _terminated(number: int, _: object) -> None:
    sys.exit(128 + number)


def _report(rows: list[Row], options: Options) -> None:
    out = Console()
    Console(width=None if out.is_terminal else 140).print(table(rows))
    path = options.json or RESULTS / file_name()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(as_json(rows, options))))
    out.print(f"[dim]written to {path}[/]")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

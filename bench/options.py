"""Takes command-line arguments, hands on Options: what to measure, and how long."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Described(Protocol):
    @property
    def about(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to measure, and how thoroughly."""

    only: tuple[str, ...]
    quick: bool = False
    json: Path | None = None
    rows: int | None = None

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 5

    @property
    def seconds(self) -> float:
        """How long each side of a round is measured."""
        return 1.0 if self.quick else 2.0

    @property
    def many(self) -> int:
        """Rows in a large store."""
        return self.rows or (100_000 if self.quick else 1_000_000)


def parse(arguments: Sequence[str], known: Mapping[str, Described]) -> Options:
    """The options; exits with a message for what is not known."""
    listed = "\n".join(f"  {name:<9} {measure.about}" for name, measure in known.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure each speed goal against its baseline in the same run.",
        epilog=f"rows:\n{listed}\n\nThe exit code is 1 when a row misses its floor.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", metavar="NAME", action="append", choices=list(known), help="only this; repeatable")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, 100,000 rows instead of 1 M")
    parser.add_argument("--rows", metavar="N", type=int, help="how large the large stores are (10000000 takes long)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where to write (default: into bench/results)")
    given = parser.parse_args(arguments)
    return Options(only=tuple(given.only or known), quick=given.quick, json=given.json, rows=given.rows)

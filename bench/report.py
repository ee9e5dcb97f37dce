"""Takes rows, hands on a table for people and JSON for comparing runs."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from rich.table import Table

from bench.options import Options
from bench.stats import Row, Samples
from raincheck.core.clock import SECOND, now

COLOURS = {"good": "green", "fair": "yellow", "poor": "red", "": "dim"}


def table(rows: Sequence[Row]) -> Table:
    """Medians with their spread, the number that is judged, and what it is judged by."""
    shown = Table(title="Raincheck against its baselines: medians (lowest to highest round)", title_justify="left")
    for heading in ("what", "against", "baseline", "raincheck", "", "floor", "goal"):
        right = heading in ("baseline", "raincheck", "", "floor", "goal")
        shown.add_column(heading, justify="right" if right else "left", no_wrap=right)
    for row in rows:
        shown.add_row(
            f"{row.what} [dim]{row.unit}[/]",
            row.against,
            _spread(row.baseline),
            _spread(row.ours),
            f"[bold {COLOURS[row.verdict]}]{_number(row.value)} {row.value_unit}[/]",
            _bound(row, row.floor),
            _bound(row, row.goal),
        )
    return shown


def as_json(rows: Sequence[Row], options: Options) -> dict[str, Any]:
    """Everything that was measured, and on what."""
    return {
        "at": _moment().isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "rows": [_row(row) for row in rows],
    }


def file_name() -> str:
    return f"{_moment():%Y-%m-%dT%H%M%SZ}.json"


def _row(row: Row) -> dict[str, Any]:
    return {
        "what": row.what,
        "unit": row.unit,
        "against": row.against,
        "baseline": row.baseline and _samples(row.baseline),
        "raincheck": _samples(row.ours),
        "value": row.value,
        "value_unit": row.value_unit,
        "better": row.better,
        "floor": row.floor,
        "goal": row.goal,
        "verdict": row.verdict,
    }


def _samples(samples: Samples) -> dict[str, Any]:
    return {"median": samples.median, "low": samples.low, "high": samples.high, "values": samples.values}


def _spread(samples: Samples | None) -> str:
    if samples is None:
        return ""
    if len(samples.values) == 1:
        return _number(samples.median)
    return f"{_number(samples.median)} [dim]({_number(samples.low)}–{_number(samples.high)})[/]"


def _bound(row: Row, bound: float | None) -> str:
    return "" if bound is None else f"{'≥' if row.better == 'more' else '≤'} {bound:g}"


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _moment() -> datetime:
    return datetime.fromtimestamp(now() / SECOND, UTC)

"""A bar for a batch: lines done, failures, rate, time left, and tokens."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from raincheck.client.batches.models import Batch

Observer = Callable[[Batch], object]
_WINDOW = 30.0
"""Seconds over which the rate is told: what was done an hour ago says little of what is to come."""


@contextmanager
def watching(
    batch: Batch, *, progress: bool, console: Console | None = None, clock: Callable[[], float] = monotonic
) -> Generator[Observer | None]:
    """Tells of a batch each time it was seen, on stderr and in notebooks; None where that would fill a log file."""
    console = console or Console(stderr=True)
    if not progress or not (console.is_terminal or console.is_jupyter):
        yield None
        return
    console.print(batch.id, highlight=False, markup=False, soft_wrap=True)
    columns = (
        BarColumn(bar_width=24, table_column=Column(no_wrap=True)),
        TaskProgressColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
        _Words(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(str(batch.status), total=None)
        pace = Pace(clock)

        def told(seen: Batch) -> None:
            counts = seen.counts
            pace.note(counts.ended)
            known = counts.total if counts.total and seen.status != "validating" else None
            bar.update(task, description=words(seen, pace.rate), total=known, completed=counts.ended)

        told(batch)
        yield told


class _Words(ProgressColumn):
    """The only column that gives way on a narrow terminal."""

    def render(self, task: Task) -> Text:
        return Text(task.description, no_wrap=True, overflow="ellipsis")


class Pace:
    """How many lines end in a second, of late."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._seen = list[tuple[float, int]]()

    def note(self, ended: int) -> None:
        now = self._clock()
        self._seen.append((now, ended))
        while len(self._seen) > 2 and self._seen[1][0] <= now - _WINDOW:
            self._seen.pop(0)

    @property
    def rate(self) -> float:
        if len(self._seen) < 2:
            return 0.0
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        return (after - before) / (last - first) if last > first else 0.0


def words(batch: Batch, rate: float) -> str:
    """`1,200/10,000 · 3 failed · 52/s · 3 min left · 1.2M tokens`."""
    counts = batch.counts
    told = [f"{counts.ended:,}/{counts.total:,}"] if counts.total else []
    if batch.status != "in_progress" or not counts.total:
        told.insert(0, str(batch.status))
    told += [f"{number:,} {name}" for name in ("failed", "cancelled", "expired") if (number := getattr(counts, name))]
    if rate > 0 and not batch.ended:
        told.append(f"{rate:,.0f}/s" if rate >= 1 else f"{rate * 60:,.1f}/min")
        if batch.status == "in_progress":
            told.append(f"{length((counts.total - counts.ended) / rate)} left")
    if batch.usage is not None and batch.usage.total_tokens:
        told.append(f"{short(batch.usage.total_tokens)} tokens")
    ticks = None if batch.raincheck is None else batch.raincheck.cost_in_usd_ticks
    return " · ".join([*told, f"${ticks / 1e10:,.2f}"] if ticks else told)


def length(seconds: float) -> str:
    """`40 s`, `3 min`, `2.5 h`, `3 days`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def short(number: float) -> str:
    """`950`, `1.2k`, `3.4M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"

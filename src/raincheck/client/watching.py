"""Those who look on while a request is waited for: the caller's `on_update`, and a progress bar."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from raincheck.client.models import Request, describe

Observer = Callable[[Request], object]


@contextmanager
def watching(
    on_update: Observer | None, *, progress: bool, console: Console | None = None
) -> Generator[Observer | None]:
    """One observer for both, None when nobody looks. The bar is drawn on stderr, and in notebooks; it is silent where
    it would only fill a log file."""
    console = console or Console(stderr=True)
    observers = [_changes_only(on_update)] if on_update is not None else []
    if not progress or not (console.is_terminal or console.is_jupyter):
        yield observers[0] if observers else None
        return
    with _bar(console) as bar:
        observers.append(_drawn(bar))

        def tell_all(request: Request) -> None:
            for observer in observers:
                observer(request)

        yield tell_all


def _changes_only(on_update: Observer) -> Observer:
    """Call it when something moved. An ETA that only counts down is no news."""
    last: list[object] = []

    def told(request: Request) -> None:
        picture = (
            request.status,
            request.position,
            request.progress,
            request.progress_message,
            request.waiting_for,
            request.attempt,
        )
        if last != [picture]:
            last[:] = [picture]
            on_update(request)

    return told


def _bar(console: Console) -> Progress:
    return Progress(
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        # Last, so that on a narrow terminal it is the words that are cut.
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
        console=console,
    )


def _drawn(bar: Progress) -> Observer:
    """The bar pulses while there is no figure to show: a pending request, or a worker that reports none. The id stands
    above it, whole, for whoever wants to come back."""
    task = bar.add_task("submitted", total=None)
    named = list[str]()

    def told(request: Request) -> None:
        if not named:
            named.append(request.id)
            bar.console.print(request.id, highlight=False, markup=False, soft_wrap=True)
        share = 1.0 if request.status == "completed" else request.progress
        total = None if share is None else 1.0
        bar.update(task, description=describe(request, share=False), total=total, completed=share or 0.0)

    return told

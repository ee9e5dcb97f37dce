"""Takes a response's events as they come to be, hands them on numbered, and keeps them in a file when asked to."""

from pathlib import Path
from types import TracebackType
from typing import IO, Self

import msgspec

from raincheck.core.outcome import Made
from raincheck.core.responses import EVENTS, Json
from raincheck.upstream.protocol import Bench, Report

MOST_EVENTS = 1_000_000
"""Fewer than this has any attempt: who reads several tells them apart by their numbers."""


class EventsTooLarge(Exception):
    """A stream outgrew what is kept of one."""


class Scribe:
    """The events of one attempt, numbered from 0; use it with `with`, so that its file is closed.

    The folder of the bench is asked for with the first event that is to be kept, and not at all otherwise.
    """

    def __init__(self, report: Report, keep: Bench | None, largest: int) -> None:
        self.report = report
        self.count = 0
        self._keep = keep
        self._room = largest
        self._file: IO[bytes] | None = None
        self._path: Path | None = None

    def write(self, event: Json) -> None:
        """Hand on one event. Raises EventsTooLarge, also when none are kept: whoever listens may hold them all."""
        event = {"type": event["type"], "sequence_number": self.count, **event}
        event["sequence_number"] = self.count
        self.count += 1
        if self.count >= MOST_EVENTS:
            raise EventsTooLarge
        data = msgspec.json.encode(event)
        self._room -= len(data) + 1
        if self._room < 0:
            raise EventsTooLarge
        if self._keep is not None:
            self._store(data, self._keep)
        self.report.delta(data)

    def made(self) -> tuple[Made, ...]:
        """The file with all events, one a line, complete on disk; none when none were to be kept."""
        if self._file is None or self._path is None:
            return ()
        self._file.close()
        return (Made(EVENTS, self._path, "application/x-ndjson"),)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def _store(self, data: bytes, bench: Bench) -> None:
        if self._file is None:
            self._path = bench.folder / EVENTS
            # Some KiB at a time into the page cache: that is quicker than a thread would be.
            self._file = self._path.open("wb", buffering=1 << 16)
        self._file.write(data)
        self._file.write(b"\n")

"""Where the two files go in which a batch ends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from raincheck.client.batches.models import Batch
from raincheck.client.downloads import Remote
from raincheck.client.errors import RaincheckClientError


@dataclass(frozen=True, slots=True)
class BatchFiles:
    """The files of a batch on this machine, each None where the batch has none: no line completed, or none failed."""

    output: Path | None = None
    errors: Path | None = None


@dataclass(slots=True)
class Fetching:
    """What is to be fetched of a batch, and what is there."""

    batch: Batch
    to: Path
    errors: Path | None
    saved: dict[str, Path] = field(default_factory=dict[str, Path])

    def wanted(self) -> Iterator[tuple[str, Remote, Path]]:
        """Which of them, from where, and where to. Raises RaincheckClientError while there are no files."""
        batch = self.batch
        if not batch.ended:
            raise RaincheckClientError(f"Batch {batch.id} is {batch.status} still; its files come when it has ended.")
        folder = self.to.is_dir()
        if batch.output_file_id:
            yield "output", _content(batch.output_file_id, f"{batch.id}_output.jsonl"), self.to
        if batch.error_file_id:
            name = f"{batch.id}_errors.jsonl"
            beside = self.to if folder else self.to.with_name(f"{self.to.stem}.errors{self.to.suffix or '.jsonl'}")
            yield "errors", _content(batch.error_file_id, name), self.errors or beside

    def files(self) -> BatchFiles:
        return BatchFiles(**self.saved)


def _content(file_id: str, name: str) -> Remote:
    return Remote(f"/files/{file_id}/content", name)

"""Takes a batch, hands on where each of its lines stands, in input order: those that were fed, and then the others."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal

from raincheck.core.batches import Batch, BatchStatus, Cursor, Row
from raincheck.core.status import Status
from raincheck.intake.batches.tokens import Mark
from raincheck.intake.batches.unfed import Source, Unfed
from raincheck.store.protocol import Batches

State = Literal["pending", "succeeded", "failed", "cancelled"]

STATES: dict[Status, State] = {
    Status.PENDING: "pending",
    Status.PROCESSING: "pending",
    Status.COMPLETED: "succeeded",
    Status.FAILED: "failed",
    Status.EXPIRED: "failed",
    Status.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """A line, and where it stands."""

    custom_id: str
    url: str
    model: str
    created_at: int
    ended_at: int | None
    state: State
    mark: Mark
    """Behind it, among the lines of which it was read."""


@dataclass(frozen=True, slots=True)
class Overview:
    """What looking over lines needs."""

    batches: Batches
    source: Source

    async def page(self, batch: Batch, after: Mark, limit: int) -> tuple[list[Standing], Mark | None]:
        """Up to `limit` lines, and the mark behind them; None at the end."""
        if batch.status in (BatchStatus.VALIDATING, BatchStatus.FAILED):
            return [], None  # Nobody knows them yet, or they are nobody's.
        if isinstance(after, Cursor):
            return await self._as_handed_in(batch, after, limit)
        rows = await self.batches.rows(batch.tenant, batch.id, after=after, limit=limit)
        standing = [_fed(batch, row, row.line) for row in rows]
        last = rows[-1].line if rows else after
        if len(rows) == limit:
            return standing, last
        others, mark = await self._as_handed_in(batch, last, limit - len(rows))
        return standing + others, mark

    async def _as_handed_in(self, batch: Batch, after: Mark, limit: int) -> tuple[list[Standing], Mark | None]:
        """Lines that were not fed when the reader came by; some may have been since."""
        lines: AsyncGenerator[Unfed]
        if isinstance(after, Cursor):
            lines = self.source.going_on(self.batches, batch, after)
        else:
            lines = self.source.behind(self.batches, batch, after)
        found, mark = list[Unfed](), None
        async with aclosing(lines) as unfed:
            async for line in unfed:
                if len(found) == limit:
                    mark = found[-1].after
                    break
                found.append(line)
        if not found:
            return [], None
        rows = await self.batches.rows(batch.tenant, batch.id, after=found[0].line - 1, limit=len(found))
        fed = {row.line: row for row in rows}
        standing = [
            _fed(batch, fed[line.line], line.after) if line.line in fed else _unfed(batch, line) for line in found
        ]
        return standing, mark


def _fed(batch: Batch, row: Row, mark: Mark) -> Standing:
    request = row.request
    if request is None:
        return Standing(row.custom_id, batch.endpoint or "", batch.model or "", batch.created_at, None, "failed", mark)
    return Standing(
        row.custom_id,
        f"/v1{request.path}",
        request.model,
        request.created_at,
        request.ended_at,
        STATES[request.status],
        mark,
    )


def _unfed(batch: Batch, line: Unfed) -> Standing:
    state: State = "pending"
    if batch.status.final:
        state = "cancelled" if batch.status is BatchStatus.CANCELLED else "failed"
    asked = line.asked
    if asked is None:
        return Standing(
            "", batch.endpoint or "", batch.model or "", batch.created_at, batch.ended_at, state, line.after
        )
    return Standing(asked.custom_id, asked.url, asked.model, batch.created_at, batch.ended_at, state, line.after)

"""Moving house: takes the ledgers of two stores, hands on a copy that was counted and compared row by row.

Rows travel in bites. The target notes in the same transaction how far it has come, so a copy that was killed goes on
where it was, and no row comes twice. Nothing is renumbered: ids, order, fences and tags are the same in the new house.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import blake2b
from typing import Any, Literal, Protocol

import msgspec
from msgspec.structs import replace

Key = tuple[Any, ...]
Row = tuple[Any, ...]

BITE_ROWS = 5_000
BITE_BYTES = 8 << 20
"""A bite ends with the row that reaches either of these, so one bite and one row are what is held in memory."""


class Table(msgspec.Struct, frozen=True):
    """A table as both kinds of store have it."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    flags: tuple[str, ...] = ()
    """Columns that are true or false; SQLite keeps them as numbers."""
    heavy: str | None = None
    """The column that may be large."""

    def key_of(self, row: Row) -> Key:
        return tuple(row[self.columns.index(name)] for name in self.key)


# fmt: off
TABLES = (
    Table("payload", ("seq",), ("seq", "body"), heavy="body"),
    Table("metadata", ("seq",), ("seq", "body")),
    Table("result", ("seq",),
          ("seq", "status", "content_type", "error", "usage", "body", "blob", "size"), heavy="body"),
    Table("attempt", ("seq", "fence"),
          ("seq", "fence", "number", "upstream", "started_at", "ended_at", "outcome", "error")),
    Table("event", ("seq",), ("seq", "id", "tenant", "request_seq", "batch_seq", "type", "webhook_url", "created_at")),
    Table("seen", ("tenant", "key"), ("tenant", "key", "fingerprint", "request_seq", "expires_at")),
    Table("attachment", ("seq", "role", "position"),
          ("seq", "role", "position", "name", "blob", "content_type", "size", "digest")),
    Table("file", ("seq",),
          ("seq", "id", "tenant", "filename", "purpose", "content_type", "size", "digest", "blob", "created_at",
           "expires_at")),
    Table("blob", ("name",), ("name", "doomed_at", "holders")),
    Table("stray", ("id",), ("id", "upstream", "remote_id", "created_at", "due_at", "tries")),
    Table("secret", ("name",), ("name", "value")),
    Table("queue", ("name",), ("name", "misses", "service", "pace", "last_ended_at", "held_until", "held_reason")),
    Table("throttle", ("scope", "name"),
          ("scope", "name", "max_concurrency", "rpm", "tpm", "paused_until", "pause_reason", "level", "slowed_at",
           "first_token", "unhurried")),
    Table("spent", ("scope", "name", "second"), ("scope", "name", "second", "requests", "tokens")),
    Table("lane", ("queue", "priority"), ("queue", "priority", "virtual_time")),
    Table("flow", ("queue", "priority", "tenant"), ("queue", "priority", "tenant", "last_tag", "weight", "pending")),
    Table("parked", ("queue", "tenant"), ("queue", "tenant")),
    Table("tenant", ("name",), ("name", "weight", "max_pending", "max_running", "max_body_bytes")),
    Table("api_key", ("id",), ("id", "tenant", "name", "hint", "scopes", "digest", "created_at", "revoked_at")),
    Table("batch_part", ("batch_seq", "position"),
          ("batch_seq", "position", "first_line", "lines", "size", "digest", "blob", "body", "repeat_key"),
          heavy="body"),
    Table("batch_queue", ("batch_seq", "queue"), ("batch_seq", "queue", "unfed")),
    Table("batch_row", ("batch_seq", "line"), ("batch_seq", "line", "custom_id", "request_seq", "ended", "error")),
    Table("batch", ("seq",),
          ("seq", "id", "tenant", "dialect", "name", "endpoint", "model", "status", "ends_as", "sealed",
           "completion_window", "metadata", "webhook_url", "input_file_id", "output_file_id", "error_file_id",
           "output_expires_after", "errors", "priority", "created_at", "in_progress_at", "finalizing_at", "ended_at",
           "expires_at", "purge_at", "total", "fed", "completed", "failed", "cancelled", "expired", "input_tokens",
           "cached_tokens", "output_tokens", "reasoning_tokens", "total_tokens", "cost_ticks", "next_part",
           "next_offset", "next_line", "worker", "fence", "due_at", "repeat_key", "fingerprint", "repeat_until",
           "webhook_events"),
          flags=("sealed",)),
    Table("endpoint", ("seq",),
          ("seq", "id", "tenant", "name", "url", "event_types", "include_result", "signature", "created_at",
           "updated_at", "disabled_at", "disabled_reason"), flags=("include_result",)),
    Table("subscription", ("tenant", "type", "endpoint_seq"), ("tenant", "type", "endpoint_seq")),
    Table("signing_key", ("owner",), ("owner", "secret", "created_at", "previous")),
    Table("receiver", ("name",), ("name", "failures", "failing_since", "open_until", "places", "used_at", "slow"),
          flags=("slow",)),
    Table("delivery_attempt", ("delivery_seq", "fence"),
          ("delivery_seq", "fence", "number", "started_at", "ended_at", "status_code", "error_code", "error",
           "response")),
    Table("delivery", ("seq",),
          ("seq", "id", "tenant", "receiver", "endpoint_id", "url", "event_id", "type", "object_id", "created_at",
           "detail", "include_result", "test", "status", "attempt", "fence", "due_at", "worker", "ended_at",
           "status_code", "error"),
          flags=("include_result", "test")),
    # Last: a request is there only when everything of it is.
    Table("request", ("seq",),
          ("seq", "id", "tenant", "queue", "operation", "path", "model", "status", "priority", "tag", "due_at",
           "deadline", "fence", "attempt", "max_attempts", "tokens", "worker", "upstream", "remote_id",
           "remote_upstream", "progress", "progress_message", "webhook_url", "created_at", "started_at", "claimed_at",
           "ended_at", "purge_at", "purged", "batch_seq", "line", "webhook_events", "webhook_result",
           "webhook_told_at"), flags=("purged", "webhook_result")),
)
# fmt: on
"""Everything that moves, in the order in which it moves. A test compares this with both databases' catalogues."""

STAYS = frozenset({"worker", "witness", "migration", "copying"})
"""Processes say for themselves that they are there, a schema has its own history, and `copying` holds the marks."""


UNFINISHED = "A copy into this store was not finished; run the same `raincheck store copy` again."
"""What all but a copy are told of a store with the table `copying`: rows are missing there, API keys among them."""


class Mark(msgspec.Struct, frozen=True):
    """How far a table has come; the target keeps one per table in `copying` while a copy is under way."""

    source: str
    table: str
    after: Key | None = None
    """The key of the last row that is there."""
    rows: int = 0
    cleaned: int = 0
    """How many of them had the character NUL in a text, which PostgreSQL cannot keep."""


class Ledger(Protocol):
    """A store's rows as they lie. Any method may raise StoreUnavailable; after that, copying again goes on."""

    @property
    def identity(self) -> str:
        """The same for two ledgers of the same store, by whatever name it was opened."""
        ...

    @property
    def takes_nul(self) -> bool:
        """Whether a text may hold the character NUL."""
        ...

    async def users(self) -> list[str]:
        """The workers that were seen in the last minute."""
        ...

    async def hold(self) -> None:
        """Keep everyone from changing anything until the ledger is closed. Raises Refused when that cannot be had."""
        ...

    async def columns(self) -> dict[str, frozenset[str]]:
        """What the database says it has: tables with their columns."""
        ...

    async def count(self, table: Table) -> int:
        """How many rows there are."""
        ...

    async def read(self, table: Table, after: Key | None) -> list[Row]:
        """The next bite in the order of the key; empty after the last."""
        ...

    async def marks(self) -> list[Mark]:
        """The notes of a copy into this store that is not finished; none otherwise."""
        ...

    async def begin(self, marks: Sequence[Mark]) -> None:
        """Note that a copy begins."""
        ...

    async def write(self, table: Table, rows: Sequence[Row], mark: Mark) -> None:
        """Add rows and replace the table's mark, both or neither."""
        ...

    async def settle(self) -> None:
        """Make ready for new rows after the last one has come: what numbers them goes on behind it."""
        ...

    async def end(self) -> None:
        """Forget the notes; when this returns, all that was written is on disk."""
        ...


class Refused(Exception):
    """Why a copy cannot be made, and what to do."""


class Moving(msgspec.Struct, frozen=True):
    """Where a copy stands, for whoever watches."""

    stage: Literal["copying", "comparing"]
    table: str
    done: int
    """Rows over all tables, with those that an earlier run has copied."""
    total: int


class Compared(msgspec.Struct, frozen=True):
    """One table on both sides. The digest does not depend on the order of the rows."""

    table: str
    rows: int
    digest: str
    target_rows: int
    target_digest: str
    cleaned: int = 0

    @property
    def equal(self) -> bool:
        return (self.rows, self.digest) == (self.target_rows, self.target_digest)


class Report(msgspec.Struct, frozen=True):
    """What came of it."""

    tables: tuple[Compared, ...]
    copied: int
    """Rows that this run has written."""
    resumed: bool
    """Whether an earlier run had begun."""

    @property
    def equal(self) -> bool:
        return all(table.equal for table in self.tables)


def unwatched(_: Moving) -> None:
    """For a copy that nobody watches."""


async def copy(
    source: Ledger,
    opening: AbstractAsyncContextManager[Ledger],
    *,
    force: bool = False,
    watch: Callable[[Moving], None] = unwatched,
) -> Report:
    """Copy everything, then read both sides again and compare. The target is opened, and with that made, only when
    the source can be copied.

    With `force` a source whose workers were seen a moment ago is copied all the same. A report that is not `equal`
    leaves the notes in the target, so that nothing but another copy from this source is done to it. Raises Refused.
    """
    await _check(source, "source", force=force)
    if await source.marks():
        raise Refused("a copy into the source was not finished; finish it first, or take the store it was made from")
    await source.hold()
    async with opening as target:
        if source.identity == target.identity:
            raise Refused("both URLs name the same store")
        await _check(target, "target", force=force)
        return await _move(source, target, watch)


async def _move(source: Ledger, target: Ledger, watch: Callable[[Moving], None]) -> Report:
    marks = await _marks(source, target)
    already = sum(mark.rows for mark in marks.values())
    total = sum([await source.count(table) for table in TABLES])
    done = already
    for table in TABLES:
        mark = marks[table.name]
        while rows := await source.read(table, mark.after):
            mark = await _carry(table, rows, mark, target)
            done += len(rows)
            watch(Moving("copying", table.name, done, max(total, done)))
        marks[table.name] = mark
    await target.settle()
    report = Report(tables=await _compare(source, target, marks, watch), copied=done - already, resumed=already > 0)
    if report.equal:
        await target.end()
    return report


async def _check(ledger: Ledger, name: Literal["source", "target"], *, force: bool) -> None:
    if problem := schema_problem(await ledger.columns()):
        raise Refused(f"the {name} has another schema than this Raincheck ({problem}): upgrade Raincheck")
    if not force and (users := await ledger.users()):
        raise Refused(
            f"the {name} is at work: {', '.join(users)} was seen in the last minute. Stop every server and worker, "
            "wait a minute, and try again; --force does not wait, for those that were killed"
        )


def schema_problem(found: dict[str, frozenset[str]]) -> str | None:
    """How a catalogue differs from TABLES; None when it does not."""
    known = {table.name: frozenset(table.columns) for table in TABLES}
    for name in sorted(known.keys() | found.keys() - STAYS):
        if name not in known or name not in found:
            return f"table {name} is only in the {'copy' if name in known else 'store'}"
        if differing := known[name] ^ found[name]:
            return f"table {name}: {', '.join(sorted(differing))}"
    return None


async def _marks(source: Ledger, target: Ledger) -> dict[str, Mark]:
    """Those of the copy that goes on, or new ones in an empty target."""
    marks = await target.marks()
    if marks and {mark.source for mark in marks} != {source.identity}:
        raise Refused(f"the target holds a part of another store ({marks[0].source}): take an empty one")
    if not marks:
        if full := [table.name for table in TABLES if await target.count(table)]:
            raise Refused(f"the target is not empty (there are rows in {', '.join(full)}): take an empty one")
        marks = [Mark(source.identity, table.name) for table in TABLES]
        await target.begin(marks)
    return {mark.table: mark for mark in marks}


async def _carry(table: Table, rows: list[Row], mark: Mark, target: Ledger) -> Mark:
    mark = replace(mark, after=table.key_of(rows[-1]), rows=mark.rows + len(rows))
    if not target.takes_nul:
        mark = replace(mark, cleaned=mark.cleaned + sum(map(_has_nul, rows)))
        rows = [without_nul(row) for row in rows]
    await target.write(table, rows, mark)
    return mark


def without_nul(row: Row) -> Row:
    """The row with U+FFFD in place of each NUL in a text."""
    if not _has_nul(row):
        return row
    return tuple(value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in row)


def _has_nul(row: Row) -> bool:
    return any(type(value) is str and "\0" in value for value in row)


async def _compare(
    source: Ledger, target: Ledger, marks: dict[str, Mark], watch: Callable[[Moving], None]
) -> tuple[Compared, ...]:
    total = 2 * sum(mark.rows for mark in marks.values())
    done = 0
    compared = list[Compared]()

    async def digest(ledger: Ledger, table: Table) -> tuple[int, str]:
        nonlocal done
        digest, after = Digest(), None
        while rows := await ledger.read(table, after):
            after = table.key_of(rows[-1])
            digest.add(rows if target.takes_nul else [without_nul(row) for row in rows])
            done += len(rows)
            watch(Moving("comparing", table.name, done, max(total, done)))
        return digest.rows, digest.hex

    for table in TABLES:
        rows, here = await digest(source, table)
        target_rows, there = await digest(target, table)
        compared.append(Compared(table.name, rows, here, target_rows, there, marks[table.name].cleaned))
    return tuple(compared)


class Digest:
    """A sum over rows: equal for equal rows in whatever order, so that it does not matter how a database sorts text."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._encode = msgspec.msgpack.Encoder().encode

    def add(self, rows: Sequence[Row]) -> None:
        encode = self._encode
        self._sum += sum(int.from_bytes(blake2b(encode(row), digest_size=16).digest()) for row in rows)
        self.rows += len(rows)

    @property
    def hex(self) -> str:
        return f"{self._sum % (1 << 128):032x}"

"""Reading the lines of a batch: in input order, in the order in which they ended, by their own ids."""

from collections.abc import Sequence

from raincheck.core.batches import Row
from raincheck.store import rows
from raincheck.store.sqlite.database import Database, Value

_PLAIN = """select w.line, w.custom_id, w.ended, w.error, r.*
              from batch_row w left join record r on r.seq = w.request_seq"""
_WITH_RESULTS = """select t.status, t.content_type, t.body, t.blob, t.size,
                          case when t.status is not null then
                              (select json_group_array(json_array(position, name, blob, content_type, size, digest))
                                 from attachment a where a.seq = t.seq and a.role = 'output') end,
                          w.line, w.custom_id, w.ended, w.error, r.*
                     from batch_row w left join record r on r.seq = w.request_seq
                     left join result t on t.seq = w.request_seq"""
_RESULT_WIDTH = 6


def find(database: Database, tenant: str, batch_id: str) -> tuple[int, int]:
    """The number of a batch, and of the next line to be fed to it. Raises NotFound."""
    row = database.one("select seq, next_line from batch where id = ? and tenant = ?", batch_id, tenant)
    if row is None:
        raise rows.unknown_batch(batch_id)
    return row[0], row[1]


async def in_order(
    database: Database, tenant: str, batch_id: str, *, after: int, limit: int, most_bytes: int | None = None
) -> list[Row]:
    """Lines that were fed: whatever lies before the cursor. With `most_bytes`, with their results."""
    seq, unfed = find(database, tenant, batch_id)
    lines, values = "w.batch_seq = ? and w.line > ? and w.line < ?", (seq, after, unfed)
    if most_bytes is None:
        found = await database.read_apart(f"{_PLAIN} where {lines} order by w.line limit ?", (*values, limit))
        return [rows.batch_row(row) for row in found]
    return await _with_results(database, lines, "line", values, limit=limit, most_bytes=most_bytes)


async def as_ended(
    database: Database, tenant: str, batch_id: str, *, after: int, limit: int, most_bytes: int
) -> list[Row]:
    """Lines in the order of their ends, with results."""
    seq, _ = find(database, tenant, batch_id)
    lines = "w.batch_seq = ? and w.ended > ?"
    return await _with_results(database, lines, "ended", (seq, after), limit=limit, most_bytes=most_bytes)


async def named(database: Database, tenant: str, batch_id: str, custom_id: str) -> Row | None:
    """One line with its result, unless it was not fed."""
    seq, unfed = find(database, tenant, batch_id)
    # The plus keeps the planner from looking for the lines instead of the name.
    lines = "w.batch_seq = ? and w.custom_id = ? and +w.line < ?"
    found = await _with_results(database, lines, "line", (seq, custom_id, unfed), limit=1, most_bytes=0)
    return found[0] if found else None


async def _with_results(
    database: Database, lines: str, order: str, values: Sequence[Value], *, limit: int, most_bytes: int
) -> list[Row]:
    """As many as have room: the sizes are looked at first, which reads no body."""
    sizes = await database.read_apart(
        f"""select coalesce(length(t.body), 0)
              from batch_row w left join result t on t.seq = w.request_seq
             where {lines} order by w.{order} limit ?""",  # noqa: S608 - words of ours
        (*values, limit),
    )
    fit, size = 0, 0
    for (more,) in sizes:
        fit, size = fit + 1, size + more
        if size >= most_bytes:
            break
    # Not up to the last of them: of two upper bounds SQLite would seek by one, and walk through all lines to the other.
    found = await database.read_apart(f"{_WITH_RESULTS} where {lines} order by w.{order} limit ?", (*values, fit))
    return [rows.batch_row(row[_RESULT_WIDTH:], rows.result(row[:_RESULT_WIDTH])) for row in found]

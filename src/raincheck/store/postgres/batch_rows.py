"""Reading the lines of a batch: in input order, in the order in which they ended, by their own ids."""

from raincheck.core.batches import Row
from raincheck.store import rows
from raincheck.store.postgres.database import Database
from raincheck.store.postgres.texts import holds

RESULT_WIDTH = 6


async def find(database: Database, tenant: str, batch_id: str) -> tuple[int, int]:
    """The number of a batch, and of the next line to be fed to it. Raises NotFound."""
    row = None
    if holds(tenant, batch_id):
        row = await database.one(
            "select seq, next_line from batch where id = $1 and (tenant = $2) is true", batch_id, tenant
        )
    if row is None:
        raise rows.unknown_batch(batch_id)
    return row[0], row[1]


async def in_order(
    database: Database, tenant: str, batch_id: str, *, after: int, limit: int, most_bytes: int | None = None
) -> list[Row]:
    """Lines that were fed: whatever lies before the cursor. With `most_bytes`, with their results."""
    seq, unfed = await find(database, tenant, batch_id)
    lines = "batch_seq = $1 and line > $2 and line < $3"
    return await _read(database, lines, "line", (seq, after, unfed), limit=limit, most_bytes=most_bytes)


async def as_ended(
    database: Database, tenant: str, batch_id: str, *, after: int, limit: int, most_bytes: int
) -> list[Row]:
    """Lines in the order of their ends, with results."""
    seq, _ = await find(database, tenant, batch_id)
    return await _read(
        database, "batch_seq = $1 and ended > $2", "ended", (seq, after), limit=limit, most_bytes=most_bytes
    )


async def named(database: Database, tenant: str, batch_id: str, custom_id: str) -> Row | None:
    """One line with its result, unless it was not fed."""
    seq, unfed = await find(database, tenant, batch_id)
    if not holds(custom_id):
        return None
    # In words that leave the primary key nothing but the batch to go by.
    lines = "batch_seq = $1 and custom_id = $2 and (line < $3) is true"
    found = await _read(database, lines, "custom_id", (seq, custom_id, unfed), limit=1, most_bytes=0)
    return found[0] if found else None


async def _read(
    database: Database, lines: str, order: str, values: tuple[object, ...], *, limit: int, most_bytes: int | None
) -> list[Row]:
    """The lines are found first, so that however many there are, what belongs to them is looked up one by one (`offset
    0` keeps the planner, which cannot know how few they are, from reading whole tables for them); then the sizes of
    their results are looked at, which reads no body, so that no more are read than have room."""
    results = most_bytes is not None
    found = await database.read_apart(
        f"""with w as materialized (
                select line, custom_id, ended, error, request_seq from batch_row
                 where {lines} order by {order} limit ${len(values) + 1}
            ), fits as materialized ({_FITS.format(order=order) if results else _ALL})
            select {_RESULT if results else _NOTHING}, w.line, w.custom_id, w.ended, w.error,
                   {_RECORD if results else "r.*"}
              from fits w
              left join lateral (select * from {"request" if results else "record"} r
                                  where r.seq = w.request_seq offset 0) r on true
              left join lateral (select * from result t
                                  where t.seq = {"w.request_seq" if results else "null"} offset 0) t on true
             where w.before is null or w.before < ${len(values) + 2}::bigint
             order by w.{order}""",  # noqa: S608 - words of ours
        *values,
        limit,
        most_bytes,
    )
    return [rows.batch_row(row[RESULT_WIDTH:], rows.result(row[:RESULT_WIDTH])) for row in map(tuple, found)]


_FITS = """select w.*, sum(octet_length(t.body)) over (
                      order by w.{order} rows between unbounded preceding and 1 preceding) as before
             from w left join lateral (select body from result t where t.seq = w.request_seq offset 0) t on true"""
_ALL = "select w.*, null::bigint as before from w"
_RESULT = """t.status, t.content_type, t.body, t.blob, t.size,
             (select json_agg(json_build_array(a.position, a.name, a.blob, a.content_type, a.size, a.digest))
                from attachment a where a.seq = t.seq and a.role = 'output')"""
_RECORD = """r.id, r.tenant, r.queue, r.operation, r.path, r.model, r.status, r.priority, r.attempt, r.max_attempts,
             r.created_at, r.started_at, r.ended_at, r.due_at, r.deadline, r.purge_at, r.progress, r.progress_message,
             r.webhook_url, r.purged, (select m.body from metadata m where m.seq = r.seq) as metadata, t.error, t.usage,
             (select b.id from batch b where b.seq = $1) as batch, r.webhook_events, r.webhook_result, r.seq"""
"""The view `record`, without looking up again what is at hand: a million rows are read like this."""
_NOTHING = "null::integer, null::text, null::bytea, null::text, null::bigint, null::text"

"""Lines of a batch become requests: one bite in one transaction, by five statements or six."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from raincheck.core.batches import Cursor, NewRow
from raincheck.core.errors import AttachmentGone, FenceLost
from raincheck.core.model import Fence, NewRequest
from raincheck.core.outcome import RequestError
from raincheck.store import rows
from raincheck.store.arriving import refused
from raincheck.store.postgres import holders, tallies
from raincheck.store.postgres.arrivals import Arrival, enter
from raincheck.store.postgres.database import Transaction
from raincheck.store.postgres.texts import clean, holds, unwritable, writable


class Line(NamedTuple):
    """One line as it is written down: it has become a request, or is refused and ends at once."""

    line: int
    custom_id: str
    seq: int | None = None
    error: RequestError | None = None


async def feed(tx: Transaction, fence: Fence, lines: Sequence[NewRow], cursor: Cursor) -> None:
    """Make requests of lines and move the cursor. Raises FenceLost."""
    batch = await tx.one(
        """select seq, moment($4), array(select nextval('request_seq_seq') from generate_series(1, $3::integer))
             from batch where id = $1 and fence = $2 and worker is not null and status = 'in_progress'""",
        *fence,
        len(lines),
        tx.at,
    )
    if batch is None:
        raise FenceLost
    batch_seq, now, numbers = batch
    blobs = [each.blob for line in lines if line.request for each in line.request.attachments]
    bodies = await holders.there(tx, blobs) if blobs else frozenset[str]()
    taken, arrivals = list[Line](), list[Arrival]()
    for seq, (number, custom_id, new, error) in zip(numbers, lines, strict=True):
        name = _name(custom_id, number)
        if new is None or (error := _refusal(new, bodies)) is not None:
            taken.append(Line(number, name, error=error))
        else:
            taken.append(Line(number, name, seq))
            arrivals.append(Arrival(seq, new, number))
    await enter(tx, arrivals, now=now, batch_seq=batch_seq)
    await _note(tx, fence, taken, Counter(clean(line.request.queue) for line in lines if line.request), cursor)


def _refusal(new: NewRequest, bodies: frozenset[str]) -> RequestError | None:
    if not writable(new):
        return refused(unwritable())
    if any(each.blob not in bodies for each in new.attachments):
        return refused(AttachmentGone())
    return None


def _name(custom_id: str, number: int) -> str:
    """A custom id as PostgreSQL's text can hold it; what has to be mended is told apart by its line."""
    return custom_id if holds(custom_id) else f"{clean(custom_id)} (line {number})"


async def _note(tx: Transaction, fence: Fence, taken: Sequence[Line], queues: Counter[str], cursor: Cursor) -> None:
    """Count and list the lines on their batch, if the fence still holds."""
    refused = [line.line for line in taken if line.seq is None]
    places = {number: place for place, number in enumerate(refused, 1)}
    row = await tx.one(
        """with fed as (
               update batch
                  set fed = fed + $3, failed = failed + $4, next_part = $5, next_offset = $6, next_line = $7
                where id = $1 and fence = $2 and worker is not null and status = 'in_progress'
               returning seq, completed + failed + cancelled + expired as ended, sealed, total, total - fed as rest
           ), queues as (
               -- A line that is no request after all had a queue, but nobody knows which: that is made up for when the
               -- last one is fed.
               update batch_queue q
                  set unfed = case when f.rest = 0 then 0 else greatest(q.unfed - coalesce(n.fed, 0), 0) end
                 from fed f
                 join batch_queue o on o.batch_seq = f.seq
                 left join unnest($8::text[], $9::bigint[]) as n (queue, fed) on n.queue = o.queue
                where q.batch_seq = o.batch_seq and q.queue = o.queue and o.unfed > 0
                  and (f.rest = 0 or n.queue is not null)
           ), listed as (
               insert into batch_row (batch_seq, line, custom_id, request_seq, ended, error)
               select f.seq, n.line, n.custom_id, n.request_seq, f.ended - $4 + n.place, n.error
                 from fed f, unnest($10::bigint[], $11::text[], $12::bigint[], $13::bigint[], $14::text[])
                             as n (line, custom_id, request_seq, place, error)
               on conflict (batch_seq, line) do update
                  set request_seq = excluded.request_seq, ended = excluded.ended, error = excluded.error
           )
           select seq, sealed and ended = total from fed""",
        *fence,
        len(taken),
        len(refused),
        *cursor,
        list(queues),
        list(queues.values()),
        [line.line for line in taken],
        [line.custom_id for line in taken],
        [line.seq for line in taken],
        [places.get(line.line) for line in taken],
        [rows.error_text(line.error) for line in taken],
    )
    if row is None:
        raise FenceLost
    if row[1]:
        await tallies.finalize(tx, [row[0]])

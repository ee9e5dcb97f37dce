"""What a batch counts as its rows end: how many, in which order, and what they used.

The row of a batch is where all its rows' ends meet. It is locked as the last thing that a transaction does, so whoever
waits for it holds it up no longer than the commit takes, and the numbers it gives are in the order of commits.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import astuple

from raincheck.core.batches import Usage
from raincheck.core.status import Status

if TYPE_CHECKING:
    from raincheck.store.postgres.database import Transaction


class RowEnd(NamedTuple):
    """A row of a batch that ends in this transaction."""

    batch_seq: int
    line: int
    status: Status
    usage: Usage


async def count(tx: "Transaction") -> None:
    """Count the rows that ended on their batches, number them, and finalize the batches of which they were the last."""
    ended, tx.rows_ended = tx.rows_ended, []
    if not ended:
        return
    sums = {seq: Usage() for seq in sorted({row.batch_seq for row in ended})}
    for row in ended:
        sums[row.batch_seq] += row.usage
    ends = Counter((row.batch_seq, row.status) for row in ended)
    used = list(zip(*(astuple(usage) for usage in sums.values()), strict=True))
    counted = await tx.all(
        """with n as materialized (
               select * from unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
                                    $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
                        as n (seq, completed, failed, cancelled, expired, input_tokens, cached_tokens, output_tokens,
                              reasoning_tokens, total_tokens, cost_ticks)
           ), held as materialized (
               select b.seq from n join batch b on b.seq = n.seq order by b.seq for update of b
           ), counted as (
               update batch b
                  set completed = b.completed + n.completed, failed = b.failed + n.failed,
                      cancelled = b.cancelled + n.cancelled, expired = b.expired + n.expired,
                      input_tokens = b.input_tokens + n.input_tokens, cached_tokens = b.cached_tokens + n.cached_tokens,
                      output_tokens = b.output_tokens + n.output_tokens,
                      reasoning_tokens = b.reasoning_tokens + n.reasoning_tokens,
                      total_tokens = b.total_tokens + n.total_tokens, cost_ticks = b.cost_ticks + n.cost_ticks
                 from n join held h on h.seq = n.seq
                where b.seq = n.seq and b.ended_at is null
               returning b.seq, b.completed + b.failed + b.cancelled + b.expired as ended, b.total, b.sealed, b.status,
                         n.completed + n.failed + n.cancelled + n.expired as now
           ), numbered as (
               update batch_row r set ended = c.ended - c.now + e.number
                 from unnest($12::bigint[], $13::bigint[], $14::bigint[]) as e (batch_seq, line, number)
                 join counted c on c.seq = e.batch_seq
                where r.batch_seq = e.batch_seq and r.line = e.line
           )
           select seq from counted where sealed and status = 'in_progress' and ended = total""",
        list(sums),
        *([ends[seq, status] for seq in sums] for status in (Status.COMPLETED, Status.FAILED)),
        *([ends[seq, status] for seq in sums] for status in (Status.CANCELLED, Status.EXPIRED)),
        *(list(column) for column in used),
        [row.batch_seq for row in ended],
        [row.line for row in ended],
        _numbers(ended),
    )
    if counted:
        await finalize(tx, [seq for (seq,) in counted])


def _numbers(ended: Sequence[RowEnd]) -> list[int]:
    """The place of each among those of its batch that end in this transaction, from 1."""
    so_far = Counter[int]()
    numbers = list[int]()
    for row in ended:
        so_far[row.batch_seq] += 1
        numbers.append(so_far[row.batch_seq])
    return numbers


async def finalize(tx: "Transaction", seqs: Sequence[int]) -> None:
    """All lines of these batches, which are locked, have ended: whoever feeds them has lost the lease, and they are due
    at once. What the window's end has ended is expired, whether a row or the batch was met first."""
    found = await tx.all(
        """update batch
              set status = 'finalizing', finalizing_at = moment($2), due_at = moment($2), worker = null,
                  ends_as = case when expires_at <= moment($2) then 'expired' else 'completed' end
            where seq = any($1::bigint[])
        returning id""",
        seqs,
        tx.at,
    )
    tx.batches.update(batch_id for (batch_id,) in found)

"""What a batch knows of its rows: how many ended how, in which order, and that none is left."""

from collections.abc import Sequence

from raincheck.core.batches import Usage
from raincheck.core.status import Status
from raincheck.store.sqlite.database import Transaction

NO_USAGE = Usage()


def count_end(
    tx: Transaction, batch_seq: int, status: Status, lines: Sequence[int | None], usage: Usage = NO_USAGE
) -> None:
    """Count and number rows that end in this way, in order. The last of a sealed batch finalizes it."""
    [(ended, over)] = tx.all(
        f"""update batch
               set {status.value} = {status.value} + ?, input_tokens = input_tokens + ?,
                   cached_tokens = cached_tokens + ?, output_tokens = output_tokens + ?,
                   reasoning_tokens = reasoning_tokens + ?, total_tokens = total_tokens + ?, cost_ticks = cost_ticks + ?
             where seq = ?
         returning completed + failed + cancelled + expired,
                   sealed and status = 'in_progress' and completed + failed + cancelled + expired = total""",  # noqa: S608 - words of ours
        len(lines),
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.total_tokens,
        usage.cost_ticks,
        batch_seq,
    )
    tx.run_many(
        "update batch_row set ended = ? where batch_seq = ? and line = ?",
        [(ended - len(lines) + number, batch_seq, line) for number, line in enumerate(lines, 1)],
    )
    if over:
        finalize(tx, batch_seq)


def finalize(tx: Transaction, batch_seq: int) -> None:
    """Nothing is left to wait for: whoever feeds it has lost the lease, and it is due at once.

    What the window's end has ended is expired, whether a row or the batch was met first.
    """
    for (batch_id,) in tx.all(
        """update batch
              set status = 'finalizing', ends_as = case when expires_at <= ?1 then 'expired' else 'completed' end,
                  finalizing_at = ?1, due_at = ?1, worker = null
            where seq = ?2 returning id""",
        tx.now,
        batch_seq,
    ):
        tx.batches.add(batch_id)

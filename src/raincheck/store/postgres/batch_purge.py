"""Forgetting batches that were kept long enough, in bites: first where their lines are, then which those were."""

from raincheck.store.postgres import holders
from raincheck.store.postgres.database import Transaction


async def forget_parts(tx: Transaction, *, limit: int) -> int:
    """Let go of up to `limit` parts of batches whose time is over; returns how many."""
    gone = await tx.all(
        """with old as materialized (
               select p.batch_seq, p.position
                 from (select seq from batch where purge_at <= moment($1) order by purge_at limit $2) b
                 join batch_part p on p.batch_seq = b.seq
                limit $2 for update of p skip locked)
           delete from batch_part p using old where p.batch_seq = old.batch_seq and p.position = old.position
        returning p.blob""",
        tx.at,
        limit,
    )
    await holders.release(tx, [blob for (blob,) in gone if blob is not None])
    return len(gone)


async def forget_batches(tx: Transaction, *, limit: int) -> int:
    """Let go of up to `limit` lines of batches whose parts are gone, and of the batches that have none any more;
    returns how many lines and batches those were."""
    due = await tx.all(
        """select seq from batch
            where purge_at <= moment($1) and not exists (select 1 from batch_part p where p.batch_seq = batch.seq)
            order by purge_at limit $2 for update skip locked""",
        tx.at,
        limit,
    )
    taken = 0
    for (seq,) in due:
        taken += await _forget(tx, seq, limit - taken)
        if taken == limit:
            break
    return taken


async def _forget(tx: Transaction, seq: int, limit: int) -> int:
    lines = await tx.all(
        """with old as materialized (select line from batch_row where batch_seq = $1 order by line limit $2)
           delete from batch_row r using old where r.batch_seq = $1 and r.line = old.line returning 1""",
        seq,
        limit,
    )
    if len(lines) == limit:
        return limit
    await tx.run("delete from batch_queue where batch_seq = $1", seq)
    await tx.run("delete from event where batch_seq = $1", seq)
    await tx.run("delete from batch where seq = $1", seq)
    return len(lines) + 1

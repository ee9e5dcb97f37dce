"""Where the lines of a batch are, in PostgreSQL."""

from raincheck.core.batches import Body
from raincheck.store.postgres import holders
from raincheck.store.postgres.database import Transaction


async def put_part(
    tx: Transaction, seq: int, first_line: int, lines: int | None, body: Body, *, repeat_key: str | None = None
) -> None:
    """Write down where lines are, behind the part that was last; their body, where it is apart, is held."""
    await tx.run(
        """insert into batch_part (batch_seq, position, first_line, lines, size, digest, blob, body, repeat_key)
           values ($1, (select coalesce(max(position), -1) + 1 from batch_part where batch_seq = $1),
                   $2, $3, $4, $5, $6, $7, $8)""",
        seq,
        first_line,
        lines,
        body.size,
        body.digest,
        body.blob,
        body.text,
        repeat_key,
    )
    if body.blob is not None:
        await holders.hold(tx, {body.blob: 1})

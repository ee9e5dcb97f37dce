"""What holds bodies in the object store: a result, an attachment, a file; the last that lets go dooms the body.

Rows of `blob` are locked in the order of their names, all that a transaction needs by one statement.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from raincheck.core.model import Attachment
from raincheck.store.postgres.database import Transaction


async def there(tx: Transaction, blobs: Iterable[str]) -> frozenset[str]:
    """Which of these bodies can still be held, as they were noted and are not up for deletion; they stay so.

    By the clock on the wall, and not by the start of the transaction: who let go of one meanwhile has doomed it.
    """
    found = await tx.all(
        """with held as materialized (
               select name, doomed_at from blob where name = any($1::text[]) order by name for update)
           select name from held
            where doomed_at is null
               or doomed_at > coalesce($2, (extract(epoch from clock_timestamp()) * 1000000)::bigint)""",
        sorted(set(blobs)),
        tx.at,
    )
    return frozenset(name for (name,) in found)


async def hold(tx: Transaction, blobs: Mapping[str, int]) -> None:
    """So many more hold them, so they are not doomed."""
    await tx.run(
        """insert into blob as b (name, holders) select name, holders from unnest($1::text[], $2::integer[])
                  as n (name, holders) order by name
           on conflict (name) do update set holders = b.holders + excluded.holders, doomed_at = null""",
        list(blobs),
        list(blobs.values()),
    )


async def release(tx: Transaction, blobs: Iterable[str]) -> None:
    """One holder less for each mention."""
    released = Counter(blobs)
    if not released:
        return
    await tx.run(
        """with held as materialized (
               select b.name, n.holders
                 from unnest($1::text[], $2::integer[]) as n (name, holders) join blob b on b.name = n.name
                order by b.name
                  for update of b)
           update blob b
              set holders = greatest(b.holders - h.holders, 0),
                  doomed_at = case when b.holders <= h.holders then moment($3) else b.doomed_at end
             from held h where b.name = h.name""",
        list(released),
        list(released.values()),
        tx.at,
    )


async def attach(tx: Transaction, attached: Sequence[tuple[int, Sequence[Attachment]]]) -> None:
    """Write down the files that belong to requests, by their numbers. Their bodies are held by whoever calls."""
    lines = [(seq, position, each) for seq, some in attached for position, each in enumerate(some)]
    if not lines:
        return
    await tx.run(
        """insert into attachment (seq, role, position, name, blob, content_type, size, digest)
           select seq, role, position, name, blob, content_type, size, digest
             from unnest($1::bigint[], $2::text[], $3::integer[], $4::text[], $5::text[], $6::text[], $7::bigint[],
                         $8::text[]) as n (seq, role, position, name, blob, content_type, size, digest)""",
        [seq for seq, _, _ in lines],
        [each.role for _, _, each in lines],
        [position for _, position, _ in lines],
        [each.name for _, _, each in lines],
        [each.blob for _, _, each in lines],
        [each.content_type for _, _, each in lines],
        [each.size for _, _, each in lines],
        [each.digest for _, _, each in lines],
    )

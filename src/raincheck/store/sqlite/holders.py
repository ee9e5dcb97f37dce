"""What holds bodies in the object store: a result, an attachment, a file; the last that lets go dooms the body."""

from collections.abc import Iterable, Sequence

from raincheck.core.errors import AttachmentGone
from raincheck.core.model import Attachment
from raincheck.store.sqlite.database import Transaction


def gone(tx: Transaction, attachments: Iterable[Attachment]) -> AttachmentGone | None:
    """The refusal when the body of one of these may have been deleted already."""
    for attachment in attachments:
        if not is_there(tx, attachment.blob):
            return AttachmentGone()
    return None


def is_there(tx: Transaction, blob: str) -> bool:
    """Whether a body can still be held: it was noted, and is not up for deletion."""
    row = tx.one("select 1 from blob where name = ? and (doomed_at is null or doomed_at > ?)", blob, tx.now)
    return row is not None


def hold(tx: Transaction, blob: str) -> None:
    """One more holds it, so it is not doomed."""
    tx.run(
        """insert into blob (name, holders) values (?, 1)
           on conflict do update set holders = holders + 1, doomed_at = null""",
        (blob,),
    )


def release(tx: Transaction, blobs: Iterable[str]) -> None:
    """One holder less for each mention."""
    for blob in blobs:
        tx.run(
            """update blob
                  set holders = max(holders - 1, 0), doomed_at = case when holders <= 1 then ? else doomed_at end
                where name = ?""",
            (tx.now, blob),
        )


def attach(tx: Transaction, seq: int, attachments: Sequence[Attachment]) -> None:
    """Write down files that belong to a request, and hold their bodies."""
    for position, each in enumerate(attachments):
        tx.run(
            """insert into attachment (seq, role, position, name, blob, content_type, size, digest)
               values (?, ?, ?, ?, ?, ?, ?, ?)""",
            (seq, each.role, position, each.name, each.blob, each.content_type, each.size, each.digest),
        )
        hold(tx, each.blob)


def inputs(tx: Transaction, seq: int) -> tuple[Attachment, ...]:
    """The files that were given with a request."""
    found = tx.all(
        """select role, name, blob, content_type, size, digest from attachment
            where seq = ? and role = 'input' order by position""",
        seq,
    )
    return tuple(Attachment(*row) for row in found)

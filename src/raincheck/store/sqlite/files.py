"""What tenants have uploaded, in SQLite."""

from raincheck.core.errors import AttachmentGone
from raincheck.core.model import File, FilePage
from raincheck.store import rows
from raincheck.store.sqlite.database import Database, Row, Transaction
from raincheck.store.sqlite.holders import hold, is_there, release


class SqliteFiles:
    """See `protocol.Files`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: File) -> None:
        def write(tx: Transaction) -> None:
            if not is_there(tx, file.blob):
                raise AttachmentGone
            insert_file(tx, file)

        await self._database.write(write)

    async def get(self, tenant: str, file_id: str) -> File:
        row = self._database.one(
            """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
                 from file where id = ? and tenant = ? and (expires_at is null or expires_at > ?)""",
            file_id,
            tenant,
            self._database.now(),
        )
        if row is None:
            raise rows.unknown_file(file_id)
        return rows.file(row)

    async def list(
        self, tenant: str, *, purpose: str | None = None, after: str | None = None, limit: int = 20, newest: bool = True
    ) -> FilePage:
        start = rows.MAX_SEQ if newest else 0
        if after is not None:
            row = self._database.one("select seq from file where id = ? and tenant = ?", after, tenant)
            if row is None:
                raise rows.unknown_file(after)
            start = row[0]
        found = await (_newest if newest else _oldest)(self._database, tenant, purpose, start, limit + 1)
        return FilePage([rows.file(row) for row in found[:limit]], len(found) > limit)

    async def delete(self, tenant: str, file_id: str) -> None:
        def write(tx: Transaction) -> None:
            row = tx.one(
                """delete from file where id = ? and tenant = ? and (expires_at is null or expires_at > ?)
                returning blob""",
                file_id,
                tenant,
                tx.now,
            )
            if row is None:
                raise rows.unknown_file(file_id)
            release(tx, [row[0]])

        await self._database.write(write)


def insert_file(tx: Transaction, file: File) -> None:
    """Write down a file whose body is there, and hold that."""
    tx.run(
        """insert into file (id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            file.id,
            file.tenant,
            file.filename,
            file.purpose,
            file.content_type,
            file.size,
            file.digest,
            file.blob,
            file.created_at,
            file.expires_at,
        ),
    )
    hold(tx, file.blob)


# Two statements for each direction, because each has an index that makes it cheap at any size.


async def _newest(source: Database, tenant: str, purpose: str | None, below: int, limit: int) -> list[Row]:
    if purpose is None:
        return await source.read_apart(
            """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
                 from file where tenant = ? and seq < ? and (expires_at is null or expires_at > ?)
                order by seq desc limit ?""",
            (tenant, below, source.now(), limit),
        )
    return await source.read_apart(
        """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
             from file where tenant = ? and purpose = ? and seq < ? and (expires_at is null or expires_at > ?)
            order by seq desc limit ?""",
        (tenant, purpose, below, source.now(), limit),
    )


async def _oldest(source: Database, tenant: str, purpose: str | None, above: int, limit: int) -> list[Row]:
    if purpose is None:
        return await source.read_apart(
            """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
                 from file where tenant = ? and seq > ? and (expires_at is null or expires_at > ?)
                order by seq limit ?""",
            (tenant, above, source.now(), limit),
        )
    return await source.read_apart(
        """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
             from file where tenant = ? and purpose = ? and seq > ? and (expires_at is null or expires_at > ?)
            order by seq limit ?""",
        (tenant, purpose, above, source.now(), limit),
    )

"""What tenants have uploaded, in PostgreSQL."""

from collections import Counter
from collections.abc import Sequence

from raincheck.core.errors import AttachmentGone, BadInput
from raincheck.core.model import File, FilePage
from raincheck.store import rows
from raincheck.store.postgres import holders
from raincheck.store.postgres.database import Database, Row, Transaction
from raincheck.store.postgres.texts import holds


class PostgresFiles:
    """See `protocol.Files`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: File) -> None:
        if not holds(file.id, file.tenant, file.filename, file.purpose, file.content_type, file.blob):
            raise BadInput("The file's name or type has a NUL or half a surrogate pair; remove it.")

        async def write(tx: Transaction) -> None:
            if not await holders.there(tx, [file.blob]):
                raise AttachmentGone
            await insert(tx, [file])

        await self._database.write(write)

    async def get(self, tenant: str, file_id: str) -> File:
        _check_id(tenant, file_id)
        row = await self._database.one(
            """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
                 from file
                where id = $1 and (tenant = $2) is true and (expires_at is null or expires_at > moment($3))""",
            file_id,
            tenant,
            self._database.at,
        )
        if row is None:
            raise rows.unknown_file(file_id)
        return rows.file(row)

    async def list(
        self, tenant: str, *, purpose: str | None = None, after: str | None = None, limit: int = 20, newest: bool = True
    ) -> FilePage:
        start = rows.MAX_SEQ if newest else 0
        if after is not None:
            _check_id(tenant, after)
            row = await self._database.one(
                "select seq from file where id = $1 and (tenant = $2) is true", after, tenant
            )
            if row is None:
                raise rows.unknown_file(after)
            start = row[0]
        if not holds(tenant, purpose):
            return FilePage([], has_more=False)
        found = await (_newest if newest else _oldest)(self._database, tenant, purpose, start, limit + 1)
        return FilePage([rows.file(row) for row in found[:limit]], len(found) > limit)

    async def delete(self, tenant: str, file_id: str) -> None:
        _check_id(tenant, file_id)

        async def write(tx: Transaction) -> None:
            row = await tx.one(
                """delete from file
                    where id = $1 and tenant = $2 and (expires_at is null or expires_at > moment($3)) returning blob""",
                file_id,
                tenant,
                tx.at,
            )
            if row is None:
                raise rows.unknown_file(file_id)
            await holders.release(tx, [row[0]])

        await self._database.write(write)


async def insert(tx: Transaction, files: Sequence[File]) -> None:
    """Write down files whose bodies are there, and hold those."""
    for file in files:
        await tx.run(
            """insert into file (id, tenant, filename, purpose, content_type, size, digest, blob, created_at,
                                 expires_at)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)""",
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
        )
    if files:
        await holders.hold(tx, Counter(file.blob for file in files))


async def forget_expired(tx: Transaction, limit: int) -> int:
    """Let go of up to `limit` files whose time is over; returns how many."""
    expired = await tx.all(
        """with old as materialized (
               select seq from file where expires_at <= moment($1)
                order by expires_at limit $2 for update skip locked)
           delete from file f using old where f.seq = old.seq returning f.blob""",
        tx.at,
        limit,
    )
    await holders.release(tx, [blob for (blob,) in expired])
    return len(expired)


def _check_id(tenant: str, file_id: str) -> None:
    """Raise NotFound for what no file can be called."""
    if not holds(tenant, file_id):
        raise rows.unknown_file(file_id)


# Two statements for each direction, because each has an index that makes it cheap at any size; rows are compared,
# because an equal tenant would leave the planner free to walk through everyone's by their number.


async def _newest(source: Database, tenant: str, purpose: str | None, below: int, limit: int) -> list[Row]:
    if purpose is None:
        return await source.read_apart(
            """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
                 from file
                where (tenant, seq) < ($1, $2::bigint) and (tenant, seq) >= ($1, 0)
                  and (expires_at is null or expires_at > moment($3))
                order by tenant desc, seq desc limit $4""",
            tenant,
            below,
            source.at,
            limit,
        )
    return await source.read_apart(
        """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
             from file
            where (tenant, purpose, seq) < ($1, $2, $3::bigint) and (tenant, purpose, seq) >= ($1, $2, 0)
              and (expires_at is null or expires_at > moment($4))
            order by tenant desc, purpose desc, seq desc limit $5""",
        tenant,
        purpose,
        below,
        source.at,
        limit,
    )


async def _oldest(source: Database, tenant: str, purpose: str | None, above: int, limit: int) -> list[Row]:
    if purpose is None:
        return await source.read_apart(
            """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
                 from file
                where (tenant, seq) > ($1, $2::bigint) and (tenant, seq) <= ($1, $3)
                  and (expires_at is null or expires_at > moment($4))
                order by tenant, seq limit $5""",
            tenant,
            above,
            rows.MAX_SEQ,
            source.at,
            limit,
        )
    return await source.read_apart(
        """select id, tenant, filename, purpose, content_type, size, digest, blob, created_at, expires_at
             from file
            where (tenant, purpose, seq) > ($1, $2, $3::bigint) and (tenant, purpose, seq) <= ($1, $2, $4)
              and (expires_at is null or expires_at > moment($5))
            order by tenant, purpose, seq limit $6""",
        tenant,
        purpose,
        above,
        rows.MAX_SEQ,
        source.at,
        limit,
    )

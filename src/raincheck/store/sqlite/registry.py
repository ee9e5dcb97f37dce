"""Tenants, their keys, and queues, in SQLite."""

from raincheck.core.errors import NotFound
from raincheck.core.model import ApiKey, Queue, Tenant
from raincheck.store.sqlite.database import Database, Row, Transaction


class SqliteRegistry:
    """See `protocol.Registry`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put_tenant(self, tenant: Tenant) -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert or replace into tenant (name, weight, max_pending, max_body_bytes) values (?, ?, ?, ?)""",
                (tenant.name, tenant.weight, tenant.max_pending, tenant.max_body_bytes),
            )

        await self._database.write(write)

    async def tenant(self, name: str) -> Tenant:
        row = self._database.one("select name, weight, max_pending, max_body_bytes from tenant where name = ?", name)
        return Tenant(*row) if row else Tenant(name)

    async def add_key(self, key: ApiKey, digest: bytes) -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert into api_key (id, tenant, name, hint, scopes, digest, created_at, revoked_at)
                   values (?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    key.id,
                    key.tenant,
                    key.name,
                    key.hint,
                    " ".join(sorted(key.scopes)),
                    digest,
                    key.created_at,
                    key.revoked_at,
                ),
            )

        await self._database.write(write)

    async def find_key(self, digest: bytes) -> ApiKey | None:
        row = self._database.one(
            """select id, tenant, name, hint, scopes, created_at, revoked_at
                 from api_key where digest = ? and revoked_at is null""",
            digest,
        )
        return _key(row) if row else None

    async def keys(self) -> list[ApiKey]:
        found = self._database.all(
            "select id, tenant, name, hint, scopes, created_at, revoked_at from api_key order by created_at, id"
        )
        return [_key(row) for row in found]

    async def revoke_key(self, key_id: str) -> ApiKey:
        def write(tx: Transaction) -> ApiKey:
            row = tx.one(
                """update api_key set revoked_at = coalesce(revoked_at, ?) where id = ?
                returning id, tenant, name, hint, scopes, created_at, revoked_at""",
                tx.now,
                key_id,
            )
            if row is None:
                raise NotFound(f"No API key {key_id!r}; `raincheck keys list` shows them.")
            return _key(row)

        return await self._database.write(write)

    async def queues(self) -> list[Queue]:
        found = await self._database.read_apart(
            """select name, (select coalesce(sum(pending), 0) from flow where queue = name),
                      (select count(*) from request where queue = name and status = 'processing'),
                      max_concurrency, paused_until, pause_reason
                 from queue order by name"""
        )
        return [
            Queue(
                name=name,
                pending=pending,
                processing=processing,
                max_concurrency=cap,
                paused_until=paused_until,
                pause_reason=reason,
            )
            for name, pending, processing, cap, paused_until, reason in found
        ]

    async def set_queue(self, name: str, *, max_concurrency: int | None) -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert into queue (name, max_concurrency) values (?, ?)
                   on conflict do update set max_concurrency = excluded.max_concurrency""",
                (name, max_concurrency),
            )
            tx.ready.add(name)

        await self._database.write(write)

    async def pause_queue(self, name: str, *, until: int | None, reason: str = "paused by an operator") -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert into queue (name, paused_until, pause_reason) values (?, ?, ?)
                   on conflict do update
                      set paused_until = excluded.paused_until, pause_reason = excluded.pause_reason""",
                (name, until, reason if until is not None else None),
            )
            tx.ready.add(name)

        await self._database.write(write)


def _key(row: Row) -> ApiKey:
    id_, tenant, name, hint, scopes, created_at, revoked_at = row
    return ApiKey(
        id=id_,
        tenant=tenant,
        name=name,
        hint=hint,
        scopes=frozenset(scopes.split()),
        created_at=created_at,
        revoked_at=revoked_at,
    )

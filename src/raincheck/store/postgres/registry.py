"""Tenants, their keys, queues, limits and workers, in PostgreSQL."""

from secrets import token_bytes

from raincheck.core.adaptive import FIRST_LEVEL
from raincheck.core.clock import MINUTE
from raincheck.core.errors import NotFound
from raincheck.core.model import ApiKey, Limits, Queue, Scope, Tenant, Throttle, Worker
from raincheck.store import rows
from raincheck.store.postgres.database import Database, Transaction

SEEN_OF_LATE = 10 * MINUTE
"""How long a worker that is not heard of any more, and holds nothing, is still shown."""


class PostgresRegistry:
    """See `protocol.Registry`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def secret(self, name: str) -> bytes:
        row = await self._database.one("select value from secret where name = $1", name)
        return row[0] if row else await self._database.write(lambda tx: _made(tx, name))

    async def put_tenant(self, tenant: Tenant) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into tenant (name, weight, max_pending, max_running, max_body_bytes)
                   values ($1, $2, $3, $4, $5)
                   on conflict (name) do update
                      set weight = excluded.weight, max_pending = excluded.max_pending,
                          max_running = excluded.max_running, max_body_bytes = excluded.max_body_bytes""",
                tenant.name,
                tenant.weight,
                tenant.max_pending,
                tenant.max_running,
                tenant.max_body_bytes,
            )
            # The cap may have been raised.
            tx.ready.update(row[0] for row in await tx.all("select queue from parked where tenant = $1", tenant.name))

        await self._database.write(write)

    async def tenant(self, name: str) -> Tenant:
        row = await self._database.one(
            "select name, weight, max_pending, max_running, max_body_bytes from tenant where name = $1", name
        )
        return Tenant(*row) if row else Tenant(name)

    async def tenants(self) -> list[Tenant]:
        found = await self._database.read_apart(
            """select name, coalesce(weight, 1.0), max_pending, max_running, max_body_bytes
                 from (select name from tenant union select tenant from api_key) as known left join tenant using (name)
                order by name"""
        )
        return [Tenant(*row) for row in found]

    async def add_key(self, key: ApiKey, digest: bytes) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into api_key (id, tenant, name, hint, scopes, digest, created_at, revoked_at)
                   values ($1, $2, $3, $4, $5, $6, $7, $8)""",
                key.id,
                key.tenant,
                key.name,
                key.hint,
                " ".join(sorted(key.scopes)),
                digest,
                key.created_at,
                key.revoked_at,
            )

        await self._database.write(write)

    async def find_key(self, digest: bytes) -> ApiKey | None:
        row = await self._database.one(
            """select id, tenant, name, hint, scopes, created_at, revoked_at
                 from api_key where digest = $1 and revoked_at is null""",
            digest,
        )
        return rows.api_key(row) if row else None

    async def keys(self) -> list[ApiKey]:
        found = await self._database.all(
            "select id, tenant, name, hint, scopes, created_at, revoked_at from api_key order by created_at, id"
        )
        return [rows.api_key(row) for row in found]

    async def revoke_key(self, key_id: str) -> ApiKey:
        async def write(tx: Transaction) -> ApiKey:
            row = await tx.one(
                """update api_key set revoked_at = coalesce(revoked_at, moment($2)) where id = $1
                returning id, tenant, name, hint, scopes, created_at, revoked_at""",
                key_id,
                tx.at,
            )
            if row is None:
                raise NotFound(f"No API key {key_id!r}; `raincheck keys list` shows them.")
            return rows.api_key(row)

        return await self._database.write(write)

    async def queues(self) -> list[Queue]:
        found = await self._database.read_apart(
            """select q.name,
                      (select coalesce(sum(f.pending), 0)::bigint from flow f where f.queue = q.name),
                      (select count(*) from request r where r.queue = q.name and r.status = 'processing'),
                      (select r.created_at from request r
                        where r.queue = q.name and r.status = 'pending' and r.due_at is null
                        order by r.queue, r.priority, r.tag, r.seq limit 1),
                      case when q.held_until > moment($1) then q.held_until end,
                      case when q.held_until > moment($1) then q.held_reason end
                 from queue q order by q.name collate "C" """,
            self._database.at,
        )
        return [rows.queue(row) for row in found]

    async def throttles(self, scope: Scope) -> list[Throttle]:
        found = await self._database.read_apart(
            """select t.name, t.max_concurrency, t.rpm, t.tpm, t.level,
                      case when t.scope = 'queue'
                           then (select count(*) from request r where r.queue = t.name and r.status = 'processing')
                           else (select count(*) from request r where r.upstream = t.name and r.status = 'processing')
                       end,
                      t.paused_until, t.pause_reason, coalesce(t.paused_until > moment($2), false)
                 from throttle t
                where t.scope = $1
                  and (coalesce(t.max_concurrency, t.rpm, t.tpm, t.level) is not null or t.paused_until > moment($2))
                order by t.name collate "C" """,
            scope,
            self._database.at,
        )
        return [rows.throttle(scope, row) for row in found]

    async def set_limits(self, scope: Scope, name: str, limits: Limits) -> None:
        cap = limits.max_concurrency

        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into throttle as t (scope, name, max_concurrency, rpm, tpm, level)
                   values ($1, $2, $3, $4, $5, $6)
                   on conflict (scope, name) do update
                      set max_concurrency = excluded.max_concurrency, rpm = excluded.rpm, tpm = excluded.tpm,
                          level = case when excluded.level is not null then coalesce(t.level, excluded.level) end""",
                scope,
                name,
                None if cap == "auto" else cap,
                limits.rpm,
                limits.tpm,
                FIRST_LEVEL if cap == "auto" else None,
            )
            await _changed(tx, scope, name)

        await self._database.write(write)

    async def pause(self, scope: Scope, name: str, *, until: int | None, reason: str = "paused by an operator") -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into throttle (scope, name, paused_until, pause_reason) values ($1, $2, $3, $4)
                   on conflict (scope, name) do update
                      set paused_until = excluded.paused_until, pause_reason = excluded.pause_reason""",
                scope,
                name,
                until,
                reason if until is not None else None,
            )
            await _changed(tx, scope, name)

        await self._database.write(write)

    async def put_worker(self, worker: Worker) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run(
                """insert into worker (name, host, pid, version, started_at, seen_at)
                   values ($1, $2, $3, $4, $5, moment($6))
                   on conflict (name) do update
                      set host = excluded.host, pid = excluded.pid, version = excluded.version,
                          started_at = excluded.started_at, seen_at = excluded.seen_at""",
                worker.name,
                worker.host,
                worker.pid,
                worker.version,
                worker.started_at,
                tx.at,
            )

        await self._database.write(write, durable=False)

    async def workers(self) -> list[Worker]:
        found = await self._database.read_apart(
            """select coalesce(w.name, h.name) as name, coalesce(w.host, '') as host, coalesce(w.pid, 0) as pid,
                      coalesce(w.version, '') as version, coalesce(w.started_at, h.first_at) as started_at,
                      coalesce(w.seen_at, h.last_at) as seen_at, coalesce(h.running, 0) as running
                 from worker w
                 full join (select worker as name, count(*) as running, min(claimed_at) as first_at,
                                   max(claimed_at) as last_at
                              from request where status = 'processing' group by worker) h on h.name = w.name
                where h.running > 0 or w.seen_at > moment($1) - $2::bigint
                order by 1""",
            self._database.at,
            SEEN_OF_LATE,
        )
        return [Worker(**dict(row)) for row in found]

    async def drop_worker(self, name: str) -> None:
        async def write(tx: Transaction) -> None:
            await tx.run("delete from worker where name = $1", name)

        await self._database.write(write)


async def _made(tx: Transaction, name: str) -> bytes:
    await tx.run("insert into secret (name, value) values ($1, $2) on conflict do nothing", name, token_bytes(32))
    # Another process may have been first.
    [row] = await tx.all("select value from secret where name = $1", name)
    return row[0]


async def _changed(tx: Transaction, scope: Scope, name: str) -> None:
    """Forget what limits nothing any more, and say that there may be room now."""
    await tx.run(
        """delete from throttle
            where scope = $1 and name = $2 and coalesce(max_concurrency, rpm, tpm, level) is null
              and coalesce(paused_until, 0) <= moment($3)""",
        scope,
        name,
        tx.at,
    )
    # The next claim says anew whether something holds them; and if none comes, nothing untrue stays.
    await tx.run(
        """update queue set held_until = null, held_reason = null where name in (
               select name from queue where held_until is not null and ($1 = 'upstream' or name = $2)
                order by name for no key update)""",
        scope,
        name,
    )
    tx.freed = True
    if scope == "queue":
        tx.ready.add(name)

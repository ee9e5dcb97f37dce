"""Tenants, their keys, queues, limits and workers, in SQLite."""

from secrets import token_bytes

from raincheck.core.adaptive import FIRST_LEVEL
from raincheck.core.clock import MINUTE
from raincheck.core.errors import NotFound
from raincheck.core.model import ApiKey, Limits, Queue, Scope, Tenant, Throttle, Worker
from raincheck.store import rows
from raincheck.store.sqlite.database import Database, Transaction
from raincheck.store.sqlite.limits import changed

SEEN_OF_LATE = 10 * MINUTE
"""How long a worker that is not heard of any more, and holds nothing, is still shown."""


class SqliteRegistry:
    """See `protocol.Registry`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def secret(self, name: str) -> bytes:
        row = self._database.one("select value from secret where name = ?", name)
        return row[0] if row else await self._database.write(lambda tx: _made(tx, name))

    async def put_tenant(self, tenant: Tenant) -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert or replace into tenant (name, weight, max_pending, max_running, max_body_bytes)
                   values (?, ?, ?, ?, ?)""",
                (tenant.name, tenant.weight, tenant.max_pending, tenant.max_running, tenant.max_body_bytes),
            )
            # The cap may have been raised.
            tx.ready.update(queue for (queue,) in tx.all("select queue from parked where tenant = ?", tenant.name))

        await self._database.write(write)

    async def tenant(self, name: str) -> Tenant:
        row = self._database.one(
            "select name, weight, max_pending, max_running, max_body_bytes from tenant where name = ?", name
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
        return rows.api_key(row) if row else None

    async def keys(self) -> list[ApiKey]:
        found = self._database.all(
            "select id, tenant, name, hint, scopes, created_at, revoked_at from api_key order by created_at, id"
        )
        return [rows.api_key(row) for row in found]

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
            return rows.api_key(row)

        return await self._database.write(write)

    async def queues(self) -> list[Queue]:
        found = await self._database.read_apart(
            """select name, (select coalesce(sum(pending), 0) from flow where queue = name),
                      (select count(*) from request where queue = name and status = 'processing'),
                      (select created_at from request where queue = name and status = 'pending' and due_at is null
                        order by priority, tag, seq limit 1),
                      case when held_until > ?1 then held_until end, case when held_until > ?1 then held_reason end
                 from queue order by name""",
            (self._database.now(),),
        )
        return [rows.queue(row) for row in found]

    async def throttles(self, scope: Scope) -> list[Throttle]:
        found = await self._database.read_apart(
            """select name, max_concurrency, rpm, tpm, level,
                      case scope
                          when 'queue' then (select count(*) from request where queue = name and status = 'processing')
                          else (select count(*) from request where upstream = name and status = 'processing')
                      end,
                      paused_until, pause_reason, coalesce(paused_until, 0) > ?2
                 from throttle
                where scope = ?1
                  and (coalesce(max_concurrency, rpm, tpm, level) is not null or coalesce(paused_until, 0) > ?2)
                order by name""",
            (scope, self._database.now()),
        )
        return [rows.throttle(scope, row) for row in found]

    async def set_limits(self, scope: Scope, name: str, limits: Limits) -> None:
        cap = limits.max_concurrency

        def write(tx: Transaction) -> None:
            tx.run(
                """insert into throttle (scope, name, max_concurrency, rpm, tpm, level) values (?, ?, ?, ?, ?, ?)
                   on conflict do update
                      set max_concurrency = excluded.max_concurrency, rpm = excluded.rpm, tpm = excluded.tpm,
                          level = case when excluded.level is not null then coalesce(level, excluded.level) end""",
                (
                    scope,
                    name,
                    None if cap == "auto" else cap,
                    limits.rpm,
                    limits.tpm,
                    FIRST_LEVEL if cap == "auto" else None,
                ),
            )
            _open_up(tx, scope, name)

        await self._database.write(write)

    async def pause(self, scope: Scope, name: str, *, until: int | None, reason: str = "paused by an operator") -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert into throttle (scope, name, paused_until, pause_reason) values (?, ?, ?, ?)
                   on conflict do update
                      set paused_until = excluded.paused_until, pause_reason = excluded.pause_reason""",
                (scope, name, until, reason if until is not None else None),
            )
            _open_up(tx, scope, name)

        await self._database.write(write)

    async def put_worker(self, worker: Worker) -> None:
        def write(tx: Transaction) -> None:
            tx.run(
                """insert or replace into worker (name, host, pid, version, started_at, seen_at)
                   values (?, ?, ?, ?, ?, ?)""",
                (worker.name, worker.host, worker.pid, worker.version, worker.started_at, tx.now),
            )

        await self._database.write(write, durable=False)

    async def workers(self) -> list[Worker]:
        found = await self._database.read_apart(
            """select coalesce(w.name, h.name) as name, coalesce(host, ''), coalesce(pid, 0), coalesce(version, ''),
                      coalesce(started_at, first_at), coalesce(seen_at, last_at), coalesce(running, 0)
                 from worker w
                 full join (select worker as name, count(*) as running, min(claimed_at) as first_at,
                                   max(claimed_at) as last_at
                              from request where status = 'processing' group by worker) h on h.name = w.name
                where running > 0 or seen_at > ?""",
            (self._database.now() - SEEN_OF_LATE,),
        )
        workers = [
            Worker(
                name=name,
                host=host,
                pid=pid,
                version=version,
                started_at=started_at,
                seen_at=seen_at,
                running=running,
            )
            for name, host, pid, version, started_at, seen_at, running in found
        ]
        return sorted(workers, key=lambda worker: worker.name)

    async def drop_worker(self, name: str) -> None:
        def write(tx: Transaction) -> None:
            tx.run("delete from worker where name = ?", (name,))

        await self._database.write(write)


def _made(tx: Transaction, name: str) -> bytes:
    tx.run("insert or ignore into secret (name, value) values (?, ?)", (name, token_bytes(32)))
    [(value,)] = tx.all("select value from secret where name = ?", name)
    return value


def _open_up(tx: Transaction, scope: Scope, name: str) -> None:
    """Forget what limits nothing any more, and say that there may be room now."""
    tx.run(
        """delete from throttle
            where scope = ? and name = ? and coalesce(max_concurrency, rpm, tpm, level) is null
              and coalesce(paused_until, 0) <= ?""",
        (scope, name, tx.now),
    )
    # The next claim says anew whether something holds them; and if none comes, nothing untrue stays.
    tx.run(
        """update queue set held_until = null, held_reason = null
            where held_until is not null and (? = 'upstream' or name = ?)""",
        (scope, name),
    )
    changed(tx, scope, name)
    tx.freed = True
    if scope == "queue":
        tx.ready.add(name)

"""Where tenants want to be told of events, in PostgreSQL.

Whoever changes an endpoint locks its receiver first, as those do who claim for it (see `receivers`).
"""

from collections.abc import Mapping

from msgspec.structs import replace

from raincheck.core.errors import BadInput, TooManyEndpoints
from raincheck.core.webhooks import MOST_ENDPOINTS, Endpoint, EndpointChange, EndpointPage, SigningKey
from raincheck.store import rows
from raincheck.store.postgres import receivers
from raincheck.store.postgres.database import Database, Transaction
from raincheck.store.postgres.receivers import FRESH, Wake
from raincheck.store.postgres.texts import holds
from raincheck.store.telling import FORGOTTEN, key_owner

LOCK = 0x77686F6F
"""With the hash of a tenant's name: the advisory lock under which its endpoints are counted."""


class PostgresEndpoints:
    """See `outbox.Endpoints`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, endpoint: Endpoint, secret: str) -> None:
        _refuse_unwritable(endpoint.tenant, endpoint.name, endpoint.url, *endpoint.event_types)

        async def write(tx: Transaction) -> None:
            await tx.run("select pg_advisory_xact_lock($1, hashtext($2))", LOCK, endpoint.tenant)
            there = await tx.all("select 1 from endpoint where tenant = $1 limit $2", endpoint.tenant, MOST_ENDPOINTS)
            if len(there) == MOST_ENDPOINTS:
                raise TooManyEndpoints
            await _insert(tx, endpoint, secret)

        await self._database.write(write)

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        _check_id(tenant, endpoint_id)
        row = await self._database.one(
            f"select {ENDPOINT} where e.id = $1 and (e.tenant = $2) is true",
            endpoint_id,
            tenant,
        )
        if row is None:
            raise rows.unknown_endpoint(endpoint_id)
        return rows.endpoint(row)

    async def update(self, tenant: str, endpoint_id: str, change: EndpointChange) -> Endpoint:
        _check_id(tenant, endpoint_id)
        _refuse_unwritable(change.name, change.url, *(change.event_types or ()))

        async def write(tx: Transaction) -> Endpoint:
            now, before = await _locked(tx, tenant, endpoint_id)
            after = change.made_to(before, now)
            if after != before:
                await _write(tx, after)
            if after.url != before.url:
                await receivers.take_back(tx, endpoint_id)
            if change.enabled or after.url != before.url:
                await _start_afresh(tx, before)
                after = replace(after, failures=0, failing_since=None, open_until=None)
            return after

        return await self._database.write(write)

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        _check_id(tenant, endpoint_id)

        async def write(tx: Transaction) -> None:
            await _locked(tx, tenant, endpoint_id)
            # Its receiver stands until the last of its deliveries is purged.
            await tx.run(
                """with gone as (delete from endpoint where id = $1 returning seq),
                        keys as (delete from signing_key where owner = $1),
                        mark as (update receiver set used_at = $2 where name = $1)
                   delete from subscription s using gone where s.endpoint_seq = gone.seq""",
                endpoint_id,
                FORGOTTEN,
            )

        await self._database.write(write)

    async def signing_key(
        self, tenant: str, endpoint_id: str | None = None, *, offered: str | None = None
    ) -> SigningKey | None:
        if endpoint_id is not None:
            await self.get(tenant, endpoint_id)
        owner = key_owner(tenant, endpoint_id)
        if not holds(owner):
            return None
        row = await self._database.one("select secret, created_at, previous from signing_key where owner = $1", owner)
        if row is not None or offered is None or endpoint_id is not None:
            return None if row is None else rows.signing_key(row)

        async def write(tx: Transaction) -> SigningKey | None:
            await tx.run(
                """insert into signing_key (owner, secret, created_at) values ($1, $2, moment($3))
                   on conflict (owner) do nothing""",
                owner,
                offered,
                tx.at,
            )
            [key] = await tx.all("select secret, created_at, previous from signing_key where owner = $1", owner)
            return rows.signing_key(key)

        return await self._database.write(write)

    async def rotate(self, tenant: str, endpoint_id: str | None, secret: str, *, overlap: int) -> SigningKey:
        _check_id(tenant, endpoint_id or "")

        async def write(tx: Transaction) -> SigningKey:
            if endpoint_id is not None and not await tx.one(
                """update endpoint set updated_at = moment($3)
                    where id = $1 and (tenant = $2) is true returning 1""",
                endpoint_id,
                tenant,
                tx.at,
            ):
                raise rows.unknown_endpoint(endpoint_id)
            owner = key_owner(tenant, endpoint_id)
            # Made if there is none, so that there is one to lock.
            [(is_new,)] = await tx.all(
                """insert into signing_key as k (owner, secret, created_at) values ($1, $2, moment($3))
                   on conflict (owner) do update set secret = k.secret returning xmax = 0""",
                owner,
                secret,
                tx.at,
            )
            [(now, *columns)] = await tx.all(
                "select moment($2), secret, created_at, previous from signing_key where owner = $1", owner, tx.at
            )
            key = rows.signing_key(columns)
            if is_new or key is None:
                return SigningKey(secret, now)
            key = key.replaced(secret, now=now, overlap=overlap)
            await tx.run(
                "update signing_key set secret = $2, created_at = $3, previous = $4 where owner = $1",
                owner,
                key.secret,
                key.created_at,
                rows.previous_text(key),
            )
            return key

        return await self._database.write(write)

    # --- (last, since its name hides the type)

    async def list(
        self, tenant: str, *, after: str | None = None, limit: int = 20, newest: bool = True
    ) -> EndpointPage:
        above, below = 0, rows.MAX_SEQ
        if after is not None:
            _check_id(tenant, after)
            row = await self._database.one(
                "select seq from endpoint where id = $1 and (tenant = $2) is true", after, tenant
            )
            if row is None:
                raise rows.unknown_endpoint(after)
            above, below = (0, row[0]) if newest else (row[0], rows.MAX_SEQ)
        if not holds(tenant):
            return EndpointPage([], has_more=False)
        way = "desc" if newest else "asc"
        found = await self._database.read_apart(
            f"""select {ENDPOINT}
                 where (e.tenant, e.seq) > ($1, $2::bigint) and (e.tenant, e.seq) < ($1, $3::bigint)
                 order by e.tenant {way}, e.seq {way} limit $4""",
            tenant,
            above,
            below,
            limit + 1,
        )
        return EndpointPage([rows.endpoint(row) for row in found[:limit]], len(found) > limit)


ENDPOINT = """e.id, e.tenant, e.name, e.url, e.event_types, e.include_result, e.signature, e.created_at, e.updated_at,
              e.disabled_at, e.disabled_reason, r.failures, r.failing_since, r.open_until
         from endpoint e left join receiver r on r.name = e.id"""
"""The columns of an endpoint with how its receiver has been doing, in the order that `rows.endpoint` expects."""


async def disable(tx: Transaction, reasons: Mapping[str, str]) -> list[Endpoint]:
    """Disable endpoints, whose receivers are locked, for these reasons."""
    if not reasons:
        return []
    gone = await tx.all(
        """update endpoint e set disabled_at = moment($3), disabled_reason = n.reason, updated_at = moment($3)
             from unnest($1::text[], $2::text[]) as n (id, reason)
            where e.id = n.id and e.disabled_at is null
        returning e.id""",
        list(reasons),
        list(reasons.values()),
        tx.at,
    )
    found = await tx.all(
        f"select {ENDPOINT} where e.id = any($1::text[])",
        [endpoint_id for (endpoint_id,) in gone],
    )
    return [rows.endpoint(row) for row in found]


async def _locked(tx: Transaction, tenant: str, endpoint_id: str) -> tuple[int, Endpoint]:
    """The moment, and an endpoint that is locked with its receiver. Raises NotFound."""
    known = await tx.one("select 1 from endpoint where id = $1 and (tenant = $2) is true", endpoint_id, tenant)
    if known is None:
        raise rows.unknown_endpoint(endpoint_id)
    await receivers.make(tx, [endpoint_id])
    await receivers.lock(tx, [endpoint_id])
    await tx.run("select 1 from endpoint where id = $1 for update", endpoint_id)
    # Looked at when all is locked: what others have committed meanwhile is seen.
    row = await tx.one(
        f"select {ENDPOINT.replace('r.open_until', 'r.open_until, moment($2)')} where e.id = $1",
        endpoint_id,
        tx.at,
    )
    if row is None:
        raise rows.unknown_endpoint(endpoint_id)
    *columns, now = row
    return now, rows.endpoint(columns)


async def _insert(tx: Transaction, new: Endpoint, secret: str) -> None:
    await tx.run(
        """with made as (
               insert into endpoint (id, tenant, name, url, event_types, include_result, signature, created_at,
                                     updated_at, disabled_at, disabled_reason)
               values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
               returning seq
           ), keys as (
               insert into signing_key (owner, secret, created_at) values ($1, $12, moment($13))
           )
           insert into subscription (tenant, type, endpoint_seq)
           select $2, type, made.seq from made, unnest($14::text[]) as n (type)""",
        new.id,
        new.tenant,
        new.name,
        new.url,
        rows.words_text(new.event_types) or "",
        new.include_result,
        new.signature,
        new.created_at,
        new.updated_at,
        new.disabled_at,
        new.disabled_reason,
        secret,
        tx.at,
        list(dict.fromkeys(new.event_types)),
    )


async def _write(tx: Transaction, after: Endpoint) -> None:
    await tx.run(
        """update endpoint
              set name = $2, url = $3, event_types = $4, include_result = $5, updated_at = $6, disabled_at = $7,
                  disabled_reason = $8
            where id = $1""",
        after.id,
        after.name,
        after.url,
        rows.words_text(after.event_types) or "",
        after.include_result,
        after.updated_at,
        after.disabled_at,
        after.disabled_reason,
    )
    await tx.run(
        """with kept as materialized (select tenant, seq from endpoint where id = $1),
                dropped as (delete from subscription s using kept k
                             where s.endpoint_seq = k.seq and not s.type = any($2::text[]))
           insert into subscription (tenant, type, endpoint_seq)
           select k.tenant, n.type, k.seq from kept k, unnest($2::text[]) as n (type) on conflict do nothing""",
        after.id,
        list(dict.fromkeys(after.event_types)),
    )


async def _start_afresh(tx: Transaction, before: Endpoint) -> None:
    """Forget the failures of a receiver that is locked, and let what waited for it go on; each that arrives lets others
    go."""
    await receivers.write(tx, {before.id: FRESH})
    if before.open_until is not None:
        await receivers.hurry(tx, before.id, before.open_until)
    await receivers.wake(tx, [Wake(before.id, FRESH.places)])
    tx.deliveries = True


def _refuse_unwritable(*texts: str | None) -> None:
    if not holds(*texts):
        raise BadInput("The webhook endpoint has a NUL or half a surrogate pair; remove it.")


def _check_id(tenant: str, endpoint_id: str) -> None:
    """Raise NotFound for what no endpoint can be called."""
    if not holds(tenant, endpoint_id):
        raise rows.unknown_endpoint(endpoint_id)

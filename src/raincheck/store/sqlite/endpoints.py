"""Where tenants want to be told of events, in SQLite."""

from raincheck.core.errors import TooManyEndpoints
from raincheck.core.webhooks import MOST_ENDPOINTS, Endpoint, EndpointChange, EndpointPage, SigningKey
from raincheck.store import rows
from raincheck.store.sqlite.database import Database, Source, Transaction
from raincheck.store.sqlite.receivers import start_afresh, take_back
from raincheck.store.sqlite.telling import forget_listeners
from raincheck.store.telling import FORGOTTEN, key_owner


class SqliteEndpoints:
    """See `outbox.Endpoints`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, endpoint: Endpoint, secret: str) -> None:
        def write(tx: Transaction) -> None:
            [(count,)] = tx.all("select count(*) from endpoint where tenant = ?", endpoint.tenant)
            if count >= MOST_ENDPOINTS:
                raise TooManyEndpoints
            seq = _insert(tx, endpoint)
            _subscribe(tx, seq, endpoint)
            tx.run(
                "insert into signing_key (owner, secret, created_at) values (?, ?, ?)", (endpoint.id, secret, tx.now)
            )

        await self._database.write(write)

    async def get(self, tenant: str, endpoint_id: str) -> Endpoint:
        return find_endpoint(self._database, tenant, endpoint_id)

    async def update(self, tenant: str, endpoint_id: str, change: EndpointChange) -> Endpoint:
        def write(tx: Transaction) -> Endpoint:
            before = find_endpoint(tx, tenant, endpoint_id)
            after = change.made_to(before, tx.now)
            if after != before:
                _write(tx, after)
            if after.url != before.url:
                take_back(tx, endpoint_id)
            if change.enabled or after.url != before.url:
                start_afresh(tx, endpoint_id)
            return find_endpoint(tx, tenant, endpoint_id)

        return await self._database.write(write)

    async def delete(self, tenant: str, endpoint_id: str) -> None:
        def write(tx: Transaction) -> None:
            seq = _find_seq(tx, tenant, endpoint_id)
            tx.run("delete from endpoint where seq = ?", (seq,))
            tx.run("delete from subscription where endpoint_seq = ?", (seq,))
            tx.run("delete from signing_key where owner = ?", (endpoint_id,))
            tx.run(
                """insert into receiver (name, failures, places, used_at) values (?1, 0, 1, ?2)
                   on conflict do update set used_at = ?2""",
                (endpoint_id, FORGOTTEN),
            )
            forget_listeners(tx)

        await self._database.write(write)

    async def signing_key(
        self, tenant: str, endpoint_id: str | None = None, *, offered: str | None = None
    ) -> SigningKey | None:
        def write(tx: Transaction) -> SigningKey | None:
            tx.run(
                "insert or ignore into signing_key (owner, secret, created_at) values (?, ?, ?)",
                (owner, offered, tx.now),
            )
            return _find_key(tx, owner)

        if endpoint_id is not None:
            _find_seq(self._database, tenant, endpoint_id)
        owner = key_owner(tenant, endpoint_id)
        key = _find_key(self._database, owner)
        if key is not None or offered is None or endpoint_id is not None:
            return key
        return await self._database.write(write)

    async def rotate(self, tenant: str, endpoint_id: str | None, secret: str, *, overlap: int) -> SigningKey:
        def write(tx: Transaction) -> SigningKey:
            if endpoint_id is not None:
                seq = _find_seq(tx, tenant, endpoint_id)
                tx.run("update endpoint set updated_at = ? where seq = ?", (tx.now, seq))
            owner = key_owner(tenant, endpoint_id)
            before = _find_key(tx, owner)
            key = SigningKey(secret, tx.now) if before is None else before.replaced(secret, now=tx.now, overlap=overlap)
            tx.run(
                "insert or replace into signing_key (owner, secret, created_at, previous) values (?, ?, ?, ?)",
                (owner, key.secret, key.created_at, rows.previous_text(key)),
            )
            return key

        return await self._database.write(write)

    # --- (last, since its name hides the type)

    async def list(
        self, tenant: str, *, after: str | None = None, limit: int = 20, newest: bool = True
    ) -> EndpointPage:
        beyond = rows.MAX_SEQ if newest else 0
        if after is not None:
            beyond = _find_seq(self._database, tenant, after)
        side, order = ("<", "desc") if newest else (">", "asc")
        found = self._database.all(
            f"{_ENDPOINT} where e.tenant = ? and e.seq {side} ? order by e.seq {order} limit ?",
            tenant,
            beyond,
            limit + 1,
        )
        return EndpointPage([rows.endpoint(row) for row in found[:limit]], len(found) > limit)


_ENDPOINT = """select e.id, e.tenant, e.name, e.url, e.event_types, e.include_result, e.signature, e.created_at,
                      e.updated_at, e.disabled_at, e.disabled_reason, r.failures, r.failing_since, r.open_until
                 from endpoint e left join receiver r on r.name = e.id"""


def find_endpoint(source: Source, tenant: str, endpoint_id: str) -> Endpoint:
    """The record of an endpoint. Raises NotFound."""
    row = source.one(f"{_ENDPOINT} where e.id = ? and e.tenant = ?", endpoint_id, tenant)
    if row is None:
        raise rows.unknown_endpoint(endpoint_id)
    return rows.endpoint(row)


def _find_seq(source: Source, tenant: str, endpoint_id: str) -> int:
    row = source.one("select seq from endpoint where id = ? and tenant = ?", endpoint_id, tenant)
    if row is None:
        raise rows.unknown_endpoint(endpoint_id)
    return row[0]


def _find_key(source: Source, owner: str) -> SigningKey | None:
    row = source.one("select secret, created_at, previous from signing_key where owner = ?", owner)
    return None if row is None else rows.signing_key(row)


def _insert(tx: Transaction, new: Endpoint) -> int:
    return tx.insert(
        """insert into endpoint (id, tenant, name, url, event_types, include_result, signature, created_at, updated_at,
                                 disabled_at, disabled_reason)
           values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        *(new.id, new.tenant, new.name, new.url, rows.words_text(new.event_types) or "", new.include_result),
        *(new.signature, new.created_at, new.updated_at, new.disabled_at, new.disabled_reason),
    )


def _write(tx: Transaction, after: Endpoint) -> None:
    [(seq,)] = tx.all(
        """update endpoint
              set name = ?, url = ?, event_types = ?, include_result = ?, updated_at = ?, disabled_at = ?,
                  disabled_reason = ?
            where id = ? returning seq""",
        *(after.name, after.url, rows.words_text(after.event_types) or "", after.include_result, after.updated_at),
        *(after.disabled_at, after.disabled_reason, after.id),
    )
    tx.run("delete from subscription where endpoint_seq = ?", (seq,))
    _subscribe(tx, seq, after)


def _subscribe(tx: Transaction, seq: int, endpoint: Endpoint) -> None:
    tx.run_many(
        "insert or ignore into subscription (tenant, type, endpoint_seq) values (?, ?, ?)",
        [(endpoint.tenant, each, seq) for each in endpoint.event_types],
    )
    forget_listeners(tx)

"""A store's URL in, connections out: what is in it for the pool, for asyncpg, and for people's eyes."""

# asyncpg ships hardly any types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import os
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

import asyncpg

from raincheck.core.errors import SettingsInvalid

POOL = 10
"""Connections of one process, unless the URL says `pool=`."""
STATEMENTS = 100
"""Prepared statements kept per connection, unless the URL says `statement_cache_size=`."""
CONNECT_WITHIN = 5.0
"""Seconds for one host to let us in before the next is tried."""
STATEMENT_WITHIN = 20.0
"""Seconds a statement may take before its connection is given up as dead."""


BY_INDEX = "set enable_seqscan = off; set jit = off"
"""A prepared statement keeps the plan it got while the tables were small, when reading all of one looks quickest. Every
statement has an index to go by. (Should a pooler leave this to somebody else's transaction, it does no harm.)"""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. The password is in `dsn` alone, which is not printed."""

    dsn: str = field(repr=False)
    place: str
    """Hosts and database, to be shown."""
    hosts: tuple[dict[str, Any], ...]
    """One after the other is tried; a single one is left to asyncpg."""
    pool: int = POOL
    statements: int = STATEMENTS
    target: str | None = None
    """Which of several hosts will do."""

    async def connect(self, **options: Any) -> Any:
        """A new connection. Each host has a time of its own: one that has left the network must not use up all."""
        *others, last = self.hosts
        for host in others:
            with suppress(asyncpg.PostgresError, asyncpg.InternalClientError, OSError):
                return await self._connect(host, options)
        return await self._connect(last, options)

    async def _connect(self, host: dict[str, Any], options: dict[str, Any]) -> Any:
        given = {"timeout": CONNECT_WITHIN, "statement_cache_size": self.statements, **host, **options}
        connect: Any = asyncpg.connect
        connection = await connect(self.dsn, target_session_attrs=self.target, **given)
        try:
            if self.statements:
                await connection.execute(BY_INDEX)
        except BaseException:
            connection.terminate()
            raise
        return connection


def parse(url: str) -> Address:
    """Read a store's URL; what is not for us is asyncpg's to understand. Raises SettingsInvalid."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        pool, statements = _number(query, "pool", POOL, 1), _number(query, "statement_cache_size", STATEMENTS, 0)
        hosts = _hosts(parts)
    except ValueError:
        # Not the error's own words: when a password is not quoted they hold a part of it.
        raise SettingsInvalid(
            "The store's URL cannot be read: write postgresql://user:password@host:port/database?pool=20, with special "
            "characters of user and password percent-encoded."
        ) from None
    several = hosts if len(hosts) > 1 else ()
    # Of several hosts, one that takes writes, unless other wishes were made.
    target = query.pop("target_session_attrs", None) or os.environ.get("PGTARGETSESSIONATTRS")
    query.setdefault("application_name", "raincheck")
    return Address(
        dsn=parts._replace(query=urlencode(query)).geturl(),
        place=_place(parts, query),
        hosts=several or ({},),
        pool=pool,
        statements=statements,
        target=target or ("read-write" if several else None),
    )


def _number(query: dict[str, str], name: str, default: int, least: int) -> int:
    given = query.pop(name, None)
    if given is None:
        return default
    if not given.isdecimal() or int(given) < least:
        raise SettingsInvalid(f"In the store's URL, {name} is a whole number of at least {least}, not {given[:20]!r}.")
    return int(given)


def _hosts(parts: SplitResult) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for spec in parts.netloc.rpartition("@")[2].split(","):
        host, colon, port = spec.rpartition(":")
        if not colon or port.endswith("]"):
            host, port = spec, "5432"
        host = unquote(host.strip("[]"))
        if not host.startswith("/"):  # Or else it is a socket's folder.
            host.encode("idna")  # As the resolver does later, where nobody expects a UnicodeError.
        if not 0 < int(port) < 65_536:
            raise ValueError(port)
        found.append({"host": host, "port": int(port)})
    return tuple(found)


def _place(parts: SplitResult, query: dict[str, str]) -> str:
    hosts = parts.netloc.rpartition("@")[2] or query.get("host") or os.environ.get("PGHOST") or "localhost"
    database = parts.path.lstrip("/") or query.get("dbname") or query.get("database") or ""
    return f"{unquote(database)} at {unquote(hosts)}" if database else unquote(hosts)

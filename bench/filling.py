"""Takes an empty store and two numbers, hands on the store with so many requests in it.

The rows are made by the database itself, since ten million submits would take the better part of an hour.
"""

# apsw and asyncpg leave the types of rows open.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import apsw
import asyncpg

from bench.calls import CHAT, MODEL
from raincheck.core.clock import DAY, now
from raincheck.core.settings import sqlite_path
from raincheck.store.postgres import open_store as open_postgres
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store as open_sqlite

SAMPLED = 2_000
FRONT = 1_000
"""Rows that claims will get to while something is measured."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A store with pending requests, and the ids of some of them, spread evenly but for the front."""

    url: str
    ids: list[str]


def open_store(url: str) -> AbstractAsyncContextManager[Store]:
    if url.startswith("sqlite:"):
        return open_sqlite(sqlite_path(url), clock=now)
    return open_postgres(url)


def fill(url: str, *, ready: int, waiting: int) -> Filled:
    """Requests 1 to `waiting` are due tomorrow, the others are ready."""
    asyncio.run(_make_tables(url))
    count, due_at = ready + waiting, now() + DAY
    if url.startswith("sqlite:"):
        _fill_sqlite(url, count, waiting, due_at)
    else:
        asyncio.run(_fill_postgres(url, count, waiting, due_at))
    first = waiting + FRONT if ready > FRONT else waiting
    step = max(1, (count - first) // SAMPLED)
    return Filled(url, [_id(number) for number in range(first + 1, count + 1, step)])


def _id(number: int) -> str:
    return f"req_{number:032x}"


async def _make_tables(url: str) -> None:
    async with open_store(url):
        pass


def _fill_sqlite(url: str, count: int, waiting: int, due_at: int) -> None:
    connection = apsw.Connection(str(sqlite_path(url)))
    connection.execute("begin immediate")
    connection.execute(
        """with recursive number(n) as (select 1 union all select n + 1 from number where n < :count)
           insert into request (id, tenant, queue, operation, path, model, priority, tag, due_at, max_attempts,
                                created_at)
           select 'req_' || printf('%032x', n), 'default', :model, 'chat.completion', '/chat/completions', :model, 1, n,
                  case when n <= :waiting then :due_at end, 5, :now + n
             from number""",
        {"count": count, "model": MODEL, "waiting": waiting, "due_at": due_at, "now": now()},
    )
    connection.execute("insert into payload (seq, body) select seq, ? from request", (CHAT,))
    connection.execute("insert into queue (name) values (?)", (MODEL,))
    connection.execute(
        "insert into flow (queue, priority, tenant, last_tag, weight, pending) values (?1, 1, 'default', ?2, 1, ?2)",
        (MODEL, count),
    )
    connection.execute("commit")
    connection.close()


async def _fill_postgres(url: str, count: int, waiting: int, due_at: int) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(
        """insert into request (id, tenant, queue, operation, path, model, priority, tag, due_at, max_attempts,
                                created_at)
           select 'req_' || lpad(to_hex(n), 32, '0'), 'default', $2, 'chat.completion', '/chat/completions', $2, 1, n,
                  case when n <= $3 then $4::bigint end, 5, $5::bigint + n
             from generate_series(1, $1::bigint) as n""",
        count,
        MODEL,
        waiting,
        due_at,
        now(),
    )
    await connection.execute("insert into payload (seq, body) select seq, $1::bytea from request", CHAT)
    await connection.execute("insert into queue (name) values ($1)", MODEL)
    await connection.execute(
        "insert into flow (queue, priority, tenant, last_tag, weight, pending) values ($1, 1, 'default', $2, 1, $3)",
        MODEL,
        float(count),
        count,
    )
    await connection.execute("vacuum analyze")
    await connection.close()

"""The schema moves forward in numbered steps, each whole or not at all, whoever starts at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from importlib import resources

import pytest

from raincheck.core.errors import SchemaTooNew, StoreUnavailable
from raincheck.store.postgres import open_store
from raincheck.store.postgres.database import connect
from tests.store.postgres.conftest import opened
from tests.store.postgres.databases import empty
from tests.store.postgres.server import psql


@pytest.fixture
async def bare() -> AsyncIterator[str]:
    """A database without any table."""
    async with empty() as url:
        yield url


def numbers(url: str) -> list[str]:
    return psql(url, "select number from migration order by number").split()


def test_numbers_are_contiguous_from_one() -> None:
    folder = resources.files("raincheck.store.postgres") / "migrations"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


async def test_opening_again_keeps_what_is_there_and_notes_each_step_once(bare: str) -> None:
    async with opened(bare):
        psql(bare, "insert into tenant (name, weight) values ('t', 2)")
    steps = numbers(bare)
    async with opened(bare):
        assert psql(bare, "select name from tenant") == "t"
    assert numbers(bare) == steps != []


@pytest.mark.slow("eight connections, one schema")
async def test_several_processes_may_start_at_once(bare: str) -> None:
    async with AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(opened(bare)) for _ in range(8)))
    assert numbers(bare) == sorted(set(numbers(bare)), key=int)


FIRST = """
    create table migration (number integer primary key, name text not null, breaking boolean not null);
    insert into migration (number, name, breaking) values (1, 'first', false);
    insert into blob (name, doomed_at) values ('held', null), ('under way', 9000000000000000);
    insert into request (id, tenant, queue, operation, path, model, status, priority, tag, max_attempts, created_at,
                         ended_at)
    values ('req_1', 't', 'q', 'chat.completion', '/chat/completions', 'm', 'completed', 1, 1.0, 5, 1, 2);
    insert into result (seq, status, content_type, body, blob, size)
    select seq, 200, 'text/plain', '', 'held', 9 from request;
"""
"""What a store of the first schema may hold."""


async def test_a_store_of_the_first_schema_keeps_its_bodies_until_they_are_let_go(bare: str) -> None:
    """G12."""
    first = resources.files("raincheck.store.postgres") / "migrations" / "0001_first.sql"
    psql(bare, first.read_text(), FIRST)
    async with open_store(bare) as store:
        assert await store.blobs.doomed(limit=9) == []
        await store.requests.delete("t", "req_1")
        assert await store.blobs.doomed(limit=9) == ["held"]


async def test_a_newer_step_that_breaks_nothing_is_let_be(bare: str) -> None:
    async with opened(bare):
        psql(bare, "insert into migration (number, name, breaking) values (9000, 'later', false)")
    async with opened(bare):
        pass


async def test_a_newer_step_that_breaks_older_code_is_refused(bare: str) -> None:
    async with opened(bare):
        psql(bare, "insert into migration (number, name, breaking) values (9000, 'later', true)")
    with pytest.raises(SchemaTooNew, match="schema 9000"):
        await connect(bare, None)


async def test_a_step_that_fails_leaves_nothing_of_it(bare: str) -> None:
    psql(bare, "create table request (mine text)")
    with pytest.raises(StoreUnavailable, match='"request" already exists'):
        await connect(bare, None)
    assert numbers(bare) == []
    psql(bare, "drop table request")
    async with opened(bare):
        assert numbers(bare) != []


async def test_a_user_who_may_not_create_tables_is_told_what_to_grant(bare: str) -> None:
    psql(bare, "drop role if exists guest", "create role guest login", "revoke create on schema public from public")
    with pytest.raises(StoreUnavailable, match="grant it create"):
        await connect(bare.replace("postgres@", "guest@"), None)

"""One server that these tests may do anything to, apart from the one that all store tests share."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from raincheck.store.postgres.database import Database, connect
from tests.store.postgres.databases import databases
from tests.store.postgres.proxy import Proxy
from tests.store.postgres.server import PostgresServer


@pytest.fixture(scope="session")
def own_server() -> Iterator[PostgresServer]:
    with PostgresServer(max_connections=25) as server:
        server.psql("create table kept (word text primary key)")
        yield server


@pytest.fixture
def server(own_server: PostgresServer) -> Iterator[PostgresServer]:
    """Up, writable and empty again afterwards."""
    yield own_server
    own_server.start()
    own_server.set_read_only(False)
    own_server.psql("truncate kept")


@pytest.fixture
async def proxy(server: PostgresServer) -> AsyncIterator[Proxy]:
    async with Proxy(server.url()).running() as proxy:
        yield proxy


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[Database]:
    database = await connect(url, None)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def lent() -> AsyncIterator[str]:
    """The URL of an empty database on the server that all tests share."""
    url = await databases().lend()
    yield url
    databases().give_back(url)

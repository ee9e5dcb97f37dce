"""The stores under test: each is a kind of home in `STORES`, and every contract test runs in each."""

import asyncio
import shutil
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from raincheck.core.webhooks import DELIVERY_LOG_KEPT
from raincheck.store import postgres, sqlite
from raincheck.store.protocol import Store
from tests.store.builders import RETENTION, FakeClock, Home
from tests.store.postgres.databases import databases


class SqliteHome:
    """A file, copied from one that has its tables already: that is quicker than making them."""

    def __init__(self, template: Path, path: Path) -> None:
        self.clock = FakeClock()
        self.path = path
        shutil.copyfile(template, path)

    def open(self, *, log_retention: int = DELIVERY_LOG_KEPT) -> AbstractAsyncContextManager[Store]:
        return sqlite.open_store(self.path, clock=self.clock.now, retention=RETENTION, log_retention=log_retention)


class PostgresHome:
    """A database, lent when it is first opened and given back when nobody knows this home any more."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self._url: str | None = None

    @asynccontextmanager
    async def open(self, *, log_retention: int = DELIVERY_LOG_KEPT) -> AsyncGenerator[Store]:
        if self._url is None:
            self._url = await databases().lend()
            weakref.finalize(self, databases().give_back, self._url)
        opening = postgres.open_store(self._url, clock=self.clock.now, retention=RETENTION, log_retention=log_retention)
        async with opening as store:
            yield store


def _sqlite_homes(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Home]:
    template, numbers = request.getfixturevalue("template"), count()
    return lambda: SqliteHome(template, folder / f"{next(numbers)}.db")


def _postgres_homes(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Home]:
    return PostgresHome


STORES = {"sqlite": _sqlite_homes, "postgres": _postgres_homes}
"""By name, what makes empty homes."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"

    async def make() -> None:
        async with sqlite.open_store(path, clock=FakeClock().now):
            pass

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(make())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: what these tests are about does not need the disk's pace."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="raincheck-", dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.fixture(params=STORES)
def homes(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Home]:
    """Makes an empty home at each call."""
    return STORES[request.param](request, folder)


@pytest.fixture
def home(homes: Callable[[], Home]) -> Home:
    return homes()


@pytest.fixture
def clock(home: Home) -> FakeClock:
    return home.clock


@pytest.fixture
async def store(home: Home) -> AsyncIterator[Store]:
    async with home.open() as store:
        yield store

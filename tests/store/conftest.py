"""The stores under test: each is a kind of home in `STORES`, and every contract test runs in each."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store.builders import RETENTION, FakeClock, Home


class SqliteHome:
    """A file, copied from one that has its tables already: that is quicker than making them."""

    def __init__(self, template: Path, path: Path) -> None:
        self.clock = FakeClock()
        self.path = path
        shutil.copyfile(template, path)

    def open(self) -> AbstractAsyncContextManager[Store]:
        return open_store(self.path, clock=self.clock.now, retention=RETENTION)


STORES: dict[str, Callable[[Path, Path], Home]] = {"sqlite": SqliteHome}
"""By name, how to make a home from the template and a path that nobody else uses."""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "store.db"

    async def make() -> None:
        async with open_store(path, clock=FakeClock().now):
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
def homes(request: pytest.FixtureRequest, template: Path, folder: Path) -> Callable[[], Home]:
    """Makes an empty home at each call."""
    numbers = count()
    return lambda: STORES[request.param](template, folder / f"{next(numbers)}.db")


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

"""The schema moves forward in numbered steps, each whole or not at all."""

# apsw types its values with collections.abc.Buffer, which is newer than our oldest Python.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from importlib import resources
from pathlib import Path

import apsw
import pytest

from raincheck.core.errors import SchemaTooNew
from raincheck.core.status import Status
from raincheck.store.sqlite import open_store
from tests.store.builders import FakeClock, status, submitted

clock = FakeClock()


def run(path: Path, sql: str) -> list[str]:
    """The first column, as text."""
    connection = apsw.Connection(str(path))
    rows = [f"{row[0]}" for row in connection.execute(sql).fetchall()]
    connection.close()
    return rows


def test_numbers_are_contiguous_from_one() -> None:
    folder = resources.files("raincheck.store.sqlite") / "migrations"
    names = sorted(file.name for file in folder.iterdir() if file.name.endswith(".sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))


async def test_opening_again_keeps_what_is_there_and_notes_each_step_once(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now) as store:
        [request] = await submitted(store)
    steps = run(path, "select number from migration order by number")
    async with open_store(path, clock=clock.now) as store:
        assert await status(store, request.id) is Status.PENDING
    assert run(path, "select number from migration order by number") == steps != []


async def test_a_newer_breaking_schema_is_refused_and_left_alone(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now):
        pass
    run(path, "insert into migration (number, name, breaking) values (9000, 'later', 0), (9001, 'other', 1)")
    for own in (True, False):
        with pytest.raises(SchemaTooNew, match=r"9001.*upgrade Raincheck"):
            async with open_store(path, clock=clock.now, own=own):
                pass
    run(path, "delete from migration where number = 9001")
    async with open_store(path, clock=clock.now) as store:
        assert await submitted(store)


async def test_a_newer_schema_that_breaks_nothing_is_accepted(folder: Path) -> None:
    path = folder / "store.db"
    async with open_store(path, clock=clock.now):
        pass
    run(path, "insert into migration (number, name, breaking) values (9000, 'later', 0)")
    async with open_store(path, clock=clock.now) as store:
        assert await submitted(store)


async def test_a_step_that_fails_halfway_leaves_nothing_and_can_be_taken_later(folder: Path) -> None:
    path = folder / "store.db"
    run(path, "create table flow (in_the_way)")
    with pytest.raises(apsw.SQLError, match="flow already exists"):
        async with open_store(path, clock=clock.now):
            pass
    assert run(path, "select name from sqlite_master order by name") == ["flow", "migration"]
    assert run(path, "select number from migration") == []
    run(path, "drop table flow")
    async with open_store(path, clock=clock.now) as store:
        assert await submitted(store)

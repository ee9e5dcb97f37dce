"""`raincheck store copy`: what it tells people and programs, and how it refuses."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from raincheck.core import clock
from raincheck.core.settings import sqlite_path
from raincheck.store.copying import UNFINISHED, Moving, copy
from raincheck.store.postgres.ledger import open_ledger
from raincheck.store.sqlite import open_store
from tests.cli.desk import run
from tests.store.builders import submitted
from tests.store.copier import ledger
from tests.store.postgres.databases import databases


@pytest.fixture
def old(tmp_path: Path) -> str:
    path = tmp_path / "old.db"

    async def make() -> None:
        async with open_store(path, clock=clock.now) as store:
            await submitted(store, 12)

    asyncio.run(make())
    return f"sqlite:///{path}"


def new(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'new.db'}"


def test_a_copy_tells_what_was_copied_and_that_it_is_equal(old: str, tmp_path: Path):
    copied = run("store", "copy", old, new(tmp_path))
    assert copied.code == 0
    [request] = [line.split("\t") for line in copied.lines if line.startswith("request\t")]
    assert (request[1:3], request[-1]) == (["12", "12"], "equal")
    assert "copying: " in copied.stderr
    assert "rows/s" in copied.stderr
    assert "they are equal" in copied.stderr


def test_a_copy_as_json_has_counts_and_digests_of_both_sides(old: str, tmp_path: Path):
    summary = run("store", "copy", old, new(tmp_path), "--json").json
    assert (summary["verified"], summary["resumed"], summary["copied"]) == (True, False, summary["rows"])
    [request] = [table for table in summary["tables"] if table["table"] == "request"]
    assert request["rows"] == request["target_rows"] == 12
    assert request["digest"] == request["target_digest"] != "0" * 32


def test_a_copy_that_is_refused_says_why_in_a_line(old: str, tmp_path: Path):
    assert run("store", "copy", old, new(tmp_path)).code == 0
    again = run("store", "copy", old, new(tmp_path))
    assert again.code == 1
    assert again.stderr.startswith("raincheck: the target is not empty")
    missing = run("store", "copy", f"sqlite:///{tmp_path / 'none.db'}", new(tmp_path), "--json")
    assert (missing.code, missing.stdout) == (1, "")
    assert '"copy_refused"' in missing.stderr


def test_a_store_is_not_copied_into_itself_by_another_name(old: str, tmp_path: Path):
    path = old.removeprefix("sqlite:///")
    (tmp_path / "other.db").symlink_to(path)
    for same in (old, path, f"sqlite:///{tmp_path / 'other.db'}"):
        told = run("store", "copy", old, same)
        assert (told.code, told.stderr) == (1, "raincheck: both URLs name the same store\n")


def test_a_copy_that_is_refused_leaves_nothing_behind(old: str, tmp_path: Path):
    (tmp_path / "words.toml").write_text("no store")
    before = sorted(tmp_path.iterdir())
    with _owned(old):
        assert "in use by process" in run("store", "copy", old, new(tmp_path)).stderr
    for none in ("none.db", "words.toml"):
        assert "there is no store" in run("store", "copy", f"sqlite:///{tmp_path / none}", new(tmp_path)).stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow("makes a database"))])
def test_a_store_whose_copy_was_not_finished_is_closed_to_commands(old: str, tmp_path: Path, kind: str):
    """A half copy has no keys yet: a closed store would be open."""
    target = new(tmp_path) if kind == "sqlite" else asyncio.run(databases().lend())
    asyncio.run(_begin(old, target))
    for command in (["keys", "list"], ["queues"], ["workers"], ["tenants", "set", "t", "--weight", "2"]):
        told = run(*command, "--store", target)
        assert (told.code, UNFINISHED in told.stderr) == (1, True)
    assert run("store", "copy", old, target).code == 0
    assert run("keys", "list", "--store", target).code == 0
    if kind == "postgresql":
        databases().give_back(target)


@contextmanager
def _owned(url: str) -> Generator[None]:
    with asyncio.Runner() as runner:
        owner = open_store(sqlite_path(url), clock=clock.now)
        runner.run(owner.__aenter__())
        yield
        runner.run(owner.__aexit__(None, None, None))


async def _begin(source: str, target: str) -> None:
    """A copy that is cut short."""

    def cut(_: Moving) -> None:
        raise InterruptedError

    async with ledger(source, existing=True) as rows:
        with pytest.raises(InterruptedError):
            await copy(rows, ledger(target), watch=cut)


def test_a_url_that_is_none_is_a_mistake_of_use_and_its_password_is_not_shown(old: str):
    wrong = run("store", "copy", old, "mysql://me:secret@h/db")
    assert wrong.code == 2
    assert "secret" not in wrong.stderr


@pytest.mark.slow("makes a database")
def test_a_store_moves_into_postgresql_from_the_command_line(old: str):
    url = asyncio.run(databases().lend())
    try:
        summary = run("store", "copy", old, url, "--json").json
        assert summary["verified"]

        async def count() -> dict[str, int]:
            from raincheck.store.copying import TABLES

            async with open_ledger(url, existing=True) as ledger:
                return {table.name: await ledger.count(table) for table in TABLES}

        assert asyncio.run(count())["request"] == 12
    finally:
        databases().give_back(url)

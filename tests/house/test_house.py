"""Rules of the house that no linter knows."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "raincheck"
FILES = sorted(SOURCE.rglob("*.py"))


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def shown(file: Path) -> str:
    return str(file.relative_to(SOURCE))


def found(pattern: re.Pattern[str]) -> list[str]:
    """The source files in which the pattern occurs."""
    return [shown(file) for file in FILES if pattern.search(file.read_text(encoding="utf-8"))]


def test_every_method_of_the_stores_roles_says_what_it_promises() -> None:
    module = tree(SOURCE / "store" / "protocol.py")
    roles = [node for node in module.body if isinstance(node, ast.ClassDef) and ast.get_docstring(node)]
    methods = [
        (f"{role.name}.{method.name}", ast.get_docstring(method))
        for role in roles
        for method in role.body
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert "Leases.finish" in dict(methods)
    assert [name for name, docstring in methods if not docstring] == []


def test_every_file_says_in_its_first_line_what_it_is_for() -> None:
    assert [shown(file) for file in FILES if not ast.get_docstring(tree(file))] == []


def test_time_comes_from_the_clock() -> None:
    elsewhere = re.compile(r"\b(datetime\.(now|utcnow|today)|time\.time|time_ns)\b")
    assert found(elsewhere) == ["core/clock.py"]


def test_nothing_is_left_for_later() -> None:
    assert found(re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")) == []


def test_only_one_place_ends_a_request() -> None:
    """A final status and its event are written in each store's ends.py alone."""
    assert found(re.compile(r"insert into event")) == ["store/postgres/ends.py", "store/sqlite/ends.py"]
    assert found(re.compile(r"set status = '(completed|failed|cancelled|expired)'")) == []


@pytest.mark.parametrize("number", range(1, 13))
def test_every_promise_has_a_test_that_names_it(number: int) -> None:
    house = Path(__file__).parent
    tests = [file for file in (ROOT / "tests").rglob("test_*.py") if house not in file.parents]
    name = re.compile(rf"\bG{number}\b")
    assert [file for file in tests if name.search(file.read_text(encoding="utf-8"))], f"no test names G{number}"


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    away = re.compile(r"pytest\.(skip|xfail|importorskip)|mark\.(skip|skipif|xfail)")
    tests = [file for file in (ROOT / "tests").rglob("*.py") if file != Path(__file__)]
    assert [str(file) for file in tests if away.search(file.read_text(encoding="utf-8"))] == []

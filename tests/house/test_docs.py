"""The documentation says what the code does: nothing is missing, stale, or leads nowhere."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from typer.main import get_command

import raincheck
from raincheck.cli.main import app
from raincheck.core.settings import OTHER_VARIABLES, QUEUE_SETTINGS, SETTINGS, UPSTREAM_SETTINGS
from raincheck.core.status import Status
from raincheck.http.app import HANDLERS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted(DOCS.rglob("*.md"))]


@cache
def printer() -> Any:
    """docs/print.py, loaded by its path: it is no module of anything."""
    spec = importlib.util.spec_from_file_location("docs_print", DOCS / "print.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def commands() -> dict[str, Any]:
    """Every command by its whole name."""
    return dict(printer().commands(get_command(app)))


def reference(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def shown(page: Path) -> str:
    """How a page is called in a test's id."""
    return str(page.relative_to(ROOT))


# --- the reference is whole


@pytest.mark.slow("imports the command line and reads every source file")
def test_printed_pages_are_fresh() -> None:
    stale = [path.name for path, text in printer().pages().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, f"run `python docs/print.py`: {stale}"


def test_every_setting_is_in_the_reference() -> None:
    page = reference("settings.md")
    names = [setting.name for setting in (*SETTINGS, *UPSTREAM_SETTINGS, *QUEUE_SETTINGS)]
    names += [setting.variable for setting in SETTINGS] + list(OTHER_VARIABLES)
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_status_is_in_the_reference() -> None:
    assert [status for status in Status if f"| `{status}` |" not in reference("status.md")] == []


@pytest.mark.slow("reads every source file")
def test_every_error_code_is_in_the_reference() -> None:
    from raincheck.core.errors import RaincheckError

    def codes(error: type[RaincheckError]) -> Iterator[str]:
        yield error.code
        for one in error.__subclasses__():
            yield from codes(one)

    page = reference("errors.md")
    assert [code for code in {*codes(RaincheckError), *printer().reason_codes()} if f"`{code}`" not in page] == []


@pytest.mark.slow("reads every source file")
def test_every_log_event_and_metric_is_in_the_reference() -> None:
    page = reference("telemetry.md")
    names = [*printer().log_events(), *(name for name, *_ in printer().metrics())]
    assert "request.claimed" in names
    assert "raincheck_submitted_total" in names
    assert [name for name in names if f"`{name}`" not in page] == []


def test_every_metric_that_the_page_names_is_at_the_endpoint() -> None:
    """The printed names come from reading the source; this asks the real page."""
    from raincheck.telemetry import Metrics

    text = Metrics().page().decode()
    assert [name for name, *_ in printer().metrics() if f"# HELP {name} " not in text] == []


def test_every_command_is_in_the_reference() -> None:
    page = reference("cli.md")
    assert "raincheck serve" in commands()
    assert [name for name in commands() if f"## `{name}`" not in page] == []


def test_every_route_is_in_the_reference() -> None:
    page = reference("http.md")
    routes = {
        f"{method} {re.sub(r':[a-z]+}', '}', path).replace('{request_id}', '{id}')}"
        for handler in HANDLERS
        for path in handler.paths
        for method in handler.http_methods
        if method not in ("HEAD", "OPTIONS") and not path.startswith("/v1/chat/{path") and handler.include_in_schema
    }
    assert "POST /v1/chat/completions" in routes
    assert sorted(route for route in routes if f"`{route}`" not in page) == []


# --- what is written is true


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    broken = list[str]()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        there = (page.parent / path) if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_commands_in_the_docs_exist_with_their_options(page: Path) -> None:
    wrong = list[str]()
    for line in command_lines(page.read_text(encoding="utf-8")):
        words = shlex.split(line, comments=True)
        named = next((name for size in (3, 2) if (name := " ".join(words[:size])) in commands()), None)
        if words[:2] in (["raincheck", "--help"], ["raincheck", "--version"]):
            continue
        options = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} - {"--help", "-h"}
        known = {option for one in commands()[named].params for option in one.opts} if named else set[str]()
        if named is None or not options <= known:
            wrong.append(line)
    assert wrong == []


CALL = re.compile(
    r"""(?:^|[|;&(]|\bdo\b|\bxargs\b|\bsudo\ -u\ \w+)\s*(?:[A-Z_]+=\S+\s+)*    # where a command may begin
    (raincheck\ (?:"[^"]*"|'[^']*'|\$\([^)]*\)|[^|;&)"'])*)                      # up to where it ends""",
    re.VERBOSE,
)


def command_lines(text: str) -> list[str]:
    """Each call of raincheck in the shell fences of a page, cut out of what is around it."""
    fences = re.findall(r"^```(?:bash|console)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for fence in fences for line in fence.replace("\\\n", " ").splitlines()]
    return [call for line in lines for call in CALL.findall(line)]


def test_calls_are_found_wherever_they_stand_in_a_line() -> None:
    text = """
```bash
raincheck serve --port 1
ID=$(raincheck submit "a (b) | c" --wait)
X=1 raincheck keys list | xargs raincheck cancel
```
"""
    assert [call.strip() for call in command_lines(text)] == [
        "raincheck serve --port 1",
        'raincheck submit "a (b) | c" --wait',
        "raincheck keys list",
        "raincheck cancel",
    ]


def test_the_version_is_the_same_everywhere() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        version = tomllib.load(file)["project"]["version"]
    heading = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert raincheck.__version__ == version
    assert heading is not None
    assert version in re.findall(r"\d+\.\d+\.\d+", heading[1])


def test_every_decision_and_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md") if page.name != "index.md"]
    assert [page for page in pages if f"({page})" not in index] == []


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in (DOCS / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_tests_that_the_guarantees_name_are_there_and_name_them() -> None:
    text = (DOCS / "guarantees.md").read_text(encoding="utf-8")
    sections = re.split(r"^## (G\d+): .+$", text, flags=re.MULTILINE)[1:]
    found = dict(zip(sections[::2], sections[1::2], strict=True))
    assert list(found) == [f"G{number}" for number in range(1, 13)]
    wrong = list[str]()
    for promise, section in found.items():
        places = re.findall(r"`(tests/[\w/.]+)`", section)
        assert places, f"{promise} names no tests"
        wrong += [f"{promise}: {place}" for place in places if not names(ROOT / place, promise)]
    assert wrong == []


def names(place: Path, promise: str) -> bool:
    """Whether a test file, or one in a folder, names a promise."""
    files = place.glob("test_*.py") if place.is_dir() else [place] if place.is_file() else []
    return any(re.search(rf"\b{promise}\b", file.read_text(encoding="utf-8")) for file in files)


def test_the_way_of_a_request_in_contributing_names_real_files() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## The way of a request")[2].partition("\n## ")[0]
    named = re.findall(r"`((?:[a-z]+/)*[a-z_]+(?:\.py|/))`", section)
    assert "store/sqlite/ends.py" in named
    assert [name for name in named if not (ROOT / "src/raincheck" / name).exists()] == []

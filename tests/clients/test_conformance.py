"""The clients in our own environment, unmodified, against a real server: what they find is what the committed results
say. `make clients` tries other versions too and writes the results anew."""

from contextlib import nullcontext
from pathlib import Path

import msgspec
import pytest

from tests.clients import results
from tests.clients.checks import Checks, Given, Mode, differs
from tests.clients.desk import a_desk
from tests.clients.trying import PINNED, SCRIPTS, Outcome, Script, tried

OWN = [script for script in SCRIPTS if script.pinned]


@pytest.mark.slow("starts a server, and makes every call there is")
@pytest.mark.parametrize("script", OWN, ids=[script.module for script in OWN])
async def test_the_pinned_client_finds_what_the_results_say(script: Script, tmp_path: Path) -> None:
    async with a_desk(tmp_path) as desk:
        outcomes = await tried(script, PINNED, desk)

    assert [f"{each.call}: {each.error}" for each in outcomes if not each.works] == []
    known = results.read()
    for name, found in results.gathered([(PINNED, outcomes)]).items():
        assert name in known, f"run `make clients`: {name}"
        assert found.versions[PINNED] == known[name].versions[PINNED], f"run `make clients`: another {name}"
        assert found.column(PINNED) == known[name].column(PINNED), f"run `make clients`: {name}"


def test_the_committed_results_have_no_failure() -> None:
    words = {word for client in results.read().values() for call in client.calls.values() for word in call.values()}

    assert "fails" not in words
    assert all(word == "works" or word.startswith("differs: ") for word in words)


def test_results_are_by_client_call_and_column() -> None:
    new = Outcome("c", "2", "call", works=True, differs="a little")
    old = [Outcome("c", "1", "call", works=True), Outcome("c", "1", "gone", works=False, error="at line 3")]

    [(name, client)] = results.gathered([(PINNED, [new]), ("old", old)]).items()

    assert (name, client.versions) == ("c", {PINNED: "2", "old": "1"})
    assert client.calls == {"call": {PINNED: "differs: a little", "old": "works"}, "gone": {"old": "fails"}}
    assert client.column(PINNED) == {"call": "differs: a little"}


def test_both_kinds_of_a_client_have_to_agree(capsys: pytest.CaptureFixture[str]) -> None:
    checks = Checks("c", "1")

    @checks("differs alike")
    def alike(_: Given) -> str:  # pyright: ignore[reportUnusedFunction]
        return differs("a little")

    @checks("differs in one of them")
    def alone(given: Given) -> str | None:  # pyright: ignore[reportUnusedFunction]
        return differs("a little") if given.client == "blocking" else None

    @checks("breaks in one of them")
    def broken(given: Given) -> None:  # pyright: ignore[reportUnusedFunction]
        if given.client != "blocking":
            raise ValueError("not so")

    @checks("is not there", needs="nothing_like_it")
    def missing(_: Given) -> None:  # pyright: ignore[reportUnusedFunction]
        raise AssertionError

    failed = checks.run(
        ["http://127.0.0.1:1", "localhost:1", "key"], {"sync": kind("blocking"), "async": kind("other")}
    )

    outcomes = [msgspec.json.decode(line, type=Outcome) for line in capsys.readouterr().out.splitlines()]
    assert failed == 2
    assert [(each.call, each.word) for each in outcomes] == [
        ("differs alike", "differs: a little"),
        ("differs in one of them", "fails"),
        ("breaks in one of them", "fails"),
    ]
    assert outcomes[1].error == "sync: a little; async: works"
    assert (outcomes[2].error or "").startswith("sync: works; async: ValueError: not so (line ")


def kind(name: str) -> Mode:
    return lambda _: nullcontext(name)

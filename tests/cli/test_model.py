"""`raincheck model pull`: offline it says what to do, elsewhere its progress is told in lines."""

from pathlib import Path

import pytest

from raincheck.cli.model import pull_progress
from tests.cli.desk import run


def test_offline_without_weights_says_what_to_do(tmp_path: Path):
    ended = run("model", "pull", "--dir", str(tmp_path), RAINCHECK_OFFLINE="1")
    assert (ended.code, ended.stdout) == (1, "")
    assert "raincheck model pull" in ended.stderr


def test_without_a_terminal_progress_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]):
    with pull_progress() as progress:
        for done in range(101):
            progress(done << 20, 100 << 20)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[-1] == "fetching the embedded model: 100 of 100 MiB"


def test_nothing_is_said_when_nothing_is_fetched(capsys: pytest.CaptureFixture[str]):
    with pull_progress():
        pass
    assert capsys.readouterr().err == ""

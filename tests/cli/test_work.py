"""`raincheck work`: what stops it before it starts. (What it does is told in stories/test_roles.py.)"""

from pathlib import Path

import pytest

from tests.cli.desk import run


def test_a_file_cannot_be_shared_with_a_worker(tmp_path: Path):
    store = tmp_path / "raincheck.db"
    ended = run("work", "--store", f"sqlite:///{store}", "--upstream", "http://127.0.0.1:9")
    assert (ended.code, ended.stdout) == (1, "")
    assert "postgresql://" in ended.stderr
    assert not store.exists()


@pytest.mark.parametrize("port", ["0", "70000", "x"])
def test_a_port_that_cannot_be_is_a_usage_error(port: str):
    assert run("work", "--port", port).code == 2

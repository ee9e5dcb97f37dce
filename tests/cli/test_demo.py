"""The parts of the demo: its moment, its table, its sandbox. The whole of it is a story of its own."""

import asyncio
import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from raincheck.cli.demo import Asked, is_the_moment
from raincheck.cli.exits import Problem
from raincheck.cli.sandbox import Sandbox, is_ready
from raincheck.cli.scoreboard import Scoreboard
from raincheck.client import Request
from tests.cli.test_exits import nobody
from tests.server import running_server


def a_request(status: str, **members: Any) -> Request:
    return Request.construct(id="req_1", status=status, **members)


def asked(*requests: Request) -> list[Asked]:
    return [Asked("why?", request) for request in requests]


def test_the_server_is_killed_when_one_is_done_and_another_half_done():
    done, half_done = a_request("completed"), a_request("processing", progress=0.5)
    assert is_the_moment(asked(done, half_done, a_request("pending")))
    assert not is_the_moment(asked(a_request("pending"), half_done))
    assert not is_the_moment(asked(done, a_request("processing"), a_request("pending")))


def test_without_a_terminal_each_change_is_a_line():
    out = io.StringIO()
    with Scoreboard(Console(file=out)) as board:
        for request in (a_request("pending"), a_request("processing"), a_request("processing", progress=0.5)):
            board.show([("why?", request)])
        board.say("[bold]something happened[/]")
    assert out.getvalue().splitlines() == [
        "req_1  pending     attempt 1  why?",
        "req_1  processing  attempt 1  why?",
        "something happened",
    ]


def test_on_a_terminal_there_is_a_table_that_moves():
    out = io.StringIO()
    with Scoreboard(Console(file=out, force_terminal=True, width=100)) as board:
        board.show([("why?", a_request("pending", position=3)), ("how?", a_request("processing", progress=0.5))])
    assert all(word in out.getvalue() for word in ("question", "why?", "pending", "3", "how?", "processing"))


async def test_only_a_raincheck_server_counts_as_one(tmp_path: Path):
    async with running_server(tmp_path) as server:
        assert await asyncio.to_thread(is_ready, server.url)
        assert not await asyncio.to_thread(is_ready, server.upstream.base_url)
    assert not is_ready(nobody())


@pytest.mark.slow("starts a process that is meant to fail")
def test_a_server_that_does_not_start_is_told_with_its_last_words_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("RAINCHECK_MODEL_DIR", str(tmp_path / "nothing"))
    monkeypatch.setenv("RAINCHECK_OFFLINE", "1")
    monkeypatch.setenv("RAINCHECK_PORT", "not a port, and not for the demo's server")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(Problem, match="offline"), Sandbox():
        pass
    assert not list(tmp_path.glob("raincheck-demo-*"))

"""`raincheck queues` and `raincheck upstreams`: limits and pauses set beside a running server, and told."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from raincheck.cli.show import print_table
from raincheck.cli.standing import COLUMNS
from tests.cli.desk import Ended, run, run_at
from tests.server import Running, running_server


def at(folder: Path) -> list[str]:
    return ["--store", f"sqlite:///{folder / 'raincheck.db'}"]


def queues(folder: Path, *arguments: str) -> Ended:
    return run("queues", *arguments, *at(folder))


def upstreams(folder: Path, *arguments: str) -> Ended:
    return run("upstreams", *arguments, *at(folder))


def test_limits_that_are_not_named_stay_and_none_takes_one_away(tmp_path: Path):
    assert queues(tmp_path, "set", "m", "--max-concurrency", "7", "--rpm", "120").lines == [
        "m: 7 at once, 120 a minute, not paused"
    ]
    assert queues(tmp_path, "set", "m", "--rpm", "none", "--tpm", "90000").lines == [
        "m: 7 at once, 90000 tokens a minute, not paused"
    ]
    [line] = queues(tmp_path, "list", "--json").json
    assert (line["name"], line["max_concurrency"], line["rpm"], line["tpm"]) == ("m", 7, None, 90_000)
    queues(tmp_path, "set", "m", "--max-concurrency", "none", "--tpm", "none")
    assert [line for line in queues(tmp_path, "list", "--json").json if line["max_concurrency"] or line["tpm"]] == []


def test_auto_is_shown_with_the_number_it_has_found(tmp_path: Path):
    made = upstreams(tmp_path, "set", "gpu", "--max-concurrency", "auto", "--json").json
    assert (made["object"], made["max_concurrency"], made["level"]) == ("upstream", "auto", 4.0)
    [row] = upstreams(tmp_path, "list").lines
    assert row.split("\t") == ["gpu", "0", "auto (4 at once)", ""]


def test_a_family_by_itself_lists(tmp_path: Path):
    upstreams(tmp_path, "set", "gpu", "--rpm", "60")
    assert upstreams(tmp_path).lines == upstreams(tmp_path, "list").lines == ["gpu\t0\t60 a minute\t"]
    assert upstreams(tmp_path, "--json").json[0]["rpm"] == 60


@pytest.mark.parametrize("family", ["queues", "upstreams", "tenants"])
def test_an_option_before_the_subcommand_is_refused_and_not_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
):
    monkeypatch.chdir(tmp_path)
    for options in (at(tmp_path / "other"), ["--json"], ["--config", "raincheck.toml"]):
        ended = run(family, *options, "list")
        assert ended.code == 2
        told = " ".join(ended.stderr.replace("│", " ").split())
        assert f"options stand after the subcommand: list … {options[0]}" in told
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_leaves_room_for_the_numbers_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(COLUMNS["queue"], [("m" * 75, "1234", "56", "3m", "7 at once", "")], empty="")
    shown = capsys.readouterr().out
    assert "1234" in shown
    assert "7 at once" in shown
    assert shown.count("m") >= 75


def test_a_pause_has_a_reason_and_an_end_or_lasts_until_it_is_resumed(tmp_path: Path):
    [told] = queues(tmp_path, "pause", "m", "--for", "10m", "--reason", "new weights").lines
    assert told.startswith("m: no limits, paused until 20")
    assert told.endswith(": new weights")
    for_good = queues(tmp_path, "pause", "m", "--json").json
    assert (for_good["paused"], for_good["paused_until"]) == (True, None)
    assert for_good["pause_reason"] == "paused by an operator"
    [row] = queues(tmp_path).lines
    assert row.split("\t") == ["m", "0", "0", "", "", "paused: paused by an operator"]
    assert queues(tmp_path, "resume", "m").lines == ["m: no limits, not paused"]


def test_a_pause_leaves_the_limits_and_new_limits_leave_the_pause(tmp_path: Path):
    queues(tmp_path, "set", "m", "--max-concurrency", "3")
    queues(tmp_path, "pause", "m")
    assert queues(tmp_path, "set", "m", "--rpm", "9").lines == [
        "m: 3 at once, 9 a minute, paused: paused by an operator"
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "m"], "give at least one of"),
        (["set", "m", "--rpm", "0"], "or none"),
        (["set", "m", "--rpm", "auto"], "or none"),
        (["set", "m", "--max-concurrency", "many"], '"auto", or none'),
        (["pause", "m", "--for", "soon"], "--for"),
        (["pause", "m", "--for", "0s"], "more than 0"),
        (["pause", "m", "--reason", "a\nb"], "one line"),
        (["pause", " "], "one line"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tmp_path: Path, arguments: list[str], says: str):
    ended = queues(tmp_path, *arguments)
    assert ended.code == 2
    assert says in " ".join(ended.stderr.replace("│", " ").split())
    assert not (tmp_path / "raincheck.db").exists()


def test_a_name_that_nobody_has_heard_of_is_told_and_kept_all_the_same(tmp_path: Path):
    first = queues(tmp_path, "set", "qwen", "--rpm", "5")
    assert (first.code, "there is no queue 'qwen' yet" in first.stderr) == (0, True)
    assert queues(tmp_path, "set", "qwen", "--rpm", "6").stderr == ""


def test_of_an_upstream_only_what_the_store_can_know_is_told(tmp_path: Path):
    first = upstreams(tmp_path, "pause", "up")
    assert (first.code, "no limits or pauses were recorded for an upstream 'up' so far" in first.stderr) == (0, True)
    assert upstreams(tmp_path, "resume", "up").stderr == ""
    assert upstreams(tmp_path).stderr.strip() == "no upstream has a limit or a pause"
    config = tmp_path / "raincheck.toml"
    config.write_text('[[upstream]]\nname = "named"\nbase_url = "http://h"\n')
    assert upstreams(tmp_path, "pause", "named", "--config", str(config)).stderr == ""


def test_who_only_looks_makes_no_store(tmp_path: Path):
    for command in (["queues"], ["upstreams", "list"], ["workers"], ["tenants"]):
        ended = run(*command, *at(tmp_path))
        assert (ended.code, "there is no store" in ended.stderr) == (1, True)
    assert list(tmp_path.iterdir()) == []


async def line_of(server: Running, folder: Path, name: str) -> dict[str, Any]:
    lines = (await run_at(server, "queues", "--json", *at(folder))).json
    return next(line for line in lines if line["name"] == name)


@pytest.mark.slow("the server itself looks for what others changed every 5 s")
async def test_g7_a_queue_paused_beside_a_running_server_starts_nothing_until_it_is_resumed(tmp_path: Path):
    """G7: and the request that waits says why."""
    async with running_server(tmp_path) as server:
        paused = await run_at(server, "queues", "pause", "m", "--reason", "lunch", *at(tmp_path))
        assert paused.code == 0
        request_id = await server.defer()
        request = (await server.get(f"/v1/requests/{request_id}")).json
        assert (request["status"], request["waiting_for"]["reason"]) == ("pending", "paused")
        assert (request["waiting_for"]["message"], request["waiting_for"]["until"]) == ("lunch", None)
        line = await line_of(server, tmp_path, "m")
        assert (line["pending"], line["processing"], line["paused"]) == (1, 0, True)
        assert line["waiting_since"] == pytest.approx(request["created_at"], abs=0.01)

        assert (await run_at(server, "queues", "resume", "m", *at(tmp_path))).code == 0
        assert (await server.ended(request_id))["status"] == "completed"


async def test_a_queue_that_a_limit_holds_says_which_and_until_when(tmp_path: Path):
    """G7: told in the list of queues, and by the request."""
    async with running_server(tmp_path) as server:
        await run_at(server, "queues", "set", "m", "--rpm", "1", *at(tmp_path))
        await server.ended(await server.defer())
        request_id = await server.defer()
        async with asyncio.timeout(5):
            reply = await server.get(f"/v1/requests/{request_id}")
            while reply.json["waiting_for"]["reason"] == "position":
                reply = await server.get(f"/v1/requests/{request_id}")
        waiting_for = reply.json["waiting_for"]
        line = await line_of(server, tmp_path, "m")

    assert (waiting_for["reason"], waiting_for["message"]) == (
        "rate_limited",
        "at most 1 requests a minute for queue m",
    )
    assert line["held_reason"] == waiting_for["message"]
    assert line["held_until"] == pytest.approx(waiting_for["until"])
    assert 0 < waiting_for["until"] - reply.json["created_at"] <= 61


async def test_upstreams_of_a_server_are_listed_with_what_runs_there(tmp_path: Path):
    async with running_server(tmp_path) as server:
        [line] = (await run_at(server, "upstreams", "--json", *at(tmp_path))).json
    assert (line["name"], line["max_concurrency"], line["processing"], line["paused"]) == ("up", 4, 0, False)


@pytest.mark.slow("starts a PostgreSQL")
async def test_g7_on_postgresql_the_workers_hear_of_a_resume_at_once(tmp_path: Path):
    """G7: no need to look every 5 s."""
    from tests.store.postgres.databases import databases

    url = await databases().lend()
    async with running_server(tmp_path, store_url=url) as server:
        assert (await run_at(server, "queues", "pause", "m", "--store", url)).code == 0
        request_id = await server.defer()
        [line] = (await run_at(server, "queues", "--json", "--store", url)).json
        assert (line["name"], line["pending"], line["paused"]) == ("m", 1, True)
        assert (await run_at(server, "queues", "resume", "m", "--store", url)).code == 0
        async with asyncio.timeout(2):
            assert (await server.ended(request_id))["status"] == "completed"
        [worker] = (await run_at(server, "workers", "--json", "--store", url)).json
        assert worker["running"] == 0
    databases().give_back(url)

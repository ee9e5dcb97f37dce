"""`raincheck tenants`: shares and caps, changed one by one and in force at a running server."""

import asyncio
from pathlib import Path

import pytest

from tests.cli.desk import Ended, run, run_at
from tests.scripted import text
from tests.server import running_server


def tenants(folder: Path, *arguments: str) -> Ended:
    return run("tenants", *arguments, "--store", f"sqlite:///{folder / 'raincheck.db'}")


def test_caps_that_are_not_named_stay_and_none_takes_one_away(tmp_path: Path):
    tenants(tmp_path, "set", "lab", "--weight", "3", "--max-running", "8", "--max-body", "2MiB")
    told = tenants(tmp_path, "set", "lab", "--max-running", "none", "--max-pending", "100")
    assert told.lines == ["lab: weight 3, max pending 100, max body 2097152"]
    [_, lab] = tenants(tmp_path, "list", "--json").json
    assert lab == {
        "name": "lab",
        "object": "tenant",
        "weight": 3.0,
        "max_pending": 100,
        "max_running": None,
        "max_body_bytes": 2 << 20,
    }


def test_tenants_with_keys_are_listed_beside_the_default_one(tmp_path: Path):
    store = ["--store", f"sqlite:///{tmp_path / 'raincheck.db'}"]
    run("keys", "create", "a", "--tenant", "lab", "--max-pending", "5", *store)
    tenants(tmp_path, "set", "lab", "--max-running", "2")
    run("keys", "create", "b", "--tenant", "lab", "--weight", "2", *store)
    assert tenants(tmp_path).lines == ["default\t1\t\t\t", "lab\t2\t5\t2\t"]


def test_a_tenant_without_a_key_may_be_a_slip_of_the_pen_and_is_told(tmp_path: Path):
    store = ["--store", f"sqlite:///{tmp_path / 'raincheck.db'}"]
    first = tenants(tmp_path, "set", "lab", "--weight", "2")
    assert (first.code, "tenant 'lab' has no key yet" in first.stderr) == (0, True)
    assert tenants(tmp_path).lines == ["default\t1\t\t\t", "lab\t2\t\t\t"]
    run("keys", "create", "a", "--tenant", "lab", *store)
    assert tenants(tmp_path, "set", "lab", "--weight", "3").stderr == ""
    assert tenants(tmp_path, "set", "default", "--weight", "3").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["set", "lab"], "give at least one of"),
        (["set", "lab", "--max-running", "0"], "or none"),
        (["set", "lab", "--max-body", "huge"], "or none"),
        (["set", "lab", "--weight", "0"], "--weight"),
        (["set", "a\nb", "--weight", "1"], "one line"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(tmp_path: Path, arguments: list[str], says: str):
    ended = tenants(tmp_path, *arguments)
    assert ended.code == 2
    assert says in " ".join(ended.stderr.replace("│", " ").split())


async def test_g7_a_tenant_at_its_cap_of_running_requests_waits_and_is_told(tmp_path: Path):
    """G7: the cap is over all queues; whoever looks sees that it is the tenant's own."""
    async with running_server(tmp_path, models=("m", "n")) as server:
        store = ["--store", f"sqlite:///{tmp_path / 'raincheck.db'}"]
        await run_at(server, "tenants", "set", "default", "--max-running", "1", *store)
        go_on = asyncio.Event()
        server.upstream.always(text(before=go_on))
        first = await server.defer()
        await server.upstream.received()
        second = await server.defer(model="n")
        async with asyncio.timeout(5):
            reply = await server.get(f"/v1/requests/{second}")
            while reply.json["waiting_for"]["reason"] == "position":
                reply = await server.get(f"/v1/requests/{second}")
        assert reply.json["waiting_for"]["reason"] == "tenant_limit"
        assert "max_running" in reply.json["waiting_for"]["message"]

        go_on.set()
        assert [(await server.ended(each))["status"] for each in (first, second)] == ["completed"] * 2

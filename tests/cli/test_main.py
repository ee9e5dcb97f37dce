"""The entry point: help for everything, exit codes told, and a start that loads nothing heavy."""

import subprocess
import sys

import pytest

from raincheck import __version__
from raincheck.cli.exits import CODES
from tests.cli.desk import examples, run

COMMANDS = [
    "serve",
    "work",
    "demo",
    "submit",
    "wait",
    "events",
    "status",
    "list",
    "cancel",
    "requeue",
    "check",
    "workers",
]
FAMILIES = {
    "keys": ("create", "list", "revoke"),
    "tenants": ("list", "set"),
    "queues": ("list", "pause", "resume", "set"),
    "upstreams": ("list", "pause", "resume", "set"),
    "store": ("copy",),
    "model": ("pull",),
    "webhooks": (
        "create",
        "list",
        "show",
        "update",
        "enable",
        "disable",
        "delete",
        "rotate",
        "secret",
        "test",
        "events",
        "deliveries",
        "delivery",
        "redeliver",
        "listen",
        "verify",
    ),
    "batch": ("run", "status", "list", "cancel", "results", "estimate"),
}


def test_help_names_every_command_and_every_exit_code():
    told = run("--help").stdout
    assert all(f"\n  {name} " in told for name in [*COMMANDS, *FAMILIES])
    assert all(f"{code:d}  {words}" in told for code, words in CODES.items())


@pytest.mark.parametrize(
    "command", [*COMMANDS, *(f"{family} {one}" for family, members in FAMILIES.items() for one in members)]
)
def test_every_command_has_help_with_examples_and_can_speak_json(command: str):
    told = run(*command.split(), "--help").stdout
    assert any(f"raincheck {command}" in line for line in examples(told))
    assert "--json" in told


def test_the_version_is_told():
    assert run("--version").stdout == f"raincheck {__version__}\n"


def test_an_unknown_command_is_a_usage_error():
    ended = run("sumbit")
    assert (ended.code, ended.stdout) == (2, "")
    assert "sumbit" in ended.stderr


@pytest.mark.slow("starts an interpreter")
def test_help_loads_neither_the_client_nor_the_server_nor_rich():
    heavy = "{'openai', 'litestar', 'uvicorn', 'apsw', 'aiohttp', 'rich', 'msgspec', 'asyncio'}"
    code = f"import sys, raincheck.cli.main; print(sorted({heavy} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

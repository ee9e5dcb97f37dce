"""The command line in this process, against a real server: what was typed in, what came out."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from raincheck.cli.main import app
from tests.server import Running


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)

    @property
    def lines(self) -> list[str]:
        return self.stdout.splitlines()


def run(*arguments: str, stdin: str | bytes | None = None, **variables: str) -> Ended:
    """Run a command; variables of the environment in capitals."""
    clean = {"RAINCHECK_BASE_URL": None, "RAINCHECK_API_KEY": None, "RAINCHECK_CONFIG": None}
    result = CliRunner().invoke(app, arguments, input=stdin, env=clean | variables)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(result.exit_code, result.stdout, result.stderr)


async def run_at(server: Running, *arguments: str, stdin: str | None = None, **variables: str) -> Ended:
    """Run a command against a server of this event loop."""
    variables = {"RAINCHECK_BASE_URL": server.url} | variables
    return await asyncio.to_thread(lambda: run(*arguments, stdin=stdin, **variables))


def examples(text: str) -> Sequence[str]:
    """The lines of a help text that show the command in use."""
    return [line for line in map(str.strip, text.splitlines()) if "raincheck " in line and not line.startswith("Usage")]

"""The command line in this process, against a real server: what was typed in, what came out."""

import asyncio
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress
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


async def show_at(server: Running, *arguments: str, columns: int = 80) -> list[str]:
    """The lines that a command shows in a real terminal of that width, without its colours."""
    return await asyncio.to_thread(_show, server.url, arguments, columns)


def _show(url: str, arguments: Sequence[str], columns: int) -> list[str]:
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    left_out = ("COLUMNS", "LINES", "RAINCHECK_API_KEY", "RAINCHECK_CONFIG", "CI")
    variables = {name: value for name, value in os.environ.items() if name not in left_out}
    variables |= {"RAINCHECK_BASE_URL": url, "TERM": "xterm", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "raincheck.cli.main", *arguments]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, env=variables):
        os.close(its)
        shown = b""
        with suppress(OSError):  # that is how it ends
            while block := os.read(ours, 65536):
                shown += block
    os.close(ours)
    return shown.decode().replace("\r\n", "\n").splitlines()


def examples(text: str) -> Sequence[str]:
    """The lines of a help text that show the command in use."""
    return [line for line in map(str.strip, text.splitlines()) if "raincheck " in line and not line.startswith("Usage")]

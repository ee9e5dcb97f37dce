"""How a command ends: the exit codes, and the one translation of errors into a line for people and a code."""

import json
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, cast

import typer

from raincheck.cli.show import say
from raincheck.core.errors import RaincheckError

if TYPE_CHECKING:
    from openai import APIStatusError


class Code(IntEnum):
    """What the shell is told."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    TIMEOUT = 4
    UNREACHABLE = 5
    INTERRUPTED = 130


CODES = {
    Code.OK: "done; for a wait: every request completed",
    Code.FAILED: "it did not work; for a wait: one failed, was cancelled or expired",
    Code.USAGE: "the command was not understood",
    Code.NOT_FOUND: "there is nothing by that id",
    Code.TIMEOUT: "still under way when the timeout was over",
    Code.UNREACHABLE: "the server cannot be reached",
    Code.INTERRUPTED: "stopped with Ctrl-C; requests go on",
}


_COMMANDS = {"GET /v1/webhook_event_types": "`raincheck webhooks events`"}
"""What the server advises to call, and who sits at a terminal to run."""


class Problem(Exception):
    """Why a command cannot go on: what to say, and the exit code."""

    def __init__(self, message: str, code: Code = Code.FAILED, kind: str = "error") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.kind = kind


def end_badly(problem: Problem, *, as_json: bool) -> typer.Exit:
    """Say what went wrong on stderr; raise what comes back."""
    if as_json:
        told = {"error": {"message": problem.message, "code": problem.kind, "exit_code": int(problem.code)}}
        say(json.dumps(told), err=True)
    else:
        say(f"raincheck: {problem.message}", err=True)
    return typer.Exit(problem.code)


def explain(error: Exception) -> Problem | None:
    """What an error means for someone at a terminal; None when it is a fault of ours and wants its traceback."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RaincheckError):
        return Problem(error.message, Code.NOT_FOUND if error.code == "not_found" else Code.FAILED, error.code)
    # The client's errors come only from where it was imported; importing it to ask would cost a second.
    return _explain_client(error) if "raincheck.client" in sys.modules else None


def _explain_client(error: Exception) -> Problem | None:
    import openai

    from raincheck.client.errors import BatchFailed, BatchTimeout, RaincheckClientError, WaitTimeout

    match error:
        case WaitTimeout() | BatchTimeout():
            return Problem(str(error), Code.TIMEOUT, "timeout")
        case BatchFailed():
            return Problem(str(error), Code.FAILED, "bad_input")
        case RaincheckClientError():
            return Problem(str(error), Code.FAILED, "request_not_completed")
        case openai.APIConnectionError():
            url = str(error.request.url.copy_with(raw_path=b"/")).rstrip("/")
            hint = "start a server with `raincheck serve`, or point RAINCHECK_BASE_URL or --base-url at one"
            return Problem(f"cannot reach {url}: {hint}", Code.UNREACHABLE, "unreachable")
        case openai.NotFoundError():
            return Problem(words_of(error), Code.NOT_FOUND, error.code or "not_found")
        case openai.APIStatusError():
            return Problem(words_of(error), Code.FAILED, error.code or f"http_{error.status_code}")
        case openai.OpenAIError():
            return Problem(str(error), Code.FAILED)
        case _:
            return None


def words_of(error: "APIStatusError") -> str:
    """The server's own words, without the status and the JSON around them; calls it names as commands."""
    body = cast("object", error.body)
    body = cast("dict[str, object]", body) if isinstance(body, dict) else {}
    told = str(body.get("message") or error.message)
    for call, command in _COMMANDS.items():
        told = told.replace(call, command)
    return told

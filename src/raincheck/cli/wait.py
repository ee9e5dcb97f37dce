"""`raincheck wait` and `raincheck events`: stay with requests until they have ended."""

import json
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from raincheck.cli.exits import Code
from raincheck.cli.options import AsJson, BaseUrl, Ids, OneId, Timeout
from raincheck.cli.show import console, is_terminal, say, visible
from raincheck.cli.talk import answer_text, connect, print_record
from raincheck.core.clock import SECOND
from raincheck.core.units import parse_duration

if TYPE_CHECKING:
    from raincheck.client import Event, Raincheck, Request


def wait(ids: Ids, timeout: Timeout = "10m", base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Wait for requests and print their answers. The order is yours; the server may restart meanwhile.

    \b
    raincheck wait req_0199…
    raincheck wait $(cat ids.txt) --timeout 1h --json
    """
    patience = seconds_of(timeout, "--timeout")
    raise typer.Exit(wait_for_all(connect(base_url), ids, patience, as_json=as_json))


def events(request_id: OneId, base_url: BaseUrl = None, as_json: AsJson = False) -> None:
    """Follow a request while it is answered. Its text goes to stdout, its statuses to stderr.

    \b
    raincheck events req_0199…
    raincheck events req_0199… --json | jq -c .
    """
    follower = _print_json if as_json else _Reader()
    last: Request | None = None
    for event in connect(base_url).requests.events(request_id):
        follower(event)
        last = event.request or last
    raise typer.Exit(Code.OK if last is not None and last.status == "completed" else Code.FAILED)


def wait_for_all(client: "Raincheck", ids: Sequence[str], patience: float, *, as_json: bool) -> Code:
    """Wait for each in turn, `patience` seconds for all together, and print what came of it."""
    from raincheck.client import WaitTimeout

    until = time.monotonic() + patience
    worst = Code.OK
    for request_id in ids:
        try:
            request = _wait_for(client, request_id, max(0.0, until - time.monotonic()))
        except WaitTimeout as late:
            if as_json:
                print_record(late.request)
            say(f"raincheck: {late}", err=True)
            worst = Code.TIMEOUT
            continue
        except KeyboardInterrupt:
            say(f"\nstopped waiting; the work goes on: raincheck wait {' '.join(ids)}", err=True)
            raise
        if request.status != "completed":
            worst = max(worst, Code.FAILED)
        _print_end(request, as_json)
    return worst


def _wait_for(client: "Raincheck", request_id: str, patience: float) -> "Request":
    """The record of a request that has ended, its result in it."""
    from raincheck.client import RequestEnded

    seen: Request | None = None
    with _status_line() as tell:

        def on_update(request: "Request") -> None:
            nonlocal seen
            seen = request
            tell(request)

        try:
            client.requests.wait(request_id, timeout=patience, on_update=on_update)
        except RequestEnded as ended:
            return ended.request
    if seen is None or not seen.ended or seen.result is None:
        seen = client.requests.retrieve(request_id)
    return seen


def _print_end(request: "Request", as_json: bool) -> None:
    if as_json:
        print_record(request)
    elif request.status == "completed":
        say(answer_text(request.result))
    else:
        say(f"raincheck: {request}", err=True)


@contextmanager
def _status_line() -> "Generator[Callable[[Request], None]]":
    """Tells how a request stands: on one live line of a terminal, else on a line for each change."""
    if not is_terminal():
        yield lambda request: say(request, err=True)
        return
    from rich.markup import escape

    with console(stderr=True).status("asking…") as line:
        yield lambda request: line.update(escape(visible(str(request))))


def seconds_of(text: str, option: str) -> float:
    try:
        return parse_duration(text) / SECOND
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _print_json(event: "Event") -> None:
    say(json.dumps({"type": event.type, "id": event.id, "data": event.data}, ensure_ascii=False))


class _Reader:
    """Prints the answer as it comes. A second attempt begins the answer anew, and says so."""

    def __init__(self) -> None:
        self._attempt: str | None = None
        self._wrote = False

    def __call__(self, event: "Event") -> None:
        if event.type == "delta":
            self._text(event)
        elif (request := event.request) is not None:
            if self._wrote:
                say()
            say(request, err=True)
            if request.status == "completed" and not self._wrote:
                say(answer_text(request.result))
            self._wrote = False

    def _text(self, event: "Event") -> None:
        attempt = (event.id or "").partition("-")[0]
        if self._wrote and attempt != self._attempt:
            say()
            say(f"attempt {attempt} begins anew:", err=True)
        self._attempt = attempt
        self._wrote = self._wrote or bool(event.text)
        say(event.text, nl=False)

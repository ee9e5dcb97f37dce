import io
from typing import Any

from rich.console import Console

from raincheck.client.models import Request
from raincheck.client.watching import watching
from tests.client.servers import a_record


def a_request(status: str = "pending", **fields: Any) -> Request:
    return Request.construct(**a_record(status, **fields))


def a_console(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=120)


def drawn(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_bar_shows_where_the_request_is() -> None:
    console = a_console(terminal=True)

    with watching(None, progress=True, console=console) as observer:
        assert observer is not None
        observer(a_request("completed"))

    assert "req_1" in drawn(console)
    assert "100%" in drawn(console)
    assert "completed" in drawn(console)


def test_position_and_eta_are_in_the_bar() -> None:
    console = a_console(terminal=True)

    with watching(None, progress=True, console=console) as observer:
        assert observer is not None
        observer(a_request())

    assert "position 3" in drawn(console)
    assert "about 4 s left" in drawn(console)


def test_no_terminal_no_bar() -> None:
    console = a_console(terminal=False)

    with watching(None, progress=True, console=console) as observer:
        assert observer is None

    assert drawn(console) == ""


def test_a_notebook_has_a_bar_though_it_is_no_terminal() -> None:
    console = Console(file=io.StringIO(), force_jupyter=True, force_terminal=False)

    with watching(None, progress=False, console=console) as observer:
        assert observer is None
    assert console.is_jupyter


def test_on_update_is_not_called_for_a_clock_that_ticks() -> None:
    seen: list[Request] = []

    with watching(seen.append, progress=False) as observer:
        assert observer is not None
        for request in (a_request(), a_request(eta_seconds=3.1), a_request(position=2), a_request("processing")):
            observer(request)

    assert [(request.status, request.position) for request in seen] == [
        ("pending", 3),
        ("pending", 2),
        ("processing", None),
    ]


def test_both_may_look_on() -> None:
    seen: list[Request] = []
    console = a_console(terminal=True)

    with watching(seen.append, progress=True, console=console) as observer:
        assert observer is not None
        observer(a_request())

    assert len(seen) == 1
    assert "position 3" in drawn(console)

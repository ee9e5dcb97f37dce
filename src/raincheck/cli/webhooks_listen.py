"""`raincheck webhooks listen`: a receiver on this machine that shows what arrives, and may pass it on."""

import json
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from raincheck.cli.exits import Problem, words_of
from raincheck.cli.options import AsJson, BaseUrl, IncludeResult, words
from raincheck.cli.show import COLOURS, moment, say, visible
from raincheck.cli.talk import connect
from raincheck.core.clock import SECOND, now

if TYPE_CHECKING:
    from raincheck.client import Raincheck
    from raincheck.client.webhooks.receiving import Answer, Received, Receiver, Rejected

NAME = "raincheck webhooks listen"
_HOP = frozenset({"host", "connection", "keep-alive", "content-length", "transfer-encoding", "content-encoding"})
"""Headers that belong to one connection or to how a body was sent over it."""


def listen(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to listen; 0 for a free one.")] = 8422,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Where the server reaches it, if that is elsewhere: a tunnel.")
    ] = None,
    events: Annotated[
        list[str] | None,
        typer.Option(metavar="TYPES", help="Of what to be told, as in video.completed. [default: every end]"),
    ] = None,
    include_result: IncludeResult = False,
    no_register: Annotated[
        bool, typer.Option("--no-register", help="Only what names this URL as its webhook_url, not everything.")
    ] = False,
    forward_to: Annotated[
        str | None, typer.Option(metavar="URL", help="Pass each on, unchanged; its answer is what the server gets.")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after so many.")] = None,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """Listen for webhooks on this machine; print each that is genuine, with --json as it came, until Ctrl-C.

    The server must be allowed to call this machine: RAINCHECK_WEBHOOKS_ALLOW=127.0.0.1 raincheck serve

    \b
    raincheck webhooks listen
    raincheck webhooks listen --events video.completed,video.progress --forward-to http://127.0.0.1:8000/hook
    raincheck webhooks listen --no-register      # for requests with --webhook-url http://127.0.0.1:8422/
    raincheck webhooks listen --count 1 --json | jq .data
    """
    from raincheck.client.webhooks.receiving import Receiver

    client = connect(base_url)
    secrets = [client.webhooks.secret().signing_secret]
    with ExitStack() as open_, _until_told():
        answer = open_.enter_context(_forwarding(forward_to)) if forward_to else 204
        receiver = Receiver(secrets, answer)
        receiver.ready.clear()  # until all secrets are known
        here = open_.enter_context(_listening(receiver, host, port))
        there = url or here
        what = "what names it as its webhook_url"
        if not no_register:
            wanted = words(events, "--events") or ["*"]
            what = "every end" if wanted == ["*"] else ", ".join(wanted)
            open_.enter_context(_registered(client, receiver, there, wanted, include_result=include_result))
        say(f"listening at {there} for {what}; Ctrl-C stops", err=True)
        _show(receiver, count, forward_to, as_json=as_json)


@contextmanager
def _listening(receiver: "Receiver", host: str, port: int) -> Generator[str]:
    try:
        port = receiver.start(host, port)
    except OSError as error:
        told = f"cannot listen on {host}:{port}: {error.strerror or error}; --port 0 takes a free one"
        raise Problem(told) from None
    try:
        yield f"http://{f'[{host}]' if ':' in host else host}:{port}/"
    finally:
        receiver.stop()


@contextmanager
def _until_told() -> Generator[None]:
    """Ctrl-C and SIGTERM are how this ends; both clean up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    except KeyboardInterrupt:
        say("stopped", err=True)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


@contextmanager
def _registered(
    client: "Raincheck", receiver: "Receiver", url: str, events: list[str], *, include_result: bool
) -> Generator[None]:
    """An endpoint for as long as this lasts."""
    from openai import BadRequestError, NotFoundError

    from raincheck.client.errors import ListenerRefused

    endpoints = client.webhooks.endpoints
    for left in [each for each in endpoints.list(limit=100) if (each.name, each.url) == (NAME, url)]:
        endpoints.delete(left.id)  # by one that was killed: everything would come twice
    try:
        endpoint = endpoints.create(url, name=NAME, event_types=events, include_result=include_result)
    except BadRequestError as error:
        if error.code != "webhook_refused":
            raise
        raise Problem(str(ListenerRefused(url, words_of(error))), kind="webhook_refused") from None
    receiver.secrets.append(endpoint.signing_secret or "")
    try:
        yield
    finally:
        with suppress(NotFoundError):  # Somebody was faster.
            endpoints.delete(endpoint.id)


@contextmanager
def _forwarding(url: str) -> "Generator[Callable[[Received], Answer]]":
    import httpx2

    from raincheck.client.webhooks.receiving import Answer

    def forward(received: "Received") -> "Answer":
        headers = {name: value for name, value in received.headers.items() if name not in _HOP}
        try:
            answer = client.post(url, content=received.body, headers=headers)
        except httpx2.HTTPError as error:
            return Answer(502, {"content-type": "text/plain"}, f"{url} gave no answer: {error}\n".encode())
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in _HOP}
        return Answer(answer.status_code, kept, answer.content)

    with httpx2.Client(timeout=60) as client:
        yield forward


def _show(receiver: "Receiver", count: int | None, forward_to: str | None, *, as_json: bool) -> None:
    """Print what comes, until so many have come."""
    news = threading.Event()
    receiver.on_change = news.set
    receiver.ready.set()
    left = inf if count is None else count
    while left > 0:
        news.wait()
        news.clear()
        received, rejected = _drained(receiver)
        for refused in rejected:
            typer.echo(_refusal(refused), err=as_json)
        for came in received:
            if as_json:
                say(json.dumps(came.event.raw, ensure_ascii=False))
            else:
                typer.echo(_line(came, forward_to))
        left -= len(received)


def _drained(receiver: "Receiver") -> "tuple[list[Received], list[Rejected]]":
    """What has come since the last time. Nothing is kept: this may run for days."""
    with receiver.changed:
        came = receiver.received[:], receiver.rejected[:]
        receiver.received.clear()
        receiver.rejected.clear()
    while receiver.take(None, None) is not None:
        pass
    return came


def _line(came: "Received", forward_to: str | None) -> str:
    """`13:29:34  video.failed  video_0199…  no such model`, and what the answer was when it was someone else's."""
    event, data = came.event, came.event.data
    parts = [_now(), typer.style(visible(event.type), fg=COLOURS.get(event.moment)), data.id or event.id]
    if data.status not in (None, event.moment):
        parts.append(data.status)
    if data.error is not None:
        parts.append(data.error.message or data.error.code or "")
    if data.reason is not None:
        parts.append(f"{data.url}: {data.reason}")
    if data.progress is not None:
        parts.append(f"{data.progress:.0%} {data.progress_message or ''}".rstrip())
    if (event.attempt or 1) > 1:
        parts.append(f"(attempt {event.attempt})")
    if forward_to is not None:
        parts.append(f"→ {came.status}")
    time, colourful, *others = parts
    return "  ".join([time, colourful, *(visible(part) for part in others if part)])


def _refusal(refused: "Rejected") -> str:
    about = refused.headers.get("webhook-id", "a call without webhook-id")
    return f"{_now()}  {typer.style('refused', fg='red')}  {visible(f'{about}  {refused.error}')}"


def _now() -> str:
    return moment(now() / SECOND).rpartition(" ")[2]

"""`raincheck demo`: a few questions to a real model, deferred, watched, and carried through a kill of the server."""

import json
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.exits import Code, Problem
from raincheck.cli.extras import need_local, need_server
from raincheck.cli.model import pull_progress
from raincheck.cli.options import AsJson, BaseUrl
from raincheck.cli.show import console, visible
from raincheck.cli.submit import first_model
from raincheck.cli.talk import DEFAULT_URL, answer_text, connect

if TYPE_CHECKING:
    from rich.console import Console

    from raincheck.cli.sandbox import Sandbox
    from raincheck.client import Raincheck, Request

QUESTIONS = (
    ("What is the capital of Japan?", 24),
    ("Name three fruits.", 24),
    ("Explain in a few sentences why the sky is blue.", 140),
    ("Tell me a short story about a farmer who waits for rain.", 140),
)
"""What a model of 135M parameters can be asked without blushing, with the longest answer in tokens."""
VIDEO_MODEL = "preview"
CLIP = "A rocket launching into space"
CLIP_SECONDS = 3
LOOK_EVERY = 0.1


@dataclass(slots=True)
class Asked:
    """One question on its way."""

    question: str
    request: "Request"


def demo(
    no_kill: Annotated[bool, typer.Option("--no-kill", help="Leave out the part where the server is killed.")] = False,
    timeout: Annotated[int, typer.Option(metavar="SECONDS", help="Give up after so long.")] = 120,
    base_url: BaseUrl = None,
    as_json: AsJson = False,
) -> None:
    """See it work. A real language model answers, and a clip is drawn, while their server is killed and started again.

    Uses the server at RAINCHECK_BASE_URL (or the default address) if one runs, and never kills that one. Otherwise it
    starts its own in a temporary folder and removes it afterwards.

    \b
    raincheck demo
    raincheck demo --json | jq .requests
    """
    from raincheck.cli.sandbox import is_ready

    signal.signal(signal.SIGTERM, _interrupt)  # so that leaving cleans up, whoever ends it
    began = time.monotonic()
    out = console(stderr=as_json)
    with ExitStack() as stack:
        found = (base_url or DEFAULT_URL).rstrip("/")
        sandbox = None if is_ready(found.removesuffix("/v1")) else stack.enter_context(_own_server(out))
        if sandbox is None:
            out.print(f"A server runs at [cyan]{found}[/]: asking that one. It will not be killed.")
        client = connect(sandbox.url if sandbox else found).with_options(max_retries=0, timeout=5)
        model = first_model(client)
        asked = _submit(client, model, out)
        killed = _watch(client, asked, None if no_kill else sandbox, out, began + timeout)
        took = time.monotonic() - began
        if not as_json:
            _conclude(out, asked, killed, sandbox is not None, took)
    if as_json:
        typer.echo(json.dumps(_summary(asked, model, killed, took), ensure_ascii=False))
    done = all(each.request.status == "completed" for each in asked)
    raise typer.Exit(Code.OK if done else Code.FAILED)


def _own_server(out: "Console") -> "Sandbox":
    need_server()
    need_local()
    from raincheck.cli.sandbox import Sandbox
    from raincheck.upstream.local import weights

    if weights.find() is None:
        with pull_progress() as progress:
            weights.pull(progress=progress)
    sandbox = Sandbox()
    out.print(f"Starting a server at [cyan]{sandbox.url}[/] with the embedded model, in a temporary folder …")
    return sandbox


def _submit(client: "Raincheck", model: str, out: "Console") -> list[Asked]:
    began = time.monotonic()
    asked = list[Asked]()
    for question, max_tokens in QUESTIONS:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": max_tokens,
            "temperature": 0,
        }
        ticket = client.requests.submit("/chat/completions", body=body)
        asked.append(Asked(question, ticket.request))
    models = [model]
    if any(each.id == VIDEO_MODEL for each in client.models.list()):
        clip = {"model": VIDEO_MODEL, "prompt": CLIP, "seconds": CLIP_SECONDS}
        asked.append(Asked(f"{CLIP} (a clip)", client.requests.submit("/videos/generations", body=clip).request))
        models.append(VIDEO_MODEL)
    took = (time.monotonic() - began) * 1000
    out.print(
        f"Submitted {len(asked)} requests to [bold]{' and '.join(models)}[/] in {took:.0f} ms; each is on disk. "
        "Now they wait:\n"
    )
    return asked


def _watch(client: "Raincheck", asked: Sequence[Asked], victim: "Sandbox | None", out: "Console", until: float) -> bool:
    """Show how they stand until all have ended, and kill the server once on the way; True when that was done."""
    import openai

    from raincheck.cli.scoreboard import Scoreboard

    killed = False
    with Scoreboard(out) as board:
        while not all(each.request.ended for each in asked):
            if time.monotonic() > until:
                raise Problem("the demo took too long; `raincheck serve` shows what is wrong", Code.TIMEOUT)
            for each in asked:
                try:
                    if not each.request.ended:
                        each.request = client.requests.retrieve(each.request.id)
                except openai.APIConnectionError as error:
                    raise Problem(f"the server does not answer any more: {error}", Code.UNREACHABLE) from None
            board.show([(each.question, each.request) for each in asked])
            if victim is not None and not killed and is_the_moment(asked):
                killed = True
                _kill(victim, asked, board.say)
            time.sleep(LOOK_EVERY)
    return killed


def is_the_moment(asked: Sequence[Asked]) -> bool:
    """When the loss would be greatest: something is done, and something else is half done."""
    states = [each.request.status for each in asked]
    half_done = any(each.request.status == "processing" and (each.request.progress or 0) > 0.1 for each in asked)
    return "completed" in states and half_done


def _kill(victim: "Sandbox", asked: Sequence[Asked], say: Callable[[str], None]) -> None:
    open_ones = sum(not each.request.ended for each in asked)
    say(f"[bold red]kill -9 {victim.pid}[/]: the server is gone, with {open_ones} requests unfinished.")
    victim.kill()
    began = time.monotonic()
    victim.start()
    say(
        f"[bold green]Started again[/] on the same store in {time.monotonic() - began:.1f} s. "
        f"All {len(asked)} requests are still there; what was under way is taken up at once."
    )


def _conclude(out: "Console", asked: Sequence[Asked], killed: bool, own: bool, took: float) -> None:
    from rich.markup import escape

    out.print()
    for each in asked:
        out.print(f"[bold]{escape(each.question)}[/]")
        text = answer_text(each.request.result) or str(each.request)
        out.print(f"  {escape(visible(' '.join(text.split())))}")
    attempts = sum(each.request.attempt or 1 for each in asked)
    done = sum(each.request.status == "completed" for each in asked)
    survived = ", through one kill of the server" if killed else ""
    out.print(f"\n[bold green]{done} of {len(asked)} completed[/] in {took:.0f} s with {attempts} attempts{survived}.")
    if own:
        out.print("[dim]The model is a 135M toy: it proves that the pipe holds, not what AI can do.[/]")
    out.print(_next_steps(own), soft_wrap=True)


def _next_steps(own: bool) -> str:
    start = (
        "  raincheck serve                                 [dim]# or --upstream http://your-server/v1[/]\n"
        if own
        else ""
    )
    return f"""
What to try next:
{start}  raincheck submit "What is the capital of Japan?" --wait
  raincheck videos generate "A rocket launching into space" -o rocket.mp4
  raincheck list

  curl {DEFAULT_URL}/v1/chat/completions -H 'content-type: application/json' -d \\
    '{{"model": "smollm2-135m", "messages": [{{"role": "user", "content": "Hi!"}}], "deferred": true}}'

  [dim]# Python[/]
  from raincheck import Raincheck
  client = Raincheck()
  ticket = client.chat.completions.defer(
      model="smollm2-135m", messages=[{{"role": "user", "content": "Hi!"}}])
  print(ticket.wait().choices[0].message.content)
"""


def _summary(asked: Sequence[Asked], model: str, killed: bool, took: float) -> dict[str, object]:
    requests = [
        {
            "id": each.request.id,
            "question": each.question,
            "status": each.request.status,
            "answer": answer_text(each.request.result),
            "attempts": each.request.attempt,
        }
        for each in asked
    ]
    return {"model": model, "killed": killed, "seconds": round(took, 1), "requests": requests}


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt

"""`raincheck serve`: the server, with a banner that says where it is and how to try it."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.extras import need_local, need_server, settings_for
from raincheck.cli.model import pull_progress
from raincheck.cli.options import AsJson, Config, StoreUrl
from raincheck.cli.show import console
from raincheck.cli.talk import DEFAULT_URL
from raincheck.core.settings import LOCAL_CONCURRENCY, Settings, is_loopback, sqlite_path

if TYPE_CHECKING:
    from raincheck.app import App


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="The address to bind to. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. [default: 8421]")] = None,
    store: StoreUrl = None,
    config: Config = None,
    upstream: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="An OpenAI-compatible server to send work to; may be repeated."),
    ] = None,
    max_concurrency: Annotated[
        int | None,
        typer.Option(
            metavar="N", help=f"Requests running at once per upstream. [default: 32; embedded: {LOCAL_CONCURRENCY}]"
        ),
    ] = None,
    model_path: Annotated[
        str | None, typer.Option(metavar="GGUF", help="A model file to serve instead of the embedded model.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    With no options at all it keeps requests in ./raincheck.db and answers with the embedded toy model. Every option
    has a setting in raincheck.toml and a RAINCHECK_… variable: see `raincheck check --sample`.

    \b
    raincheck serve
    raincheck serve --upstream http://127.0.0.1:8000/v1 --max-concurrency 64
    raincheck serve --upstream http://gpu1:8000 --upstream http://gpu2:8000
    raincheck serve --store sqlite:////var/lib/raincheck/raincheck.db --port 80
    """
    need_server()
    import asyncio

    settings = settings_for(
        config,
        {
            "server.host": host,
            "server.port": port,
            "store.url": store,
            "upstreams": upstream or None,
            "max_concurrency": max_concurrency,
            "model_path": model_path,
        },
    )
    if any(upstream.kind == "local" for upstream in settings.upstreams):
        need_local()
    run = _load_server()
    greeting = set[asyncio.Task[None]]()
    with ExitStack() as pulling:
        progress = pulling.enter_context(pull_progress())

        def on_ready(app: "App") -> None:
            pulling.close()
            greeting.add(asyncio.ensure_future(_greet(app, as_json)))

        code = run(settings, on_ready=on_ready, on_pull=progress)
    raise typer.Exit(code)


def _load_server() -> Callable[..., int]:
    """`app.serve`, imported without looking for garbage on the way: there is none, and that saves a quarter."""
    import gc

    gc.disable()
    try:
        from raincheck.app import serve as run
    finally:
        gc.enable()
    return run


async def _greet(app: "App", as_json: bool) -> None:
    is_open = is_loopback(app.settings.host) and not await app.store.registry.keys()
    if as_json:
        typer.echo(json.dumps(_as_dict(app, is_open)))
    else:
        _banner(app, is_open)


def _banner(app: "App", is_open: bool) -> None:
    from rich.markup import escape

    from raincheck import __version__

    url = server_url(app.settings)
    lines = [("", f"[bold]Raincheck {__version__}[/] is listening on [bold cyan]{url}[/]")]
    lines += [("store", str(sqlite_path(app.settings.store_url).resolve()))]
    for member in app.catalogue.members:
        models = ", ".join(sorted(member.models())) or "no models listed"
        state = models if member.down_since is None else f"[yellow]down: {escape(member.down_reason or '')}[/]"
        lines.append(("upstream", f"{escape(member.name)}: {state} ({member.max_concurrency} at once)"))
    if any(one.kind == "local" and one.model_path is None for one in app.settings.upstreams):
        lines.append(("", "[dim]the embedded model is a 135M toy: it shows that all works, not what AI can do[/]"))
    if is_open:
        lines.append(("open", "[yellow]no API key exists: every program on this machine may use it[/]"))
        lines.append(("", "[dim]close it with: raincheck keys create NAME[/]"))
    lines.append(("docs", f"{url}/schema"))
    elsewhere = "" if url == DEFAULT_URL else f" --base-url {url}"
    lines.append(("try", f'raincheck submit "What is the capital of Japan?" --wait{elsewhere}'))
    out = console(stderr=True)
    for label, text in lines:
        out.print(f"  [dim]{label:<9}[/]{text}", soft_wrap=True)


def server_url(settings: Settings) -> str:
    """The server's address as a client on this machine would write it."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    host = everywhere.get(settings.host, f"[{settings.host}]" if ":" in settings.host else settings.host)
    return f"http://{host}:{settings.port}"


def _as_dict(app: "App", is_open: bool) -> dict[str, object]:
    upstreams = [
        {"name": member.name, "up": member.down_since is None, "models": sorted(member.models())}
        for member in app.catalogue.members
    ]
    return {"url": server_url(app.settings), "store": app.settings.store_url, "open": is_open, "upstreams": upstreams}

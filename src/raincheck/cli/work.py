"""`raincheck work`: a worker beside servers, any number of them over one PostgreSQL."""

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.extras import need_local, need_server, need_store, settings_for
from raincheck.cli.model import pull_progress
from raincheck.cli.options import AsJson, Config, MaxConcurrency, ModelPath, StoreUrl, Upstreams
from raincheck.cli.serve import load_process, standing, upstreams_of
from raincheck.cli.show import console
from raincheck.core.settings import local_url
from raincheck.core.units import without_password

if TYPE_CHECKING:
    from raincheck.app import App


def work(
    *,
    store: StoreUrl = None,
    config: Config = None,
    upstream: Upstreams = None,
    max_concurrency: MaxConcurrency = None,
    model_path: ModelPath = None,
    host: Annotated[str | None, typer.Option(help="The address that --port binds to. [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="Answer /health/live, /health/ready and /metrics there. [default: none]"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Do the work that servers accept, until SIGTERM or Ctrl-C.

    Servers and workers share one PostgreSQL and nothing else. Start and stop as many as you like: what a stopped one
    leaves, the others take over.

    \b
    raincheck work --store postgresql://db.internal/raincheck --upstream http://gpu1:8000
    raincheck work --config /etc/raincheck.toml --host 0.0.0.0 --port 9100
    """
    need_server()
    settings = settings_for(
        config,
        {
            "server.host": host,
            "store.url": store,
            "upstreams": upstream or None,
            "max_concurrency": max_concurrency,
            "model_path": model_path,
        },
    )
    need_store(settings.store_url)
    if any(each.kind == "local" for each in settings.upstreams):
        need_local()
    with ExitStack() as pulling:
        progress = pulling.enter_context(pull_progress())

        def on_ready(app: "App") -> None:
            pulling.close()
            _greet(app, listens=port is not None, as_json=as_json)

        code = load_process().work(settings, port=port, on_ready=on_ready, on_pull=progress)
    raise typer.Exit(code)


def _greet(app: "App", *, listens: bool, as_json: bool) -> None:
    name, url = app.dispatcher.worker, local_url(app.settings) if listens else None
    if as_json:
        shown = {"worker": name, "url": url, "store": without_password(app.settings.store_url)}
        typer.echo(json.dumps(shown | {"upstreams": upstreams_of(app)}))
        return
    from raincheck import __version__

    out = console(stderr=True)
    where = "" if url is None else f", and answers /health and /metrics on [bold cyan]{url}[/]"
    for label, text in [("", f"[bold]Raincheck {__version__}[/] works as {name}{where}"), *standing(app)]:
        out.print(f"  [dim]{label:<9}[/]{text}", soft_wrap=True)

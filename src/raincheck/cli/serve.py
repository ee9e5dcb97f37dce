"""`raincheck serve`: the server, with a banner that says where it is and how to try it."""

import json
from contextlib import ExitStack, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from raincheck.cli.extras import need_local, need_server, need_store, need_xai, settings_for, without_renderer
from raincheck.cli.model import pull_progress
from raincheck.cli.options import AsJson, Config, MaxConcurrency, ModelPath, StoreUrl, Upstreams
from raincheck.cli.show import console
from raincheck.cli.talk import DEFAULT_URL
from raincheck.core.errors import StoreUnavailable
from raincheck.core.settings import Settings, is_loopback, is_postgresql, local_url, sqlite_path
from raincheck.core.units import without_password

if TYPE_CHECKING:
    from raincheck.app import App
    from raincheck.upstream.catalogue import Member


def serve(
    *,
    host: Annotated[str | None, typer.Option(help="The address to bind to. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="The port to listen on. [default: 8421]")] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="The port for the xai-sdk, which speaks gRPC. [default: none]")
    ] = None,
    grpc_tls_cert: Annotated[
        str | None, typer.Option(metavar="FILE", help="The certificate chain of that port, PEM; without it, no TLS.")
    ] = None,
    grpc_tls_key: Annotated[str | None, typer.Option(metavar="FILE", help="Its private key, PEM.")] = None,
    store: StoreUrl = None,
    config: Config = None,
    upstream: Upstreams = None,
    max_concurrency: MaxConcurrency = None,
    model_path: ModelPath = None,
    no_worker: Annotated[
        bool, typer.Option("--no-worker", help="Take calls only; `raincheck work` elsewhere does the work.")
    ] = False,
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
    raincheck serve --store postgresql://db.internal/raincheck --no-worker
    raincheck serve --grpc-port 50051   # xai-sdk: Client(api_host="localhost:50051")
    """
    need_server(*(() if grpc_port is None else ("xai",)))
    import asyncio

    settings = settings_for(
        config,
        {
            "server.host": host,
            "server.port": port,
            "grpc.port": grpc_port,
            "grpc.tls_cert": grpc_tls_cert,
            "grpc.tls_key": grpc_tls_key,
            "store.url": store,
            "upstreams": upstream or None,
            "max_concurrency": max_concurrency,
            "model_path": model_path,
        },
    )
    need_store(settings.store_url)
    need_xai(settings)
    if not no_worker and any(upstream.kind == "local" for upstream in settings.upstreams):
        need_local()
    process = load_process()
    role = process.Role.DESK if no_worker else process.Role.SERVER
    greeting = set[asyncio.Task[None]]()
    with ExitStack() as pulling:
        progress = pulling.enter_context(pull_progress())

        def on_ready(app: "App") -> None:
            pulling.close()
            greeting.add(asyncio.ensure_future(_greet(app, as_json)))

        code = process.serve(settings, role, on_ready=on_ready, on_pull=progress)
    raise typer.Exit(code)


def load_process() -> ModuleType:
    """`raincheck.process`, imported without looking for garbage on the way: there is none, and that saves a quarter."""
    import gc

    gc.disable()
    try:
        from raincheck import process
    finally:
        gc.enable()
    return process


async def _greet(app: "App", as_json: bool) -> None:
    is_open = False
    with suppress(StoreUnavailable):  # Down already; the log says so. Then whether there is a key is not known.
        is_open = is_loopback(app.settings.host) and not await app.store.registry.keys()
    if as_json:
        typer.echo(json.dumps(_as_dict(app, is_open)))
    else:
        _banner(app, is_open)


def _banner(app: "App", is_open: bool) -> None:
    from raincheck import __version__

    url = local_url(app.settings)
    lines = [("", f"[bold]Raincheck {__version__}[/] is listening on [bold cyan]{url}[/]")]
    lines += standing(app)
    if not app.role.works:
        alone = "" if is_postgresql(app.settings.store_url) else " [yellow]and on SQLite no other process can[/]"
        lines.append(("worker", f"none here{alone}"))
    elif any(one.kind == "local" and one.model_path is None for one in app.settings.upstreams):
        lines.append(("", "[dim]the embedded model is a 135M toy: it shows that all works, not what AI can do[/]"))
    if is_open:
        lines.append(("open", "[yellow]no API key exists: every program on this machine may use it[/]"))
        lines.append(("", "[dim]close it with: raincheck keys create NAME[/]"))
    lines += banner_of_grpc(app.settings)
    lines.append(("docs", f"{url}/schema"))
    elsewhere = "" if url == DEFAULT_URL else f" --base-url {url}"
    lines.append(("try", f'raincheck submit "What is the capital of Japan?" --wait{elsewhere}'))
    out = console(stderr=True)
    for label, text in lines:
        out.print(f"  [dim]{label:<9}[/]{text}", soft_wrap=True)


def standing(app: "App") -> list[tuple[str, str]]:
    """Where requests are kept and who does the work, as lines of a banner."""
    from rich.markup import escape

    url = app.settings.store_url
    where = without_password(url) if is_postgresql(url) else str(sqlite_path(url))
    lines = [("store", escape(where))]
    for member in app.catalogue.members:
        models = ", ".join(sorted(member.models())) or "no models listed"
        state = models if member.down_since is None else f"[yellow]down: {escape(member.down_reason or '')}[/]"
        lines.append(("upstream", f"{escape(member.name)}: {state} ({_places(member)})"))
    if (lack := without_renderer(app.settings)) is not None:
        lines.append(("videos", f"[yellow]{escape(lack)}[/]"))
    return lines


def _places(member: "Member") -> str:
    match member.max_concurrency:
        case "auto":
            return "as many at once as it bears"
        case 0:
            return "in the workers"
        case most:
            return f"{most} at once"


def grpc_place(settings: Settings) -> str | None:
    """Where the xai-sdk is served, as it would be told; None where it is not."""
    if settings.grpc_port is None:
        return None
    host = settings.host
    # The SDK speaks plain gRPC, and sends its key with everything, when the host is just that word.
    if settings.grpc_cert is None and host in ("127.0.0.1", "::1", "0.0.0.0", "::"):
        host = "localhost"
    return f"[{host}]:{settings.grpc_port}" if ":" in host else f"{host}:{settings.grpc_port}"


def banner_of_grpc(settings: Settings) -> list[tuple[str, str]]:
    """Where the xai-sdk is served, and how it connects, as a line of the banner."""
    from rich.markup import escape

    if (place := grpc_place(settings)) is None:
        return []
    port, near = settings.grpc_port, f'Client(api_host="{place}")'
    if settings.grpc_cert is not None:
        # The SDK drops TLS for what is called localhost.
        told = f'Client(api_host="NAME:{port}"), a name that the certificate has, not localhost'
    elif is_loopback(settings.host):
        told = near
    else:
        # Without TLS the SDK sends no key along with uploads, but to localhost.
        far = f'Client(api_host="HOST:{port}", use_insecure_channel=True) elsewhere, where it cannot upload files'
        told = f"{near} here, {far}" if place.startswith("localhost:") else far
    return [("grpc", f"{escape(place)}  [dim](xai-sdk: {escape(told)})[/]")]


def _as_dict(app: "App", is_open: bool) -> dict[str, object]:
    store = without_password(app.settings.store_url)
    return {
        "url": local_url(app.settings),
        "grpc": grpc_place(app.settings),
        "store": store,
        "open": is_open,
        "upstreams": upstreams_of(app),
    }


def upstreams_of(app: "App") -> list[dict[str, object]]:
    """Who does the work, for programs."""
    return [
        {"name": member.name, "up": member.down_since is None, "models": sorted(member.models())}
        for member in app.catalogue.members
    ]

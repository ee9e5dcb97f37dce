"""What commands that run or touch a server need: its packages, and its settings."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from raincheck.cli.exits import Code, Problem
from raincheck.core.configuration import lacks_to_draw, load, tls_problem
from raincheck.core.settings import Settings, is_postgresql


def need_server(*more: str) -> None:
    """Raise a Problem that says what to install when the server's packages are not there; `more` are the extras that
    are wanted too."""
    missing = [
        name for name in ("litestar", "uvicorn", "apsw", "aiohttp", "uuid_utils", "obstore") if find_spec(name) is None
    ]
    if missing:
        extras = ",".join(("server", *more))
        raise Problem(f"this needs the server's packages ({', '.join(missing)}): pip install 'raincheck[{extras}]'")


def need_store(store_url: str) -> None:
    """The same for what a store needs; for PostgreSQL that is another extra."""
    need_server()
    if is_postgresql(store_url) and find_spec("asyncpg") is None:
        raise Problem("a store in PostgreSQL needs asyncpg: pip install 'raincheck[server,postgres]'")


def need_local() -> None:
    """Raise a Problem that says what to install when the embedded model's engine is not there."""
    if find_spec("xllamacpp") is None:
        raise Problem(
            "the embedded model needs xllamacpp: pip install 'raincheck[local]'. "
            "Or serve another one: raincheck serve --upstream http://127.0.0.1:8000/v1"
        )


def need_xai(settings: Settings) -> None:
    """Raise a Problem that says what to do when a gRPC port was asked for, wherever, and there can be none."""
    if (lack := without_xai(settings)) is not None:
        raise Problem(lack)


def without_xai(settings: Settings) -> str | None:
    """What stands in the way of the gRPC port, when one was asked for."""
    if settings.grpc_port is None:
        return None
    missing = [name for name, module in (("grpcio", "grpc"), ("xai-sdk", "xai_sdk")) if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return (
            f"a gRPC port (grpc.port is {settings.grpc_port}) needs {' and '.join(missing)}, which {verb} not "
            "installed: pip install 'raincheck[server,xai]'"
        )
    return tls_problem(settings)


def without_renderer(settings: Settings) -> str | None:
    """What to say where the embedded upstreams are served and the one for videos is not among them."""
    lacks = lacks_to_draw()
    if not lacks or {one.kind for one in settings.upstreams} != {"local"}:
        return None
    return f"none: the preview renderer needs {', '.join(lacks)}: pip install 'raincheck[preview]'"


def settings_for(config: str | None, flags: Mapping[str, object]) -> Settings:
    """The settings in force, with what was given on the command line."""
    if config is not None and not Path(config).is_file():
        raise Problem(f"there is no file {config}", Code.USAGE)
    return load(Path(config) if config else None, flags=flags)

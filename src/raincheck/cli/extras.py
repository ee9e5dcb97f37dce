"""What commands that run or touch a server need: its packages, and its settings."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from raincheck.cli.exits import Code, Problem
from raincheck.core.configuration import lacks_to_draw, load
from raincheck.core.settings import Settings, is_postgresql


def need_server() -> None:
    """Raise a Problem that says what to install when the server's packages are not there."""
    missing = [
        name for name in ("litestar", "uvicorn", "apsw", "aiohttp", "uuid_utils", "obstore") if find_spec(name) is None
    ]
    if missing:
        raise Problem(f"this needs the server's packages ({', '.join(missing)}): pip install 'raincheck[server]'")


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

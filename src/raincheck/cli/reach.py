"""Takes settings, knocks at the store, the object store and the handlers that they name, hands on what is wrong."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raincheck.core.errors import RaincheckError
from raincheck.core.settings import Settings, is_postgresql
from raincheck.core.units import show_duration


@dataclass(slots=True)
class Reached:
    """What was found; without errors both can be used."""

    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    facts: list[str] = field(default_factory=list[str])


async def reach(settings: Settings) -> Reached:
    """Look at what lies outside of this process. A SQLite file is not opened: a server may be at work with it."""
    found = Reached()
    if is_postgresql(settings.store_url):
        with _noting(found):
            await _reach_postgresql(settings.store_url, found)
    with _noting(found):
        await _reach_blobs(settings, found)
    for upstream in settings.upstreams:
        with _noting(found, f"upstream {upstream.name} (needed by all but `serve --no-worker`): "):
            if upstream.handler is not None:
                _look_at_handler(upstream.handler)
            elif upstream.kind == "preview":
                await _look_at_renderer(upstream.name)
    return found


@contextmanager
def _noting(found: Reached, where: str = "") -> Generator[None]:
    """One thing that is wrong does not hide the others."""
    try:
        yield
    except RaincheckError as error:
        found.errors.append(f"{where}{error.message}")


def _look_at_handler(handler: str) -> None:
    """Import it, as each worker will."""
    from raincheck.upstream.python.function import load

    load(handler)


async def _look_at_renderer(name: str) -> None:
    """Start it, as each worker will."""
    from raincheck.upstream.preview import PreviewUpstream

    await PreviewUpstream(name).start()


async def _reach_postgresql(url: str, found: Reached) -> None:
    if find_spec("asyncpg") is None:
        found.errors.append("a store in PostgreSQL needs asyncpg: pip install 'raincheck[server,postgres]'")
        return
    from raincheck.store.postgres import clocks
    from raincheck.store.postgres.address import parse
    from raincheck.store.postgres.migrating import refuse_old
    from raincheck.store.postgres.outages import FAILURES, unopened
    from raincheck.store.postgres.probing import probe

    address = parse(url)
    try:
        connection = await address.connect()
        await connection.close()
    except FAILURES as error:
        raise unopened(error, address.place) from error
    refuse_old(connection)
    version = connection.get_server_version()
    found.facts.append(f"the store is PostgreSQL {version.major}.{version.micro}, {address.place}")
    found.warnings += await probe(url)
    behind = await clocks.lag(url)
    if abs(behind) > clocks.LEEWAY:
        off = f"{show_duration(abs(behind))} {'behind' if behind > 0 else 'ahead of'} the store's"
        found.warnings.append(
            f"this machine's clock is {off}, and servers stamp what they accept by their own: keep NTP running"
        )


async def _reach_blobs(settings: Settings, found: Reached) -> None:
    if settings.blobs_url is None:
        if is_postgresql(settings.store_url):
            found.facts.append("big results stay in the database; store.blobs would keep them in a bucket")
        return
    parts = urlsplit(settings.blobs_url)
    if parts.scheme == "file":
        _look_at_folder(Path(unquote(parts.path)), found)
        if is_postgresql(settings.store_url):
            found.warnings.append(
                "store.blobs is a folder: right for one machine, or for a disk that all of them share; else use s3://"
            )
    elif find_spec("obstore") is None:
        found.errors.append("store.blobs in a bucket needs obstore: pip install 'raincheck[server]'")
    else:
        from raincheck.store.blobs import open_blobs

        await open_blobs(settings.blobs_url).check()
        found.facts.append(f"big results go to {settings.blobs_url}")


def _look_at_folder(folder: Path, found: Reached) -> None:
    """Whether it can be written, or made: it is the server that makes it."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        found.errors.append(f"store.blobs: {folder} cannot be written by this user ({there})")

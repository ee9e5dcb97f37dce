"""Reads the configuration: `raincheck.toml` < environment < flags, checked against the names in `settings.py`."""

import difflib
import os
import re
import shutil
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from raincheck.core.errors import SettingsInvalid
from raincheck.core.settings import (
    BLOBS_FOLDER,
    CONFIG_FILE,
    EMBEDDED,
    EMBEDDED_CONCURRENCY,
    OTHER_VARIABLES,
    QUEUE_SETTINGS,
    SETTINGS,
    UPSTREAM_SETTINGS,
    Setting,
    Settings,
    UpstreamKind,
    UpstreamSettings,
    is_postgresql,
    sqlite_path,
)
from raincheck.core.units import has_password

if TYPE_CHECKING:  # Its records are msgspec's, which `raincheck --help` does without.
    from raincheck.core.model import Limits


# Kubernetes gives every container such variables for a service that happens to be called raincheck.
_SERVICE_LINK = re.compile(r"RAINCHECK_(SERVICE_(HOST|PORT\w*)|PORT_\d+_(TCP|UDP)\w*)")
_SERVERS = frozenset[UpstreamKind]({"openai", "videos", "xai"})
_ONLY_FOR: Mapping[str, frozenset[UpstreamKind]] = {
    "base_url": _SERVERS,
    "stream": frozenset({"openai"}),
    "handler": frozenset({"python"}),
    "model_path": frozenset({"local"}),
}
_NEEDS: Mapping[UpstreamKind, tuple[str, ...]] = {
    **dict.fromkeys(_SERVERS, ("base_url",)),
    "python": ("handler", "models"),
    "local": (),
    "preview": (),
}


SHORTEST_SEALING_KEY = 32
"""Characters; keys are drawn from random bytes, not thought up."""


@dataclass(slots=True)
class Reading:
    """What came of reading the configuration: settings that may be used when there are no errors."""

    settings: Settings = field(default_factory=Settings)
    errors: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    path: Path | None = None
    """The file that was read, None when there was none."""


def load(
    config: Path | None = None, *, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Settings:
    """The settings in force. `flags` maps names of SETTINGS to values; None means not given. Raises SettingsInvalid."""
    reading = read(config, environ=environ, flags=flags)
    if reading.errors:
        raise SettingsInvalid("The configuration is not valid:\n" + "\n".join(f"  - {line}" for line in reading.errors))
    return reading.settings


def read(
    config: Path | None = None, *, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
) -> Reading:
    """Read everything and collect all that is wrong or odd, instead of stopping at the first."""
    env = os.environ if environ is None else environ
    reading = Reading()
    table = _read_file(config, env, reading)
    queues, upstreams = table.pop("queue", {}), table.pop("upstream", [])
    if _tables(table.get("upstreams")):
        del table["upstreams"]
        reading.errors.append("[[upstreams]] is not a table; did you mean [[upstream]]?")
    in_file = _take(_flatten(table), SETTINGS, "", reading.errors)
    if has_password(str(in_file.get("store_url", ""))):
        reading.warnings.append("store.url holds a password: put the URL into the variable RAINCHECK_STORE_URL instead")
    over = _read_variables(env, upstreams, reading)
    by_flag = [replace(setting, name=setting.flag or setting.name) for setting in SETTINGS]
    given = {_flag_of(name): value for name, value in (flags or {}).items() if value is not None}
    over |= _take(given, by_flag, "", reading.errors)
    urls = over.get("upstream.urls", in_file.get("upstream.urls"))
    parsed = _parse_upstreams(upstreams, env, reading) if urls is None else _from_urls(urls)
    reading.settings = replace(
        Settings(),
        **_with_blobs({name: value for name, value in (in_file | over).items() if not name.startswith("upstream.")}),
        queue_limits=_parse_queues(queues, reading.errors),
        upstreams=_complete(parsed, in_file, over, reading),
        sealing_keys=_sealing_keys(env, reading),
    )
    _check_grpc(reading)
    return reading


def lacks_to_draw() -> list[str]:
    """What the preview renderer needs and does not find; who serves only text need not have it."""
    lacks = [name for name, module in (("numpy", "numpy"), ("Pillow", "PIL")) if find_spec(module) is None]
    named = os.environ.get("IMAGEIO_FFMPEG_EXE")
    has_ffmpeg = shutil.which(named or "ffmpeg") or (not named and find_spec("imageio_ffmpeg"))
    return lacks if has_ffmpeg else [*lacks, "ffmpeg"]


def tls_problem(settings: Settings) -> str | None:
    """What is wrong with the PEM files of the gRPC port, when there are any; who opens no such port need not ask."""
    if settings.grpc_cert is None or settings.grpc_key is None:
        return None
    import ssl

    for name, path in (("grpc.tls_cert", settings.grpc_cert), ("grpc.tls_key", settings.grpc_key)):
        try:
            Path(path).read_bytes()
        except OSError as error:
            return f"{name}: {path} cannot be read: {error.strerror}"
    try:
        # With a password nobody is asked for one: a key that needs one is refused.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(settings.grpc_cert, settings.grpc_key, password="")
    except (ssl.SSLError, ValueError):
        return (
            f"{settings.grpc_cert} and {settings.grpc_key} are no PEM files of a certificate and its private key, "
            "without a password, that belong together (grpc.tls_cert, grpc.tls_key)"
        )
    return None


def _check_grpc(reading: Reading) -> None:
    settings = reading.settings
    if (settings.grpc_cert is None) != (settings.grpc_key is None):
        missing = "grpc.tls_key" if settings.grpc_key is None else "grpc.tls_cert"
        reading.errors.append(f"{missing} is missing: TLS needs both grpc.tls_cert and grpc.tls_key")
    if settings.grpc_port == settings.port:
        reading.errors.append(f"grpc.port and server.port are both {settings.port}: each needs a port of its own")
    if settings.grpc_port is None and settings.grpc_cert is not None:
        reading.warnings.append("grpc.tls_cert has no effect without grpc.port")


def _sealing_keys(env: Mapping[str, str], reading: Reading) -> tuple[str, ...]:
    keys = tuple(key for each in env.get("RAINCHECK_SEALING_KEY", "").split(",") if (key := each.strip()))
    if any(len(key) < SHORTEST_SEALING_KEY for key in keys):
        reading.errors.append(
            f"RAINCHECK_SEALING_KEY must have at least {SHORTEST_SEALING_KEY} characters, "
            "such as `openssl rand -base64 32` prints"
        )
    return keys


def _with_blobs(values: dict[str, object]) -> dict[str, object]:
    """With the folder for big results, which stands beside a SQLite file unless it was named."""
    store_url = cast("str", values.get("store_url", Settings().store_url))
    if "blobs_url" in values or is_postgresql(store_url):
        return values
    return values | {"blobs_url": (sqlite_path(store_url).parent / BLOBS_FOLDER).as_uri()}


def _read_file(config: Path | None, env: Mapping[str, str], reading: Reading) -> dict[str, object]:
    named = config or (Path(env["RAINCHECK_CONFIG"]) if env.get("RAINCHECK_CONFIG") else None)
    path = named or Path(CONFIG_FILE)
    if named is None and not path.is_file():
        return {}
    reading.path = path
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reading.errors.append(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
        return {}


def _read_variables(env: Mapping[str, str], upstreams: object, reading: Reading) -> dict[str, object]:
    """Variables with our prefix, but those that belong to something else."""
    elsewhere = {*OTHER_VARIABLES, *(str(table.get("api_key_env")) for table in _tables(upstreams))}
    given = {
        name: value
        for name, value in env.items()
        if name.startswith("RAINCHECK_") and name not in elsewhere and value and not _SERVICE_LINK.fullmatch(name)
    }
    if given.get("RAINCHECK_PORT", "").startswith("tcp://"):  # the rest of the service link
        del given["RAINCHECK_PORT"]
    by_variable = [replace(setting, name=setting.variable) for setting in SETTINGS]
    return _take(given, by_variable, "", reading.errors, also=OTHER_VARIABLES)


def _take(
    given: Mapping[str, object],
    settings: Sequence[Setting],
    where: str,
    errors: list[str],
    *,
    also: Iterable[str] = (),
) -> dict[str, object]:
    """Read values by name into fields; what is unknown or not valid becomes an error. `also`: names to suggest."""
    known = {setting.name: setting for setting in settings}
    taken = dict[str, object]()
    for name, value in given.items():
        if name not in known:
            errors.append(f"{where}{name} is not a setting{_nearest(name, [*known, *also])}")
            continue
        try:
            taken[known[name].field] = known[name].unit.read(value)
        except ValueError as error:
            errors.append(f"{where}{name} {error}")
    return taken


def _flatten(table: Mapping[str, object]) -> dict[str, object]:
    """`{"server": {"port": 1}, "lease": 2}` as `{"server.port": 1, "lease": 2}`."""
    flat = dict[str, object]()
    for name, value in table.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": it for inner, it in cast("dict[str, object]", value).items()}
        else:
            flat[name] = value
    return flat


def _tables(given: object) -> list[dict[str, object]]:
    tables = cast("list[object]", given) if isinstance(given, list) else []
    return [cast("dict[str, object]", table) for table in tables if isinstance(table, dict)]


def _parse_queues(given: object, errors: list[str]) -> "dict[str, Limits]":
    from raincheck.core.model import Limits

    limits = dict[str, Limits]()
    queues = cast("dict[str, object]", given) if isinstance(given, dict) else {"": given}
    for name, table in queues.items():
        if not isinstance(table, dict):
            errors.append(f'queue {name}: must be a table, as in [queue."my-model"] max_concurrency = 4')
            continue
        taken = _take(cast("dict[str, object]", table), QUEUE_SETTINGS, f'queue."{name}".', errors)
        if taken:
            limits[name] = Limits(**cast("dict[str, int]", taken))
    return limits


def _parse_upstreams(given: object, env: Mapping[str, str], reading: Reading) -> list[dict[str, object]]:
    tables = _tables(given)
    if not isinstance(given, list) or len(tables) != len(cast("list[object]", given)):
        reading.errors.append("upstream must be tables, each headed [[upstream]]")
    upstreams = list[dict[str, object]]()
    for number, table in enumerate(tables, 1):
        where = f"upstream {table.get('name', number)}: "
        found = len(reading.errors)
        if table.pop("api_key", None) is not None:
            reading.errors.append(f"{where}api_key must not be in the file; name a variable with api_key_env instead")
        taken = _take(table, UPSTREAM_SETTINGS, where, reading.errors)
        if (variable := cast("str | None", taken.get("api_key"))) is not None:
            taken["api_key"] = env.get(variable)
            if not taken["api_key"]:
                reading.errors.append(f"{where}api_key_env names {variable}, which is not set")
        if len(reading.errors) == found:
            _check_upstream(table, taken, where, reading)
        if len(reading.errors) == found:
            upstreams.append(taken)
    return upstreams


def _check_upstream(table: Mapping[str, object], taken: Mapping[str, object], where: str, reading: Reading) -> None:
    kind = cast("UpstreamKind", taken.get("kind", "openai"))
    reading.errors += [f"{where}{name} is missing" for name in ("name", *_NEEDS[kind]) if not taken.get(name)]
    for name, only in _ONLY_FOR.items():
        if name in table and kind not in only:
            reading.warnings.append(f"{where}{name} has no effect with kind {kind}")


def _from_urls(urls: object) -> list[dict[str, object]]:
    """Upstreams named by host and port; a second one at the same place gets a number."""
    upstreams = dict[str, dict[str, object]]()
    for url in dict.fromkeys(cast("tuple[str, ...]", urls)):
        place = urlsplit(url).netloc
        taken = sum(name == place or name.startswith(f"{place}#") for name in upstreams)
        name = f"{place}#{taken + 1}" if taken else place
        upstreams[name] = {"name": name, "base_url": url}
    return list(upstreams.values())


def _complete(
    parsed: list[dict[str, object]], in_file: Mapping[str, object], over: Mapping[str, object], reading: Reading
) -> tuple[UpstreamSettings, ...]:
    """Fill in what holds for all upstreams: the file's top level is a default, variables and flags win over all.

    Without any upstream there are the embedded ones; for a model path that none of them takes, one is local.
    """
    has_path = "upstream.model_path" in in_file or "upstream.model_path" in over
    if not parsed:
        served = [each for each in EMBEDDED if each.kind != "preview" or not lacks_to_draw()]
        parsed = [{"name": each.name, "kind": each.kind} for each in served]
    elif has_path and not any(taken.get("kind") == "local" for taken in parsed):
        parsed = [*parsed, {"name": "local", "kind": "local"}]
    upstreams = list[UpstreamSettings]()
    for taken in parsed:
        kind = cast("UpstreamKind", taken.get("kind", "openai"))
        general = ("max_concurrency", "model_path") if kind == "local" else ("max_concurrency",)
        own = EMBEDDED_CONCURRENCY.get(kind)
        values: dict[str, object] = {} if own is None else {"max_concurrency": own}
        values |= {name: in_file[f"upstream.{name}"] for name in general if f"upstream.{name}" in in_file} | taken
        values |= {name: over[f"upstream.{name}"] for name in general if f"upstream.{name}" in over}
        upstreams.append(replace(UpstreamSettings(name=""), **values))
    names = [upstream.name for upstream in upstreams]
    reading.errors += [f"upstream {name}: the name is used twice" for name in {*names} if names.count(name) > 1]
    for upstream in upstreams:
        if upstream.kind not in _SERVERS and upstream.max_concurrency == "auto":
            reading.errors.append(
                f'upstream {upstream.name}: max_concurrency "auto" is for servers; kind {upstream.kind} runs inside '
                "each worker: say how many calls it may have there at once"
            )
        if upstream.model_path and not Path(upstream.model_path).is_file():
            reading.errors.append(f"upstream {upstream.name}: model_path {upstream.model_path} is not a file")
    return tuple(upstreams)


def _flag_of(name: str) -> str:
    return next((setting.flag for setting in SETTINGS if setting.name == name and setting.flag), name)


def _nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` when something known looks like it, also when it only stands in the wrong table."""
    names = list(known)
    tail = name.rpartition(".")[2]
    same = [it for it in names if it.rpartition(".")[2] == tail]
    close = same or difflib.get_close_matches(name, names, n=1) or difflib.get_close_matches(tail, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""

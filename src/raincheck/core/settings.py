"""Settings: every name with its default and a sentence; `configuration.py` reads them.

The tuples below are the only list of names: the parser, the flags' help, the sample file and the reference page all
come from them. A setting's variable is `RAINCHECK_` and its name in capitals,
with `_` for `.` and without a leading `server.`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.units import (
    BASE_URL,
    BASE_URLS,
    BLOBS_URL,
    CONCURRENCY,
    FILE_SIZE,
    PER_MINUTE,
    PUBLIC_URL,
    SIZE,
    STORE_URL,
    TEXT,
    WORDS,
    YES_NO,
    Unit,
    lasting,
    one_of,
    whole,
)

if TYPE_CHECKING:  # Its records are msgspec's, which `raincheck --help` does without.
    from raincheck.core.model import Limits

UpstreamKind = Literal["openai", "videos", "xai", "python", "local", "preview"]
KINDS: tuple[UpstreamKind, ...] = get_args(UpstreamKind)
LogLevel = Literal["debug", "info", "warning", "error"]
LOG_LEVELS: tuple[LogLevel, ...] = get_args(LogLevel)
CONFIG_FILE = "raincheck.toml"
DEFAULT_MAX_ATTEMPTS = 5
BLOBS_FOLDER = "raincheck-blobs"
"""Beside a SQLite file, unless told otherwise."""
EMBEDDED_CONCURRENCY: Mapping[UpstreamKind, int] = {"local": 2, "preview": 1}
"""What the embedded model and the preview renderer run at once unless told otherwise; more would only share the same
processors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """One `[[upstream]]` of the configuration."""

    name: str
    kind: UpstreamKind = "openai"
    base_url: str | None = None
    models: tuple[str, ...] = ()
    """Patterns (`qwen3-*`) of the models it serves; empty: whatever its /models lists."""
    max_concurrency: int | Literal["auto"] = 32
    rpm: int | None = None
    tpm: int | None = None
    api_key: str | None = field(default=None, repr=False)
    """Read from the variable named by `api_key_env`; never printed."""
    stream: bool = True
    """False for servers that cannot stream: the whole answer is asked for at once."""
    silence_timeout: int = 300 * SECOND
    """How long an upstream may send nothing before the attempt is given up."""
    handler: str | None = None
    """`module:function`, for kind python."""
    model_path: str | None = None
    """A GGUF file, for kind local; None: the embedded default."""

    @property
    def limits(self) -> "Limits":
        """What it may be asked for, over all workers."""
        from raincheck.core.model import Limits

        return Limits(max_concurrency=self.max_concurrency, rpm=self.rpm, tpm=self.tpm)


EMBEDDED = (
    UpstreamSettings(name="local", kind="local", max_concurrency=EMBEDDED_CONCURRENCY["local"]),
    UpstreamSettings(name="preview", kind="preview", max_concurrency=EMBEDDED_CONCURRENCY["preview"]),
)
"""What is served when nothing else is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with all durations in microseconds."""

    store_url: str = field(default="sqlite:///raincheck.db", repr=False)
    """May hold a password: show it through `units.without_password`."""
    blobs_url: str | None = None
    """Where big results go; None: into the record. `load` names a folder beside a SQLite file unless told otherwise."""
    host: str = "127.0.0.1"
    port: int = 8421
    allowed_hosts: tuple[str, ...] = ()
    """Host names answered to beside loopback names and the bound address; `*` for all."""
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 32 << 20
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    lease: int = 60 * SECOND
    retention: int = 7 * DAY
    grace: int = 20 * SECOND
    """How long running attempts may go on after SIGTERM."""
    queue_limits: "dict[str, Limits]" = field(default_factory=dict[str, "Limits"])
    """What may be asked for per queue, over all workers."""
    grpc_port: int | None = None
    """Where the unmodified xai-sdk is served; None: nowhere."""
    grpc_cert: str | None = None
    """A PEM file with the certificate chain of that port, and `grpc_key` one with its private key; None: no TLS."""
    grpc_key: str | None = None
    public_url: str | None = None
    """Where callers reach this server, for links in answers; None: as each caller reached it."""
    link_lifetime: int = DAY
    scratch: str | None = None
    """The folder in which attempts make their files; None: the system's for temporary files."""
    files_max_bytes: int = 2 << 30
    """How large a file may be that is uploaded to be kept, such as a batch's input."""
    media_max_bytes: int = 512 << 20
    """How large an uploaded or fetched input may be."""
    media_max_duration: int = 600 * SECOND
    """How long an input video may play."""
    media_max_pixels: int = 4096 * 4096
    """How many pixels a picture, or a frame of a video, may have."""
    media_hosts: tuple[str, ...] = ()
    """Hosts, addresses and networks of our own that inputs may be fetched from all the same."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts, addresses and networks that webhooks may go to although they are not public, or only speak http."""
    webhook_timeout: int = 15 * SECOND
    """How long a receiver may take for its whole answer."""
    webhook_concurrency: int = 8
    """Deliveries that one receiver is given at once, over all workers."""
    webhook_result_bytes: int = 256 << 10
    """The largest result that is sent along when it was asked for."""
    webhook_log_retention: int = 7 * DAY
    """How long a delivery is kept, from its event on."""
    webhook_disable_after: int = 3 * DAY
    """After how long of failing alone an endpoint is disabled."""
    sealing_keys: tuple[str, ...] = field(default=(), repr=False)
    """What signing secrets are sealed with at rest: the first seals, all of them open; never printed."""
    log_level: LogLevel = "info"
    upstreams: tuple[UpstreamSettings, ...] = EMBEDDED


@dataclass(frozen=True, slots=True)
class Setting:
    """One name that can be set."""

    name: str
    field: str
    """The field it fills; `upstream.…` for those that shape the upstreams instead."""
    unit: Unit
    default: str
    """As it would be written in the file; empty when there is none."""
    help: str
    flag: str | None = None

    @property
    def variable(self) -> str:
        return "RAINCHECK_" + self.name.removeprefix("server.").replace(".", "_").upper()


# fmt: off
SETTINGS = (
    Setting("max_attempts", "max_attempts", whole(1, 100), f"{DEFAULT_MAX_ATTEMPTS}",
            "How many tries a request gets before it is failed."),
    Setting("retention", "retention", lasting(SECOND), '"7d"', "How long a result is kept after its request ended."),
    Setting("lease", "lease", lasting(SECOND), '"1m"', "How long a worker may be silent before another takes over."),
    Setting("grace", "grace", lasting(0), '"20s"', "How long running attempts may go on after SIGTERM."),
    Setting("upstreams", "upstream.urls", BASE_URLS, "",
            "OpenAI-compatible servers to send work to, instead of any [[upstream]] tables.", "--upstream"),
    Setting("max_concurrency", "upstream.max_concurrency", CONCURRENCY, "",
            "Requests running at once per upstream that does not say: 32, for kind local 2, for kind preview 1.",
            "--max-concurrency"),
    Setting("model_path", "upstream.model_path", TEXT, "",
            "A GGUF file for the local upstream, instead of the embedded model.", "--model-path"),
    Setting("scratch", "scratch", TEXT, "",
            "The folder in which running work makes its files; without it, the system's for temporary files."),
    Setting("log.level", "log_level", one_of(LOG_LEVELS), '"info"',
            "The least urgent log events to show; `debug` tells of every request."),
    Setting("store.url", "store_url", STORE_URL, '"sqlite:///raincheck.db"',
            "Where requests are kept; four slashes for an absolute path. A password belongs into the variable.",
            "--store"),
    Setting("store.blobs", "blobs_url", BLOBS_URL, "",
            f"Where results above 1 MiB are kept; beside a SQLite file a folder {BLOBS_FOLDER} unless said here."),
    Setting("server.host", "host", TEXT, '"127.0.0.1"',
            "The address to bind to; anything but loopback needs an API key first.", "--host"),
    Setting("server.port", "port", whole(1, 65_535), "8421", "The port to listen on.", "--port"),
    Setting("server.allowed_hosts", "allowed_hosts", WORDS, "[]",
            "Host names answered to beside loopback names and the bound address; `*` for all."),
    Setting("server.cors_origins", "cors_origins", WORDS, "[]", "Web origins whose pages may call this server."),
    Setting("server.max_body", "max_body_bytes", SIZE, '"32MiB"', "The largest request body that is accepted."),
    Setting("server.public_url", "public_url", PUBLIC_URL, "",
            "Where callers reach this server, for links in answers; without it, as each of them reached it."),
    Setting("grpc.port", "grpc_port", whole(1, 65_535), "",
            "The port on which the xai-sdk is served (gRPC); without it none. Needs the extra `xai`.", "--grpc-port"),
    Setting("grpc.tls_cert", "grpc_cert", TEXT, "",
            "A PEM file with the gRPC port's certificate chain; without it the port speaks no TLS.", "--grpc-tls-cert"),
    Setting("grpc.tls_key", "grpc_key", TEXT, "", "A PEM file with its private key.", "--grpc-tls-key"),
    Setting("links.lifetime", "link_lifetime", lasting(SECOND), '"1d"',
            "How long a link to a file can be followed without a key; it is made anew at each read."),
    Setting("files.max_size", "files_max_bytes", FILE_SIZE, '"2GiB"',
            "The largest file that can be uploaded to /v1/files, such as the input of a batch."),
    Setting("media.max_size", "media_max_bytes", FILE_SIZE, '"512MiB"',
            "The largest picture or video taken as an input."),
    Setting("media.max_duration", "media_max_duration", lasting(SECOND), '"10m"',
            "How long an input video may play."),
    Setting("media.max_pixels", "media_max_pixels", whole(1, 1 << 30), "16777216",
            "How many pixels an input picture, or a frame of a video, may have."),
    Setting("media.allowed_hosts", "media_hosts", WORDS, "[]",
            "Hosts, addresses or networks on your own net that inputs may be fetched from all the same."),
    Setting("webhooks.allow", "webhook_hosts", WORDS, "[]",
            "Hosts, addresses or networks that webhooks may go to although they are private, or speak plain http."),
    Setting("webhooks.timeout", "webhook_timeout", lasting(SECOND), '"15s"',
            "How long a receiver of webhooks may take to answer."),
    Setting("webhooks.max_concurrency", "webhook_concurrency", whole(1, 100), "8",
            "Webhooks that one receiver is sent at once, over all workers."),
    Setting("webhooks.max_result", "webhook_result_bytes", SIZE, '"256KiB"',
            "The largest result that a webhook carries when `include_result` was asked for."),
    Setting("webhooks.log_retention", "webhook_log_retention", lasting(HOUR), '"7d"',
            "How long deliveries are kept, for the delivery log and for sending again."),
    Setting("webhooks.disable_after", "webhook_disable_after", lasting(MINUTE), '"3d"',
            "After how long without one success a webhook endpoint that keeps failing is disabled."),
)
"""Names that stand in the file, in a variable and, those with a flag, on the command line."""

UPSTREAM_SETTINGS = (
    Setting("name", "name", TEXT, "", "What the upstream is called in logs, errors and metrics; unique."),
    Setting("kind", "kind", one_of(KINDS), '"openai"',
            "`openai`: a server that speaks the OpenAI API; `videos`: one that speaks its videos API; `xai`: one that "
            "speaks xAI's; `python`: your function; `local`: the embedded model; `preview`: the preview renderer."),
    Setting("base_url", "base_url", BASE_URL, "",
            "Kinds openai, videos and xai: where it is; without a path, /v1 is added."),
    Setting("models", "models", WORDS, "[]", "Patterns of the models it serves; empty: whatever it lists itself."),
    Setting("max_concurrency", "max_concurrency", CONCURRENCY, "32",
            'Requests it is given at once, over all workers (kinds python, local and preview: in each); "auto" finds '
            "how many it bears."),
    Setting("rpm", "rpm", PER_MINUTE, "", "Calls it is given in any minute, over all workers."),
    Setting("tpm", "tpm", PER_MINUTE, "", "Tokens those may use, by an estimate that their usage corrects."),
    Setting("api_key_env", "api_key", TEXT, "", "The variable that holds its API key."),
    Setting("stream", "stream", YES_NO, "true", "Kind openai: false for a server that cannot stream."),
    Setting("silence_timeout", "silence_timeout", lasting(SECOND), '"5m"',
            "How long it may send nothing before the attempt is given up."),
    Setting("handler", "handler", TEXT, "", "Kind python: your function, as in `package.module:function`."),
    Setting("model_path", "model_path", TEXT, "", "Kind local: a GGUF file instead of the embedded model."),
)
"""Names in an `[[upstream]]` table."""

QUEUE_SETTINGS = (
    Setting("max_concurrency", "max_concurrency", CONCURRENCY, "",
            'Requests of this queue running at once, over all workers; "auto" finds how many go well.'),
    Setting("rpm", "rpm", PER_MINUTE, "", "Attempts of this queue that start in any minute, over all workers."),
    Setting("tpm", "tpm", PER_MINUTE, "", "Tokens those may use, by an estimate that their usage corrects."),
)
"""Names in a `[queue."name"]` table; a queue is named after its model, and for videos `model/video`."""
# fmt: on

OTHER_VARIABLES = {
    "RAINCHECK_CONFIG": f"The configuration file; without it, {CONFIG_FILE} in the working directory if it exists.",
    "RAINCHECK_SEALING_KEY": "What webhook secrets are sealed with in the store: at least 32 characters; of several "
    "with commas between them the first seals and all open.",
    "RAINCHECK_BASE_URL": "The server that the client and the talking commands use.",
    "RAINCHECK_API_KEY": "The API key that the client and the talking commands use.",
    "RAINCHECK_WEBHOOK_SECRET": "What the client and `raincheck webhooks verify` verify webhooks with; of several with "
    "commas between them any will do.",
    "RAINCHECK_MODEL": "The model that the examples ask.",
    "RAINCHECK_MODEL_DIR": "Where the embedded model's weights are kept.",
    "RAINCHECK_OFFLINE": "1 to never download the embedded model's weights.",
}
"""Variables with our prefix that are no settings of the server."""


def is_postgresql(store_url: str) -> bool:
    """True when the store is a database server, and not a SQLite file."""
    return store_url.startswith("postgresql://")


def sqlite_path(store_url: str) -> Path:
    """The file behind a `sqlite:///path` URL, by the one name it has whatever links lead there: its lock and the folder
    for big results are named after it."""
    return Path(os.path.realpath(store_url.removeprefix("sqlite:///")))


def is_loopback(host: str) -> bool:
    """True when only this machine can reach what is bound there."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def base_url(settings: Settings) -> str:
    """Where the HTTP port is reached, without a slash at the end, as far as that is known while nobody calls it."""
    return local_url(settings) if settings.public_url is None else settings.public_url


def local_url(settings: Settings) -> str:
    """The same as a client on this machine would write it."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}
    host = everywhere.get(settings.host, f"[{settings.host}]" if ":" in settings.host else settings.host)
    return f"http://{host}:{settings.port}"


def bind_problem(settings: Settings, has_keys: bool) -> str | None:
    """Why the server must not be bound as configured, and what to do; None when it may."""
    if has_keys or is_loopback(settings.host):
        return None
    return (
        f"Refusing to listen on {settings.host}: others could reach this server and no API key exists yet. "
        "Make one with `raincheck keys create NAME`, or bind to 127.0.0.1."
    )

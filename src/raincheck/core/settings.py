"""Settings: every name with its default and a sentence, and the reading of file, environment and flags."""

from dataclasses import dataclass, field
from typing import Literal

from raincheck.core.clock import DAY, SECOND

UpstreamKind = Literal["openai", "python", "local"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """One `[[upstream]]` of the configuration."""

    name: str
    kind: UpstreamKind = "openai"
    base_url: str | None = None
    models: tuple[str, ...] = ()
    """Patterns (`qwen3-*`) of the models it serves; empty: whatever its /models lists."""
    max_concurrency: int = 32
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with all durations in microseconds."""

    store_url: str = "sqlite:///raincheck.db"
    host: str = "127.0.0.1"
    port: int = 8421
    allowed_hosts: tuple[str, ...] = ()
    """Host names answered to beside loopback names and the bound address; `*` for all."""
    cors_origins: tuple[str, ...] = ()
    max_body_bytes: int = 32 << 20
    max_attempts: int = 5
    lease: int = 60 * SECOND
    retention: int = 7 * DAY
    grace: int = 20 * SECOND
    """How long running attempts may go on after SIGTERM."""
    queue_limits: dict[str, int] = field(default_factory=dict[str, int])
    """`max_concurrency` per queue."""
    upstreams: tuple[UpstreamSettings, ...] = ()
    """Empty: the embedded local model."""

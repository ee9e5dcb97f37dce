"""Builders for the tests of upstreams that make videos as jobs elsewhere."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from raincheck.core.clock import SECOND
from raincheck.core.errors import MediaRefused
from raincheck.core.videos import Source, VideoAsk
from raincheck.upstream.protocol import Brought, Work
from raincheck.upstream.videos import VideosUpstream
from raincheck.upstream.videos.remote import Pace
from raincheck.upstream.xai import XaiUpstream
from tests.scripted_videos import ScriptedVideos

QUICK = Pace(0.01, 0.02)


@dataclass
class ABench:
    """A folder, and inputs that lie there already, by the name of their attachment or their URL."""

    folder: Path
    inputs: Mapping[str, tuple[bytes, str]] = field(default_factory=dict[str, tuple[bytes, str]])

    async def bring(self, source: Source) -> Brought:
        name = source.attachment or source.url or ""
        if name not in self.inputs:
            raise MediaRefused(f"There is no {name}.")
        data, content_type = self.inputs[name]
        path = self.folder / f"input-{len(name)}"
        path.write_bytes(data)
        return Brought(path, content_type, len(data))


@dataclass
class Told:
    """A report that remembers."""

    steps: list[tuple[float | None, str | None]] = field(default_factory=list[tuple[float | None, str | None]])
    remotes: list[str | None] = field(default_factory=list[str | None])
    strays: list[str] = field(default_factory=list[str])
    """Jobs that were begun for nothing."""
    refusing: Exception | None = None
    """Raised when an id is to be recorded."""

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self.steps.append((fraction, message))

    def delta(self, data: bytes) -> None:
        raise AssertionError(f"a video has no {data!r}")

    async def remote(self, remote_id: str | None) -> None:
        if self.refusing is not None:
            raise self.refusing
        self.remotes.append(remote_id)

    async def stray(self, remote_id: str) -> None:
        self.strays.append(remote_id)


def some_work(
    folder: Path,
    *,
    operation: str = "video.generation",
    remote_id: str | None = None,
    inputs: Mapping[str, tuple[bytes, str]] | None = None,
    **members: Any,
) -> Work:
    """An attempt at a video."""
    members.setdefault("prompt", "a cat")
    ask = VideoAsk(model="m", **members)
    return Work(
        request_id="req_1",
        operation=operation,
        path="/" + operation.replace("video.", "videos/") + "s",
        model=ask.model,
        payload=msgspec.json.encode(ask),
        attempt=1,
        bench=ABench(folder, inputs or {}),
        remote_id=remote_id,
    )


@asynccontextmanager
async def calling(server: ScriptedVideos | str, **options: Any) -> AsyncGenerator[VideosUpstream]:
    """A started upstream that calls this server in OpenAI's words."""
    base_url = server if isinstance(server, str) else server.base_url
    upstream = VideosUpstream("pool", base_url, **_quick(options))
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


@asynccontextmanager
async def calling_xai(server: ScriptedVideos, **options: Any) -> AsyncGenerator[XaiUpstream]:
    """A started upstream that calls this server in xAI's words."""
    upstream = XaiUpstream("pool", server.base_url, **_quick(options))
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


def _quick(options: dict[str, Any]) -> dict[str, Any]:
    return {"pace": QUICK, "silence_timeout": 5 * SECOND, **options}

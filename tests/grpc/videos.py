"""A Raincheck with a gRPC port and the video handler of the HTTP tests behind it, and what the real xai-sdk asks it."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from raincheck.core.settings import UpstreamSettings
from raincheck.grpc.protos import video_pb2
from tests.grpc.server import RunningGrpc, running_grpc
from tests.http.videos import gate, make, path_of, seen

EAGER = timedelta(milliseconds=20)
"""How often the SDK asks here; of itself it waits a second."""


@asynccontextmanager
async def filming(folder: Path, *beside: UpstreamSettings, **settings: Any) -> AsyncGenerator[RunningGrpc]:
    """What `making_videos` is for HTTP. `beside`: upstreams instead of the handler."""
    gate.open.clear()
    seen.clear()
    handler = f"{make.__module__}:{make.__name__}"
    maker = UpstreamSettings(name="maker", kind="python", handler=handler, models=("clips",), max_concurrency=4)
    blobs = (folder / "blobs").as_uri()
    scratch = str(folder / "scratch")
    async with running_grpc(folder, beside=beside or (maker,), blobs_url=blobs, scratch=scratch, **settings) as server:
        try:
            yield server
        finally:
            gate.open.set()


async def downloaded(server: RunningGrpc, url: str) -> bytes:
    """What the link of a video leads to, without a key."""
    reply = await server.http.get(path_of(server.http, url))
    assert reply.status == 200
    return reply.body


async def ended(server: RunningGrpc, request_id: str) -> video_pb2.GetDeferredVideoResponse:
    """A video once it is no longer pending."""
    client = server.client()
    async with asyncio.timeout(20):
        while (told := await client.video.get(request_id)).status == PENDING:
            pass  # Each look waits for news.
    return told


PENDING = 3


def data_uri(path: Path, content_type: str) -> str:
    return f"data:{content_type};base64,{b64encode(path.read_bytes()).decode()}"

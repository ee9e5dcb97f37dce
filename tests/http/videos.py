"""A Raincheck with a handler behind it that makes real, small videos; prompts tell it to dawdle or to refuse."""

import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp

from raincheck.core.settings import UpstreamSettings
from raincheck.upstream.python import Job, Reject
from tests.media import make_clip
from tests.server import Json, Reply, Running, running_server

MODEL = "clips"
SECONDS = 1.0
SIZE = (160, 90)


class Gate:
    """Holds whatever is asked to `wait`."""

    def __init__(self) -> None:
        self.open = threading.Event()


gate = Gate()
seen: list[tuple[str, Json]] = []
"""The operation and the payload of each attempt."""


def make(payload: Json, job: Job) -> Any:
    seen.append((job.operation, payload))
    prompt = payload.get("prompt", "")
    if prompt.startswith("wait"):
        job.progress(0.4, "frame 2 of 5")
        while not gate.open.wait(0.01):
            job.raise_if_cancelled()
    if prompt == "refuse":
        raise Reject("I do not like it.", "no_taste")
    for each in (payload.get("image"), payload.get("video")):
        if each is not None:
            assert job.input(each).stat().st_size
    return make_clip(job.folder / "video.mp4", seconds=SECONDS, size=SIZE)


@asynccontextmanager
async def making_videos(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    gate.open.clear()
    seen.clear()
    maker = UpstreamSettings(
        name="maker", kind="python", handler=f"{__name__}:make", models=(MODEL,), max_concurrency=4
    )
    blobs = (folder / "blobs").as_uri()
    changed: dict[str, Any] = {"blobs_url": blobs, "scratch": str(folder / "scratch"), **settings}
    async with running_server(folder, beside=(maker,), **changed) as server:
        try:
            yield server
        finally:
            gate.open.set()


async def made(server: Running, video_id: str, **headers: str) -> Json:
    """The video, natively or in its dialect, once it has ended."""
    reply = await server.get(f"/v1/videos/{video_id}?wait=20", **headers)
    assert reply.status == 200, reply.body
    return reply.json


async def generate(server: Running, prompt: str = "A cat", **members: Any) -> str:
    """The id of a native video."""
    reply = await server.post("/v1/videos/generations", {"model": MODEL, "prompt": prompt, **members})
    assert reply.status == 200, reply.body
    return reply.json["id"]


async def post_form(
    server: Running,
    path: str,
    fields: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    **files: tuple[str, bytes, str],
) -> Reply:
    """POST a form: `files` are file names, bytes and content types."""
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value)
    for name, (filename, data, content_type) in files.items():
        form.add_field(name, BytesIO(data), filename=filename, content_type=content_type)
    async with server.session.post(server.url + path, data=form, headers=headers) as response:
        body = await response.read()
        return Reply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)


def path_of(server: Running, url: str) -> str:
    """The path of one of the server's own links."""
    assert url.startswith(f"{server.url}/media/")
    return url.removeprefix(server.url)

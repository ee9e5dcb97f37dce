"""What tests of batches over HTTP share: a server with an object store, lines, and files of them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from tests.server import Json, Running, a_chat, running_server

CHAT = "/v1/chat/completions"


@asynccontextmanager
async def batching(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    async with running_server(folder, blobs_url=(folder / "blobs").as_uri(), **settings) as server:
        yield server


def a_line(custom_id: str, *, url: str = CHAT, body: Json | None = None, **changes: Any) -> Json:
    """A line of OpenAI's form."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body or a_chat(custom_id), **changes}


def jsonl(lines: Sequence[Json]) -> bytes:
    return b"".join(msgspec.json.encode(line) + b"\n" for line in lines)


def an_item(name: str | None = None, *, kind: str = "chat_get_completion", body: Json | None = None) -> Json:
    """A request of xAI's form."""
    named = {} if name is None else {"batch_request_id": name}
    return named | {"batch_request": {kind: body or a_chat(name or "hello")}}


async def a_file(
    server: Running, lines: Sequence[Json] | bytes, *, purpose: str = "batch", key: str | None = None
) -> str:
    """The id of a file with these lines."""
    form = aiohttp.FormData()
    form.add_field("purpose", purpose)
    form.add_field("file", lines if isinstance(lines, bytes) else jsonl(lines), filename="in.jsonl")
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    async with server.session.post(f"{server.url}/v1/files", data=form, headers=headers) as response:
        assert response.status == 200, await response.read()
        return (await response.json())["id"]


async def created(server: Running, lines: Sequence[Json] | bytes, **members: Any) -> Json:
    """A batch of OpenAI's dialect, as it is when it has just been made."""
    asked = {"endpoint": CHAT, "completion_window": "24h", "input_file_id": await a_file(server, lines)}
    reply = await server.post("/v1/batches", asked | members)
    assert reply.status == 200, reply.body
    return reply.json


async def ended(server: Running, batch_id: str) -> Json:
    """A batch of OpenAI's dialect once it has ended."""
    reply = await server.get(f"/v1/batches/{batch_id}?wait=20")
    assert reply.json["status"] in ("completed", "failed", "cancelled", "expired"), reply.body
    return reply.json


async def lines_of(server: Running, file_id: str | None) -> list[Json]:
    """The lines of an output or an error file; none when there is no file."""
    if file_id is None:
        return []
    content = (await server.get(f"/v1/files/{file_id}/content")).body
    return [msgspec.json.decode(line) for line in content.splitlines()]

"""Responses and their events as an upstream makes them, a worker that is moved by hand, and streams as a client reads
them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from raincheck.app import Role
from raincheck.core.clock import now
from raincheck.core.model import Finish, Lease, Offer
from raincheck.core.outcome import Ended, Made, Outcome, Released, Reply, RequestError, Retry, Succeeded
from raincheck.core.responses import response_object
from raincheck.core.status import Status
from raincheck.dispatch.stow import Stow
from tests.scripted import Answer, stream
from tests.server import Json, Running, running_server
from tests.server import Reply as Got

USAGE: Json = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 8,
}
FAILED = RequestError("The upstream stumbled.", code="upstream_error")


def message(text: str, *, item_id: str = "msg_1", status: str = "completed") -> Json:
    """An output item."""
    part: Json = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    content: list[Json] = [part] if status == "completed" else []
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": content}


def a_response(text: str, *, response_id: str = "resp_up", item_id: str = "msg_1", **members: Any) -> Json:
    """A completed one."""
    asked = {"model": "m", **members}
    output = [message(text, item_id=item_id)]
    return response_object(asked, response_id, now(), "completed", output=output, usage=USAGE)


def life_of(text: str, *, response_id: str = "resp_up", item_id: str = "msg_1", **members: Any) -> list[Json]:
    """All events of a response whose text comes word by word."""
    begun = response_object({"model": "m"}, response_id, now(), "in_progress")
    where = {"output_index": 0, "item_id": item_id, "content_index": 0}
    part: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    item = message("", item_id=item_id, status="in_progress")
    events: list[Json] = [
        {"type": "response.created", "response": begun},
        {"type": "response.in_progress", "response": begun},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "part": part},
        *({"type": "response.output_text.delta", **where, "delta": word, "logprobs": []} for word in text.split(" ")),
        {"type": "response.output_text.done", **where, "text": text, "logprobs": []},
        {"type": "response.content_part.done", **where, "part": part | {"text": text}},
        {"type": "response.output_item.done", "output_index": 0, "item": message(text, item_id=item_id)},
        {
            "type": "response.completed",
            "response": a_response(text, response_id=response_id, item_id=item_id, **members),
        },
    ]
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


def streamed(text: str, *pauses: Any, at: int = 6, **members: Any) -> Answer:
    """How a server that has the API streams a response, with `pauses` before the event of the number `at`."""
    events = life_of(text, **members)
    return stream(*events[:at], *pauses, *events[at:], done=False)


@dataclass
class Hand:
    """One attempt, made by the test."""

    server: Running
    lease: Lease

    def say(self, *events: Json) -> None:
        for event in events:
            self.server.edge.live.delta(self.lease.fence, msgspec.json.encode(event))

    async def complete(self, body: Json, *, events: Sequence[Json] = (), folder: Path | None = None) -> None:
        """The end, with a file of the events when there are any."""
        reply = Reply(msgspec.json.encode(body))
        if folder is not None:
            path = folder / f"{self.lease.fence.number}.jsonl"
            path.write_bytes(b"".join(msgspec.json.encode(event) + b"\n" for event in events))
            reply = Reply(reply.body, made=(Made("events.jsonl", path, "application/x-ndjson"),))
        await self._end(Succeeded(reply))

    async def fail(self, error: RequestError = FAILED) -> None:
        await self._end(Ended(Status.FAILED, error))

    async def retry(self) -> None:
        await self._end(Retry(FAILED, due_at=0))

    async def release(self) -> None:
        await self._end(Released())

    async def _end(self, outcome: Outcome) -> None:
        edge = self.server.edge
        edge.live.end(self.lease.fence)
        finish = Finish(self.lease.fence, outcome)
        if edge.objects is not None:
            finish = await Stow(edge.store.blobs, edge.objects).put(finish)
        assert not await edge.store.leases.finish([finish])


async def take(server: Running) -> Hand:
    """Claim what is next, as a worker in this process does."""
    claimed = await server.edge.store.leases.claim([Offer("m", "up", 1)], worker="hand", lease_for=60_000_000)
    [lease] = claimed.leases
    server.edge.live.begin(lease.fence, lease.attempt)
    server.edge.live.wake(lease.fence.request_id)
    return Hand(server, lease)


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncGenerator[Running]:
    """A server with a place for files that claims nothing by itself."""
    changed: dict[str, Any] = {"role": Role.DESK, "blobs_url": (folder / "blobs").as_uri(), **settings}
    async with running_server(folder, **changed) as server:
        yield server


async def create(server: Running, text: str = "Hello", headers: dict[str, str] | None = None, **members: Any) -> Got:
    """POST a response in the background."""
    body = {"model": "m", "input": text, "background": True, **members}
    return await server.post("/v1/responses", {k: v for k, v in body.items() if v is not ...}, **(headers or {}))


async def created(server: Running, text: str = "Hello", **members: Any) -> str:
    """The id of one."""
    reply = await create(server, text, **members)
    assert reply.status == 200, reply.body
    return reply.json["id"]


async def create_streamed(server: Running) -> str:
    """The id of one whose events are kept; nobody listens to them."""
    body = {"model": "m", "input": "Hello", "background": True, "stream": True}
    async with server.session.post(f"{server.url}/v1/responses", json=body) as response:
        assert response.status == 200
        page = await server.get("/v1/requests?limit=1")
        return page.json["data"][0]["id"]


async def follow(server: Running, response_id: str, after: int | None = None) -> AsyncGenerator[Json]:
    """The events of a stream, without comments."""
    query = "" if after is None else f"&starting_after={after}"
    async with server.session.get(f"{server.url}/v1/responses/{response_id}?stream=true{query}") as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "text/event-stream"
        kind, rest = "", b""
        async for piece in response.content.iter_any():
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.startswith(b"event: "):
                    kind = line.removeprefix(b"event: ").decode()
                elif line.startswith(b"data: "):
                    event = msgspec.json.decode(line.removeprefix(b"data: "))
                    assert event["type"] == kind
                    yield event


async def all_of(server: Running, response_id: str, after: int | None = None) -> list[Json]:
    return [event async for event in follow(server, response_id, after)]


def numbers(events: Sequence[Json]) -> list[int]:
    return [event["sequence_number"] for event in events]


def kinds(events: Sequence[Json]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]

"""The live account of a request: server-sent events in, `Event` out, across lost connections."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx2
from openai import APIConnectionError, APIStatusError, AsyncOpenAI, AsyncStream, OpenAI, RequestOptions, Stream

from raincheck.client.dialect import request_path
from raincheck.client.errors import RaincheckClientError
from raincheck.client.models import Request

SILENCE = 45.0
"""The server sends a sign of life every 15 s; three missed ones mean that the connection is dead."""
TRIES = 10
"""Connections in a row that brought no event, before the trouble is the caller's."""


@dataclass(frozen=True, slots=True)
class Event:
    """`status`: the request has another status or attempt, or is worked on anew; `data` is its record, and the answer
    begins again after it. `progress`: `data` holds `progress` and `progress_message`. `delta`: a piece of the answer,
    `data` is the upstream's chunk. `dropped`: `data["deltas"]` pieces are missing here, because the server keeps only
    so many for those who join late or read slowly; the result has them."""

    type: Literal["status", "progress", "delta", "dropped"]
    data: dict[str, Any]
    id: str | None = None

    @property
    def request(self) -> Request | None:
        """The record, on a `status` event."""
        return Request.construct(**self.data) if self.type == "status" else None

    @property
    def text(self) -> str:
        """The new text in a `delta` of a chat completion, "" on anything else."""
        choices: list[dict[str, Any]] = self.data.get("choices") or []
        deltas: list[dict[str, Any]] = [choice.get("delta") or {} for choice in choices]
        return "".join(delta.get("content") or "" for delta in deltas)


def follow(client: OpenAI, request_id: str) -> Iterator[Event]:
    listener = Listener(request_id)
    while not listener.done:
        try:
            with client.get(
                listener.path, cast_to=object, options=listener.options(), stream=True, stream_cls=Stream[object]
            ) as stream:
                for chunk in stream.response.iter_bytes():
                    yield from listener.hear(chunk)
                    if listener.done:
                        return
        except (APIConnectionError, APIStatusError, httpx2.TransportError) as error:
            listener.lost(error)
        time.sleep(listener.pause())


async def afollow(client: AsyncOpenAI, request_id: str) -> AsyncIterator[Event]:
    listener = Listener(request_id)
    while not listener.done:
        try:
            async with await client.get(
                listener.path, cast_to=object, options=listener.options(), stream=True, stream_cls=AsyncStream[object]
            ) as stream:
                async for chunk in stream.response.aiter_bytes():
                    for event in listener.hear(chunk):
                        yield event
                    if listener.done:
                        return
        except (APIConnectionError, APIStatusError, httpx2.TransportError) as error:
            listener.lost(error)
        await asyncio.sleep(listener.pause())


class Listener:
    """Bytes in, events out; and what has to be remembered to go on after a break."""

    def __init__(self, request_id: str) -> None:
        self.path = request_path(request_id, "/events")
        self.done = False
        self._heard = b""
        self._draft = _Draft()
        self._last_id: str | None = None
        self._status: Event | None = None
        """The last one heard, and whether the caller has it since the last delta."""
        self._told = False
        self._fruitless = 0

    def options(self) -> RequestOptions:
        """For the next connection: the pieces already heard are not to be told again."""
        self._heard, self._draft = b"", _Draft()
        headers = {"Accept": "text/event-stream"}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        return {"headers": headers, "timeout": SILENCE, "max_retries": 0}

    def hear(self, chunk: bytes) -> Iterator[Event]:
        # Lines are split here and not by httpx2, which also splits at U+2028 and its like: those stand raw in JSON.
        *lines, self._heard = (self._heard + chunk).split(b"\n")
        for line in lines:
            if text := line.removesuffix(b"\r").decode(errors="replace"):
                self._draft.add(text)
                continue
            draft, self._draft = self._draft, _Draft()
            if event := draft.event():
                yield from self._news(event)

    def lost(self, error: Exception) -> None:
        """Raise the error again unless another connection may do better."""
        final = (
            isinstance(error, APIStatusError) and error.status_code < 500 and error.status_code not in (408, 425, 429)
        )
        if final or self._fruitless >= TRIES:
            raise error

    def pause(self) -> float:
        self._fruitless += 1
        if self._fruitless > TRIES:
            raise RaincheckClientError(
                f"The server closed the event stream {self.path} {TRIES} times without an event."
            )
        return min(0.25 * 2.0**self._fruitless, 5.0)

    def _news(self, event: Event) -> Iterator[Event]:
        self._fruitless = 0
        if event.type == "status":
            # Every connection begins with the status, also when it is the one we know.
            known, self._status = self._status, event
            self.done = event.data.get("status") not in ("pending", "processing")
            if known is not None and _stand(known) == _stand(event):
                return
            self._told = True
        elif event.type == "delta":
            before, self._last_id = self._last_id, event.id or self._last_id
            if self._status is not None and not self._told and _fence(before) != _fence(self._last_id):
                # Given back untried while the connection was lost: status and attempt are the same, the answer is not.
                yield self._status
            self._told = False
        yield event


def _stand(status: Event) -> tuple[object, object]:
    return status.data.get("status"), status.data.get("attempt")


def _fence(event_id: str | None) -> str | None:
    """What the ids of one claim's deltas have in common: all before the number."""
    return None if event_id is None else event_id.rpartition("-")[0]


@dataclass(slots=True)
class _Draft:
    """One event while its lines come in."""

    type: str = ""
    id: str | None = None
    data: list[str] = field(default_factory=list[str])

    def add(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "event":
                self.type = value
            case "id":
                self.id = value
            case "data":
                self.data.append(value)
            case _:
                pass  # a comment (the keep-alive), or a field we do not use

    def event(self) -> Event | None:
        """None for an empty one, and for kinds that a newer server may send."""
        if not self.data or self.type not in ("status", "progress", "delta", "dropped"):
            return None
        return Event(self.type, json.loads("\n".join(self.data)), self.id)

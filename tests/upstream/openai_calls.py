"""Builders for the tests of the openai upstream."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from raincheck.core.outcome import Failure, Reply
from raincheck.upstream.openai import OpenAIUpstream
from raincheck.upstream.protocol import Work
from raincheck.upstream.python.direct import NoBench
from tests.scripted import ScriptedUpstream

CHAT = "/chat/completions"


@dataclass
class Told:
    """A report that remembers."""

    deltas: list[bytes] = field(default_factory=list[bytes])
    steps: list[tuple[float | None, str | None]] = field(default_factory=list[tuple[float | None, str | None]])

    def progress(self, fraction: float | None, message: str | None = None) -> None:
        self.steps.append((fraction, message))

    def delta(self, data: bytes) -> None:
        self.deltas.append(data)

    async def remote(self, remote_id: str | None) -> None:
        raise AssertionError("a chat completion has no remote job")

    async def stray(self, remote_id: str) -> None:
        raise AssertionError("a chat completion has no remote job")


@asynccontextmanager
async def calling(server: ScriptedUpstream | str, **options: Any) -> AsyncGenerator[OpenAIUpstream]:
    """A started upstream that calls this server."""
    base_url = server if isinstance(server, str) else server.base_url
    upstream = OpenAIUpstream("pool", base_url, **options)
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.close()


def some_work(path: str = CHAT, **members: Any) -> Work:
    payload: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | members
    return Work(
        request_id="req_1",
        operation="chat.completion",
        path=path,
        model=payload["model"],
        payload=msgspec.json.encode(payload),
        attempt=1,
        bench=NoBench(),
    )


def the_reply(answer: Reply | Failure) -> Reply:
    assert isinstance(answer, Reply), answer
    return answer


def the_failure(answer: Reply | Failure) -> Failure:
    assert isinstance(answer, Failure), answer
    return answer


def body_of(answer: Reply | Failure) -> dict[str, Any]:
    return msgspec.json.decode(the_reply(answer).body)


def content_of(answer: Reply | Failure) -> Any:
    return body_of(answer)["choices"][0]["message"]["content"]

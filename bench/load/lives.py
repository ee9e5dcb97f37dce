"""Jobs with client libraries as users have them: call after call, directly or by deferred requests."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, cast

import aiohttp
import httpx2
import msgspec
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from bench.calls import CHAT, DEFERRED, MESSAGES, MODEL
from raincheck import AsyncRaincheck

JSON = {"content-type": "application/json"}
WAITING = {**JSON, "prefer": "wait=30"}
"""Submit and collect in one exchange."""
TALK = cast("list[ChatCompletionMessageParam]", MESSAGES)


async def aiohttp_direct(base_url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Calls answered per second."""
    async with _session() as session:

        async def call() -> None:
            await _read(session.post(f"{base_url}/chat/completions", data=CHAT, headers=JSON))

        return await _again_and_again(call, concurrency, seconds)


async def aiohttp_deferred(base_url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Deferred requests submitted, completed and collected per second."""
    async with _session() as session:

        async def live() -> None:
            _collected(await _read(session.post(f"{base_url}/chat/completions", data=DEFERRED, headers=WAITING)))

        return await _again_and_again(live, concurrency, seconds)


async def httpx_direct(base_url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Calls answered per second."""
    async with httpx2.AsyncClient(timeout=30) as client:

        async def call() -> None:
            _content(await client.post(f"{base_url}/chat/completions", content=CHAT, headers=JSON))

        return await _again_and_again(call, concurrency, seconds)


async def httpx_deferred(base_url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Deferred requests submitted, completed and collected per second."""
    async with httpx2.AsyncClient(timeout=40) as client:

        async def live() -> None:
            _collected(_content(await client.post(f"{base_url}/chat/completions", content=DEFERRED, headers=WAITING)))

        return await _again_and_again(live, concurrency, seconds)


async def openai_direct(base_url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Calls answered per second."""
    async with AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0) as client:

        async def call() -> None:
            completion = await client.chat.completions.create(model=MODEL, messages=TALK)
            assert completion.choices

        return await _again_and_again(call, concurrency, seconds)


async def openai_deferred(base_url: str, concurrency: int, seconds: float) -> dict[str, Any]:
    """Deferred requests submitted, completed and collected per second."""
    async with AsyncRaincheck(base_url=base_url, max_retries=0) as client:

        async def live() -> None:
            completion = await client.chat.completions.create_and_wait(model=MODEL, messages=TALK, timeout=30)
            assert completion.choices

        return await _again_and_again(live, concurrency, seconds)


async def _again_and_again(once: Callable[[], Awaitable[None]], concurrency: int, seconds: float) -> dict[str, Any]:
    count = 0
    until = perf_counter() + seconds

    async def worker() -> None:
        nonlocal count
        while True:
            await once()
            if perf_counter() > until:
                return
            count += 1

    async with asyncio.TaskGroup() as workers:
        for _ in range(concurrency):
            workers.create_task(worker())
    return {"per_second": count / seconds}


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def _read(asked: Any) -> bytes:
    async with asked as answer:
        body = await answer.read()
        if answer.status != 200:
            raise RuntimeError(f"answered {answer.status}: {body[:500]!r}")
        return body


def _collected(body: bytes) -> None:
    if not msgspec.json.decode(body)["choices"]:
        raise RuntimeError(f"not done within the wait: {body[:500]!r}")


def _content(answer: httpx2.Response) -> bytes:
    if answer.status_code != 200:
        raise RuntimeError(f"answered {answer.status_code}: {answer.content[:500]!r}")
    return answer.content

"""What a script is made of: whole answers, streams, and everything that can go wrong on the way."""

import asyncio
from collections.abc import Mapping
from types import EllipsisType
from typing import Any

import msgspec

from tests.scripted.completions import HELLO, Asked, event, frame, pieces, whole, words
from tests.scripted.exchange import Answer, Exchange, Json


def reply(body: Json | list[Any] | str | bytes, status: int = 200, **headers: str) -> Answer:
    """A whole answer: JSON, or text or bytes as they are; header names with `_` for `-`."""
    data = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else msgspec.json.encode(body)

    async def answer(exchange: Exchange) -> None:
        exchange.head(status, {"content-type": "application/json"} | _names(headers), len(data))
        exchange.write(data)

    return answer


def error(status: int, message: str = "scripted", code: str | int | None = None, **headers: str) -> Answer:
    """An error in the OpenAI envelope."""
    body = {"error": {"message": message, "type": "scripted_error", "param": None, "code": code}}
    return reply(body, status, **headers)


def stream(
    *steps: Json | str | bytes | float | asyncio.Event | EllipsisType,
    done: bool = True,
    status: int = 200,
    **headers: str,
) -> Answer:
    """Server-sent events: a dict or str is an event's data, bytes are sent raw, a number is slept, an Event awaited.

    `...` waits until the client hangs up.
    """

    async def answer(exchange: Exchange) -> None:
        exchange.head(status, {"content-type": "text/event-stream"} | _names(headers))
        for step in (*steps, "[DONE]") if done else steps:
            match step:
                case asyncio.Event():
                    await step.wait()
                case EllipsisType():
                    await asyncio.Event().wait()
                case int() | float():
                    await asyncio.sleep(step)
                case bytes():
                    exchange.write(step)
                case str():
                    exchange.write(event(step.encode()))
                case _:
                    exchange.write(event(msgspec.json.encode(step)))
        exchange.end()

    return answer


def text(content: str = HELLO, *, delay: float = 0, pause: float = 0, before: asyncio.Event | None = None) -> Answer:
    """A completion with this content, whole or streamed word by word as was asked.

    It starts after `before` is set and `delay` seconds, with `pause` seconds between the words.
    """

    async def answer(exchange: Exchange) -> None:
        if before is not None:
            await before.wait()
        await asyncio.sleep(delay)
        asked = msgspec.json.decode(exchange.request.body, type=Asked)
        if not asked.stream:
            await asyncio.sleep(pause * len(words(content)))
            await reply(whole(exchange.request.path, asked.model, content))(exchange)
            return
        steps: list[Json | float] = []
        for piece in pieces(exchange.request.path, asked, content):
            steps += [piece, pause] if pause else [piece]
        await stream(*steps)(exchange)

    return answer


def drop() -> Answer:
    """Close the connection without a byte."""

    async def answer(exchange: Exchange) -> None:
        exchange.drop()

    return answer


def cut(answer: Answer, *, after: int) -> Answer:
    """Close the connection when so many bytes of this answer's body are sent."""

    async def cut_answer(exchange: Exchange) -> None:
        exchange.cut_after = after
        await answer(exchange)

    return cut_answer


def closing(answer: Answer) -> Answer:
    """This answer, and then the connection is closed without having said so, as llama.cpp does."""

    async def closing_answer(exchange: Exchange) -> None:
        await answer(exchange)
        exchange.drop()

    return closing_answer


def silence() -> Answer:
    """Never answer."""

    async def answer(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    return answer


def chunk(content: str | None = None, *, index: int = 0, finish: str | None = None, **delta: Any) -> Json:
    """One `chat.completion.chunk` with one choice."""
    if content is not None:
        delta["content"] = content
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return frame("chat.completion.chunk", "m", [choice])


def _names(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}

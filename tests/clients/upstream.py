"""The model behind the server of these checks, as a process: an OpenAI-compatible server that does what it is told.

`python -m tests.clients.upstream`. What it does is said by the last message, or by what else is in the request.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from tests.scripted import HELLO, Exchange, Json, ScriptedUpstream, error, reply, stream, text
from tests.scripted.completions import frame, usage_of, words

MODEL = "m"
SLOW = 30.0
"""Seconds an answer to `Slow` takes: longer than any check waits, as it is to be cancelled."""
_asked = Counter[str]()


class Asked(msgspec.Struct):
    """What an answer depends on."""

    messages: list[Json] = msgspec.field(default_factory=list[Json])
    input: Any = None
    prompt: Any = None
    stream: bool | None = None
    stream_options: Json | None = None
    n: int | None = None
    max_tokens: int | None = None
    tools: list[Json] | None = None
    response_format: Json | None = None
    reasoning_effort: str | None = None
    logprobs: bool | int | None = None
    top_logprobs: int | None = None


async def play(exchange: Exchange) -> None:
    asked = msgspec.json.decode(exchange.request.body, type=Asked)
    said = last(asked)
    match said.partition("-")[0]:
        case "Fail":
            await error(400, "I will not do that.", "refused")(exchange)
        case "Busy" if _times(said) == 1:
            await error(503, "Try again.", "busy", retry_after="0.05")(exchange)
        case "Slow":
            await text(delay=SLOW)(exchange)
        case _ if exchange.request.path == "/chat/completions":
            await _complete(exchange, asked)
        case _:
            await text()(exchange)


def last(asked: Asked) -> str:
    """The text of the last message, or of the input."""
    content: Any = asked.messages or asked.input or asked.prompt or ""
    if isinstance(content, list):
        content = cast("list[Any]", content)[-1]
    if isinstance(content, dict):
        content = cast("Json", content).get("content")
    parts = cast("list[Json]", content) if isinstance(content, list) else [{"text": content}]
    return " ".join(str(part.get("text") or "") for part in parts).strip()


def _times(said: str) -> int:
    _asked[said] += 1
    return _asked[said]


async def _complete(exchange: Exchange, asked: Asked) -> None:
    """A completion, whole or streamed, with all that was asked for."""
    choices = [_choice(asked, index) for index in range(asked.n or 1)]
    usage = usage_of(HELLO)
    if asked.reasoning_effort:
        usage["completion_tokens_details"] = {"reasoning_tokens": 2}
    usage["prompt_tokens_details"] = {"cached_tokens": 3}
    if not asked.stream:
        body = frame("chat.completion", MODEL, choices) | {"usage": usage, "system_fingerprint": "fp_script"}
        await reply(body)(exchange)
        return
    events = [
        frame("chat.completion.chunk", MODEL, [piece]) | {"system_fingerprint": "fp_script"}
        for choice in choices
        for piece in _pieces(choice)
    ]
    if (asked.stream_options or {}).get("include_usage"):
        events.append(frame("chat.completion.chunk", MODEL, []) | {"usage": usage})
    await stream(*events)(exchange)


def _choice(asked: Asked, index: int) -> Json:
    message: Json = {"role": "assistant", "content": _content(asked)}
    finish = "length" if asked.max_tokens == 1 else "stop"
    if asked.tools and asked.messages[-1]["role"] == "user":
        function = {"name": asked.tools[0]["function"]["name"], "arguments": '{"city": "Oslo"}'}
        message = {"role": "assistant", "content": None}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
        finish = "tool_calls"
    if asked.reasoning_effort:
        message["reasoning_content"] = "Let me see."
    choice: Json = {"index": index, "message": message, "finish_reason": finish}
    if asked.logprobs:
        top = [{"token": "Hello", "logprob": -0.5, "bytes": [72]}] * int(asked.top_logprobs or 0)
        choice["logprobs"] = {"content": [{"token": "Hello", "logprob": -0.5, "bytes": [72], "top_logprobs": top}]}
    return choice


def _content(asked: Asked) -> str:
    """Some JSON that fits the one schema that checks ask for; what was seen; who has spoken; or a hello."""
    if (asked.response_format or {}).get("type") == "json_schema":
        return '{"name": "Ada", "year": 1815}'
    messages: Sequence[Json] = asked.messages
    content: Any = messages[-1].get("content")
    if isinstance(content, list):
        return "Saw " + ", ".join(map(_seen, cast("list[Json]", content)))
    if content and content.startswith("What is it?"):
        # Text beside text may come as one.
        return "Saw " + ", ".join(repr(part) for part in content.splitlines())
    return HELLO if len(messages) == 1 else f"Heard {', '.join(message['role'] for message in messages)}."


def _seen(part: Json) -> str:
    match part:
        case {"type": "image_url", "image_url": {"url": str(url)}}:
            return f"image {url.partition(',')[0]}"
        case {"type": "file", "file": {"filename": name}}:
            return f"file {name}"
        case {"type": "text", "text": said}:
            return repr(said)
        case _:
            return str(part.get("type"))


def _pieces(choice: Json) -> list[Json]:
    message: Json = choice["message"]
    start: Json = {"role": "assistant", "content": ""}
    if "reasoning_content" in message:
        start["reasoning_content"] = message["reasoning_content"]
    deltas = [start, *({"content": word} for word in words(message["content"] or ""))]
    if "tool_calls" in message:
        deltas += [{"tool_calls": [{"index": 0, **call} for call in message["tool_calls"]]}]
    pieces = [{"index": choice["index"], "delta": delta, "finish_reason": None} for delta in deltas]
    if "logprobs" in choice:
        pieces[-1]["logprobs"] = choice["logprobs"]
    return [*pieces, {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}]


async def main() -> None:
    async with ScriptedUpstream([MODEL], default=play, keep_requests=False) as upstream:
        print(f"listening on {upstream.base_url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())

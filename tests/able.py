"""An upstream that can what small models cannot: call tools, answer in a schema, stream, give several answers.

    python -m tests.able [--port 8499]

It says its base URL at the end of its first line. A question `fail` is refused, `never end` is never answered. What it
was asked stands in GET /asked: how often each question came.
"""

import argparse
import asyncio
import json
from collections import Counter
from typing import Any

from aiohttp import web

MODEL = "able"
Json = dict[str, Any]
NOTHING: Json = {}
asked: Counter[str] = Counter()


async def complete(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    question = _text(body["messages"][-1].get("content"))
    asked[question] += 1
    if question == "fail":
        error = {"message": "I was told to fail.", "type": "invalid_request_error", "param": None, "code": "told_to"}
        return web.json_response({"error": error}, status=400)
    if question == "never end":
        await asyncio.Event().wait()
    choices: list[Json] = [_choice(body, question) | {"index": index} for index in range(body.get("n") or 1)]
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    frame = {"id": "chatcmpl-able", "created": 1_700_000_000, "model": body["model"], "system_fingerprint": "fp_able"}
    if not body.get("stream"):
        return web.json_response(frame | {"object": "chat.completion", "choices": choices, "usage": usage})
    frame["object"] = "chat.completion.chunk"
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    for choice in choices:
        for delta in _deltas(choice["message"]):
            await _say(answer, frame | {"choices": [{"index": choice["index"], "delta": delta}]})
        last: Json = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
        await _say(answer, frame | {"choices": [last]})
    await _say(answer, frame | {"choices": [], "usage": usage})
    await answer.write(b"data: [DONE]\n\n")
    return answer


def _choice(body: Json, question: str) -> Json:
    message: Json = {"role": "assistant", "content": f"You asked: {question}"}
    wanted: Json = body.get("response_format") or NOTHING
    if body.get("tools") and body["messages"][-1]["role"] != "tool":
        function = body["tools"][0]["function"]
        arguments = json.dumps(_instance(function.get("parameters") or NOTHING))
        call = {"id": "call_1", "type": "function", "function": {"name": function["name"], "arguments": arguments}}
        return {"message": message | {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}
    if wanted.get("type") == "json_schema":
        schema: Json = wanted["json_schema"]["schema"]
        message["content"] = json.dumps(_instance(schema, schema.get("$defs") or NOTHING))
    return {"message": message, "finish_reason": "stop"}


def _instance(schema: Json, named: Json = NOTHING) -> Any:
    """The smallest thing that fits a schema."""
    if "$ref" in schema:
        return _instance(named[schema["$ref"].rpartition("/")[2]], named)
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object" | None:
            properties: dict[str, Json] = schema.get("properties") or NOTHING
            return {name: _instance(each, named) for name, each in properties.items()}
        case "array":
            return [_instance(schema.get("items") or {"type": "string"}, named)]
        case "integer" | "number":
            return 21
        case "boolean":
            return True
        case _:
            return "Lisbon"


def _deltas(message: Json) -> list[Json]:
    """A message as it is streamed; a tool call comes in pieces."""
    deltas: list[Json] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": f"{word} "} for word in (message["content"] or "").split()]
    for index, call in enumerate(message.get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        deltas.append({"tool_calls": [call | {"index": index, "function": {"name": name, "arguments": ""}}]})
        half = len(arguments) // 2
        for piece in (arguments[:half], arguments[half:]):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
    return deltas


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.get("text", part["type"]) for part in content or ())


async def _say(answer: web.StreamResponse, chunk: Json) -> None:
    await answer.write(f"data: {json.dumps(chunk)}\n\n".encode())


async def models(_: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


async def told(_: web.Request) -> web.Response:
    return web.json_response(asked)


async def main(port: int) -> None:
    app = web.Application(client_max_size=64 << 20)
    app.add_routes([web.post("/v1/chat/completions", complete), web.get("/v1/models", models), web.get("/asked", told)])
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    assert runner.addresses
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.able")
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(main(parser.parse_args().port))

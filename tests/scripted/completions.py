"""The small completion: a payload in, the bodies and chunks of a well-behaved answer out."""

import re
from typing import Any

import msgspec

Json = dict[str, Any]
CREATED = 1_700_000_000
HELLO = "Hello from the script."


class Options(msgspec.Struct):
    include_usage: bool = False


class Asked(msgspec.Struct):
    """What an answer needs to know of a payload."""

    model: str = "m"
    stream: bool = False
    stream_options: Options | None = None
    messages: list[Json] = msgspec.field(default_factory=list[Json])

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def instant(path: str, asked: Asked) -> bytes:
    if not asked.stream:
        body = msgspec.json.encode(whole(path, asked.model, HELLO))
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        return head.encode() + body
    data = [msgspec.json.encode(piece) for piece in pieces(path, asked, HELLO)]
    body = b"".join(event(piece) for piece in [*data, b"[DONE]"])
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


def whole(path: str, model: str, content: str) -> Json:
    usage = usage_of(content)
    match path:
        case "/chat/completions":
            message = {"role": "assistant", "content": content}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return frame("chat.completion", model, [choice]) | {"usage": usage}
        case "/completions":
            choice = {"index": 0, "text": content, "logprobs": None, "finish_reason": "stop"}
            return frame("text_completion", model, [choice]) | {"usage": usage}
        case "/embeddings":
            vector = {"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}
            return {"object": "list", "model": model, "data": [vector], "usage": usage}
        case "/responses":
            return response(model, content)
        case _:
            return {"object": "scripted", "path": path, "model": model, "usage": usage}


def pieces(path: str, asked: Asked, content: str) -> list[Json]:
    if path == "/responses":
        return response_events(asked.model, content)
    if path == "/completions":
        kind = "text_completion"
        choices: list[Json] = [{"index": 0, "text": word, "finish_reason": None} for word in words(content)]
        last: Json = {"index": 0, "text": "", "finish_reason": "stop"}
    else:
        kind = "chat.completion.chunk"
        deltas: list[Json] = [{"role": "assistant", "content": ""}, *({"content": word} for word in words(content))]
        choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    pieces = [frame(kind, asked.model, [choice]) for choice in [*choices, last]]
    if asked.wants_usage:
        pieces.append(frame(kind, asked.model, []) | {"usage": usage_of(content)})
    return pieces


def response(model: str, content: str, status: str = "completed") -> Json:
    """A Response of a server that has the API; without content until it is completed."""
    part: Json = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
    message: Json = {"id": "msg_scripted", "type": "message", "role": "assistant", "status": status, "content": [part]}
    usage = usage_of(content)
    counted = {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
    done = status == "completed"
    return {
        "id": "resp_scripted",
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [message] if done else [],
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "usage": counted if done else None,
    }


def response_events(model: str, content: str) -> list[Json]:
    """The same as it is streamed."""
    begun = response(model, "", "in_progress")
    [message] = response(model, content)["output"]
    empty: Json = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    at = {"item_id": message["id"], "output_index": 0, "content_index": 0}
    item = {"output_index": 0, "item": message | {"status": "in_progress", "content": []}}
    told: list[tuple[str, Json]] = [
        ("created", {"response": begun}),
        ("in_progress", {"response": begun}),
        ("output_item.added", item),
        ("content_part.added", at | {"part": empty}),
        *(("output_text.delta", at | {"delta": word, "logprobs": []}) for word in words(content)),
        ("output_text.done", at | {"text": content, "logprobs": []}),
        ("content_part.done", at | {"part": message["content"][0]}),
        ("output_item.done", item | {"item": message}),
        ("completed", {"response": response(model, content)}),
    ]
    return [
        {"type": f"response.{kind}", "sequence_number": number, **members}
        for number, (kind, members) in enumerate(told)
    ]


def frame(kind: str, model: str, choices: list[Json]) -> Json:
    return {"id": "chatcmpl-scripted", "object": kind, "created": CREATED, "model": model, "choices": choices}


def usage_of(content: str) -> Json:
    tokens = len(words(content))
    return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}


def words(content: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", content)


def event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data

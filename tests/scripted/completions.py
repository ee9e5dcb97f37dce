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
        case _:
            return {"object": "scripted", "path": path, "model": model, "usage": usage}


def pieces(path: str, asked: Asked, content: str) -> list[Json]:
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


def frame(kind: str, model: str, choices: list[Json]) -> Json:
    return {"id": "chatcmpl-scripted", "object": kind, "created": CREATED, "model": model, "choices": choices}


def usage_of(content: str) -> Json:
    tokens = len(words(content))
    return {"prompt_tokens": 5, "completion_tokens": tokens, "total_tokens": 5 + tokens}


def words(content: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", content)


def event(data: bytes) -> bytes:
    return b"data: %b\n\n" % data

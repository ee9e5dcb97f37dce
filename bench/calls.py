"""The one small chat call that everything here is measured with, as a body, as bytes on the wire and as objects."""

import msgspec

MODEL = "m"
MESSAGES = [{"role": "user", "content": "What is rain, in seven words?"}]
CHAT = msgspec.json.encode({"model": MODEL, "messages": MESSAGES})
DEFERRED = msgspec.json.encode({"model": MODEL, "messages": MESSAGES, "deferred": True})


def post(path: str, body: bytes) -> bytes:
    """A POST of JSON as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def get(path: str) -> bytes:
    """A GET as it goes over the wire."""
    return f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()


SUBMIT = post("/v1/chat/completions", DEFERRED)
DIRECT = post("/v1/chat/completions", CHAT)

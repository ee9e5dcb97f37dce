"""An OpenAI-compatible server on a real socket that answers as a test tells it to, and remembers what it was asked.

    async with ScriptedUpstream(models=["m"]) as up:
        up.script(error(503), text("Hello there"))  # the next two POSTs, in this order
        ...                                         # every later one: a small instant completion
        assert up.requests[0].json["stream"] is True
        await up.requests[0].left.wait()            # the client hung up before it had its answer

As a process of its own: `python -m tests.scripted --port 0 --models m`; `GET /__log` tells what it was asked.
"""

from tests.scripted.answers import chunk, closing, cut, drop, error, reply, silence, stream, text
from tests.scripted.completions import HELLO
from tests.scripted.exchange import Answer, Exchange, Json, Received
from tests.scripted.server import ScriptedUpstream

__all__ = [
    "HELLO",
    "Answer",
    "Exchange",
    "Json",
    "Received",
    "ScriptedUpstream",
    "chunk",
    "closing",
    "cut",
    "drop",
    "error",
    "reply",
    "silence",
    "stream",
    "text",
]

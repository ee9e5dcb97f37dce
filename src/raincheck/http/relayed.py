"""Takes a call to pass on, hands on the upstream's answer as it comes."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec
from litestar.types import Receive, Scope, Send

from raincheck.core.errors import RaincheckError
from raincheck.core.outcome import RequestError
from raincheck.http.answer import send_stream
from raincheck.http.edge import Relay
from raincheck.http.presence import while_present
from raincheck.http.problems import Problem, problem_of
from raincheck.upstream.protocol import Relayed

PASSED_ON = ("content-type", "content-encoding", "retry-after", "retry-after-ms", "openai-processing-ms")
"""The upstream's headers that say something about the answer; the rest is between it and us."""


@dataclass(frozen=True, slots=True)
class RelayedAnswer:
    """An answer that is still to be asked for; the call ends when the client hangs up."""

    relay: Relay
    model: str
    path: str
    payload: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await while_present(receive, self._pass_on(scope, receive, send))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.relay.call(model=self.model, path=self.path, payload=self.payload) as relayed:
            if relayed.status in (401, 403):
                await _not_yours(relayed.status).answer(scope["path"])(scope, receive, send)
                return
            headers = {name.lower(): value for name, value in relayed.headers.items()}
            passed = [(name, value) for name, value in headers.items() if _worth(name)]
            stream = headers.get("content-type", "").startswith("text/event-stream")
            body = _with_last_word(relayed) if stream else relayed.body
            try:
                await send_stream(send, relayed.status, passed, body)
            except RaincheckError:
                # The status is sent, so the only honest sign of a broken answer is a broken connection: the server
                # cuts it when an answer is left without an end.
                return


async def _with_last_word(relayed: Relayed) -> AsyncIterator[bytes]:
    """An event stream that breaks says so in an event, which the OpenAI clients raise as an error."""
    try:
        async for chunk in relayed.body:
            yield chunk
    except RaincheckError as error:
        yield b"data: " + msgspec.json.encode({"error": problem_of(error).error}) + b"\n\n"


def _worth(name: str) -> bool:
    return name in PASSED_ON or name.startswith("x-ratelimit-")


def _not_yours(status: int) -> Problem:
    """The upstream refused *our* credentials; the client must not take it for its own API key's fault."""
    message = (
        f"The upstream refused this server's own credentials (HTTP {status}); whoever runs this server should check "
        "the upstream's API key."
    )
    return Problem(502, RequestError(message, "server_error", "upstream_refused"))

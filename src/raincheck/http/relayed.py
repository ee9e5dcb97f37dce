"""Takes a call to pass on, hands on the upstream's answer as it comes."""

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

from litestar.types import Receive, Scope, Send

from raincheck.core.errors import RaincheckError, Stopping
from raincheck.core.outcome import RequestError, envelope
from raincheck.http.answer import send_stream
from raincheck.http.edge import edge_in
from raincheck.http.presence import ClientGone, while_present
from raincheck.http.problems import Problem, problem_of
from raincheck.upstream.protocol import Relay, Relayed


@dataclass(frozen=True, slots=True)
class RelayedAnswer:
    """An answer that is still to be asked for; the call ends when the client hangs up."""

    relay: Relay
    model: str
    path: str
    payload: bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if edge_in(scope).stopping():
            raise Stopping(retry_after=2)
        with suppress(ClientGone):  # Whether the answer has begun or not, there is nobody to tell.
            await while_present(receive, self._pass_on(scope, receive, send))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.relay.call(model=self.model, path=self.path, payload=self.payload) as relayed:
            if relayed.status in (401, 403):
                await _not_yours(relayed.status).answer(scope["path"])(scope, receive, send)
                return
            stream = relayed.headers.get("content-type", "").startswith("text/event-stream")
            body = _with_last_word(relayed) if stream else relayed.body
            try:
                await send_stream(send, relayed.status, relayed.headers.items(), body)
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
        yield b"data: " + envelope(problem_of(error).error) + b"\n\n"


def _not_yours(status: int) -> Problem:
    """The upstream refused *our* credentials; the client must not take it for its own API key's fault."""
    message = (
        f"The upstream refused this server's own credentials (HTTP {status}); whoever runs this server should check "
        "the upstream's API key."
    )
    return Problem(502, RequestError(message, "server_error", "upstream_refused"))

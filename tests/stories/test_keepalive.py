"""The xai-sdk pings during its calls, and a long one runs once all the same (G4): its upstream saw it.

A gRPC server that takes the pings for an attack cuts the connection, and the SDK sends the call again by itself: twice
the work, and nobody is told. `python -m tests.stories.test_keepalive 200` tells it at the SDK's own pace, a ping each
30 seconds; here the pings are faster and the calls shorter.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from xai_sdk import AsyncClient, Client
from xai_sdk.chat import user

from tests.scripted import HELLO
from tests.stories import calls
from tests.stories.processes import Server, an_upstream, free_port

FAST = [("grpc.keepalive_time_ms", 1_000)]
"""The fastest that a client may ping. A server that counts has enough after five seconds."""


@pytest.mark.slow("waits for calls of 8 s")
async def test_g4_long_calls_of_the_sdk_run_once_whatever_it_pings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = await tell(tmp_path, seconds=8.0, options=FAST)
    with capsys.disabled():
        print(f"\n{told}")
    assert told.seen == {"deferred": 1, "sampled": 1, "streamed": 1}
    assert told.answers == [HELLO] * 3


@dataclass(frozen=True)
class Told:
    """What became of three calls that were made at once."""

    seen: dict[str, int]
    """How often the upstream was asked each of them."""
    answers: list[str]
    seconds: list[float]
    polls: int

    def __str__(self) -> str:
        each = ", ".join(
            f"{name} {seconds:.1f} s ({self.seen.get(name, 0)} at the upstream)"
            for name, seconds in zip(("deferred", "sampled", "streamed"), self.seconds, strict=True)
        )
        return f"{each}; the deferred one was polled {self.polls} times"


async def tell(folder: Path, *, seconds: float, options: list[tuple[str, Any]] | None = None) -> Told:
    """A deferred chat, a sample and a stream of so many seconds each, by the SDK with these channel options."""
    port = free_port()
    async with an_upstream(folder, delay=seconds) as upstream:
        server = Server(folder, upstream, free_port(), options=("--grpc-port", str(port)))
        process = await server.start()
        blocking = Client(api_key="none", api_host=f"localhost:{port}", channel_options=options)
        client = AsyncClient(api_key="none", api_host=f"localhost:{port}", channel_options=options)
        polls = _counted(blocking)
        try:
            ran = await asyncio.gather(
                _timed(lambda: asyncio.to_thread(_defer, blocking)),
                _timed(lambda: _sample(client)),
                _timed(lambda: _stream(client)),
            )
        finally:
            blocking.close()
            await client.close()
            await process.terminate()
    seen = calls.read(folder / "calls.jsonl")
    names = [call.content for call in seen]
    counts = {name: names.count(name) for name in names}
    return Told(counts, [answer for answer, _ in ran], [took for _, took in ran], len(polls))


def _defer(client: Client) -> str:
    chat = client.chat.create("m", messages=[user("deferred")])
    return chat.defer(timeout=timedelta(hours=1)).content


async def _sample(client: AsyncClient) -> str:
    return (await client.chat.create("m", messages=[user("sampled")]).sample()).content


async def _stream(client: AsyncClient) -> str:
    pieces = [chunk.content async for _, chunk in client.chat.create("m", messages=[user("streamed")]).stream()]
    return "".join(pieces)


async def _timed(call: Callable[[], Awaitable[str]]) -> tuple[str, float]:
    began = time.monotonic()
    answer = await call()
    return answer, time.monotonic() - began


def _counted(client: Client) -> list[object]:
    """Grows with each poll that the client makes."""
    polls: list[object] = []
    stub: Any = client.chat._stub  # pyright: ignore[reportPrivateUsage]
    ask = stub.GetDeferredCompletion

    def counting(message: object) -> Any:
        polls.append(message)
        return ask(message)

    stub.GetDeferredCompletion = counting
    return polls


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="raincheck-keepalive-") as name:
        print(asyncio.run(tell(Path(name), seconds=float((sys.argv[1:] or [200])[0]))))

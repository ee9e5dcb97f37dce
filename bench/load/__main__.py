"""Takes jobs, one JSON line each, hands on what was measured, one JSON line each."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import uvloop

from bench import child
from bench.load import lives, over_grpc, scripts
from bench.load.pairs import pairs

JOBS: dict[str, Callable[..., Awaitable[dict[str, Any]]]] = {
    "repeat": scripts.repeat,
    "grpc": over_grpc.repeat,
    "pairs": pairs,
    "hold": scripts.hold,
    "aiohttp-direct": lives.aiohttp_direct,
    "aiohttp-deferred": lives.aiohttp_deferred,
    "httpx-direct": lives.httpx_direct,
    "httpx-deferred": lives.httpx_deferred,
    "openai-direct": lives.openai_direct,
    "openai-deferred": lives.openai_deferred,
}


async def main() -> None:
    ears = await child.ears()
    child.say(ready=True)
    while line := await ears.readline():
        details = msgspec.json.decode(line)
        try:
            answer = await JOBS[details.pop("job")](**details)
        except Exception as error:  # noqa: BLE001 - the parent is to hear of whatever went wrong
            answer = {"error": f"{type(error).__name__}: {error}"}
        child.say(**answer)
        await asyncio.sleep(0)


if __name__ == "__main__":
    uvloop.run(main())

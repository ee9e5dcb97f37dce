"""A process with a store of its own, for tests that kill it: `python -m tests.store.sqlite.child hold|submit PATH`."""

import asyncio
import sys
from itertools import count

from raincheck.core import clock
from raincheck.core.model import NewRequest
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store


async def main(command: str, path: str) -> None:
    async with open_store(path, clock=clock.now) as store:
        print("open", flush=True)
        match command:
            case "hold":
                await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
            case "submit":
                await asyncio.gather(*(submit_for_ever(store, name) for name in "abcd"))
            case _:
                raise ValueError(command)


async def submit_for_ever(store: Store, name: str) -> None:
    """Each id is printed once it was accepted."""
    for number in count():
        new = NewRequest(
            id=f"req_{name}{number}",
            tenant="t",
            queue="small",
            operation="chat.completion",
            path="/chat/completions",
            model="m",
            payload=b"x" * 2_000,
            created_at=clock.now(),
        )
        await store.requests.submit([new])
        print(new.id, flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""A worker process that claims one request, says so, and finishes it when told to on stdin."""

import asyncio
import sys

from raincheck.core.clock import now
from raincheck.core.model import Finish, Offer
from raincheck.core.outcome import Reply, Succeeded
from raincheck.store.sqlite import open_store


async def main(path: str, name: str, lease_for: int) -> None:
    async with open_store(path, clock=now, own=False) as store:
        leases, _ = await store.leases.claim([Offer("m", "up", 1)], worker=name, lease_for=lease_for)
        print("claimed", *(lease.fence.number for lease in leases), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for lease in leases:
            lost = await store.leases.finish([Finish(lease.fence, Succeeded(Reply(f'"{name}"'.encode())), name)])
            print("refused" if lost else "written", flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

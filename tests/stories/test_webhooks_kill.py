"""G6: whatever dies between an end and its delivery, every end is told of, and what is told twice says so.

`python -m tests.stories.test_webhooks_kill` kills a server a hundred times.
"""

import asyncio
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import aiohttp
import pytest

from tests.receivers import TAKEN, Delivered, Receiver, never
from tests.server import a_chat
from tests.stories.processes import Process, Server, an_upstream, free_port

AT_ONCE = 4
"""Requests that are handed in before each kill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of it."""

    kills: int
    ends: int
    deliveries: int
    """POSTs that the receiver saw, answered or not."""
    untold: list[str]
    """Requests of whose end nobody ever heard."""
    several_ids: list[str]
    """Requests of whose end was told under more than one id."""

    @property
    def repeated(self) -> int:
        return self.deliveries - self.ends

    def __str__(self) -> str:
        return (
            f"{self.kills} kills, {self.ends} ends: {len(self.untold)} untold, {len(self.several_ids)} told under more "
            f"than one webhook-id; {self.deliveries} deliveries, {self.repeated} of them repetitions of an id"
        )


@pytest.mark.slow("kills and restarts a server three times")
async def test_every_end_is_told_of_across_kills_between_end_and_delivery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """G6, G3."""
    told = await kill_between(tmp_path, kills=3)
    with capsys.disabled():
        print(f"\n{told}")
    assert told.untold == []
    assert told.several_ids == []
    # A kill can only repeat what was under way.
    assert told.repeated <= told.kills * AT_ONCE


async def kill_between(folder: Path, *, kills: int) -> Told:
    """Kill the server again and again: while its receiver has been called and has not answered, as the first of some
    deliveries has been answered, and as soon as an end can be seen."""
    (folder / "raincheck.toml").write_text('[webhooks]\nallow = ["127.0.0.1"]\n', encoding="utf-8")
    accepted, armed = set[str](), list[Process]()

    def strike(_: Delivered) -> None:
        if armed:
            armed.pop().process.kill()

    async with an_upstream(folder) as upstream, Receiver() as receiver, aiohttp.ClientSession() as http:
        receiver.watch(strike)
        server = Server(folder, upstream, free_port())
        for moment in islice(cycle(("called", "answered", "ended")), kills):
            receiver.always("/hook", never if moment == "called" else TAKEN)
            process = await server.start()
            before = len(receiver.received)
            if moment != "ended":
                armed.append(process)
            submits = (_defer(http, server, receiver.at()) for _ in range(AT_ONCE))
            ids = [id_ for id_ in await asyncio.gather(*submits) if id_ is not None]
            accepted.update(ids)
            if moment == "ended":
                await _ended(http, server, ids[0])
                await process.kill()
            else:
                await receiver.wait(before + 1)
                await process.process.wait()
        receiver.always("/hook", TAKEN)
        process = await server.start()
        await receiver.wait(where=lambda _: accepted <= {each.data["id"] for each in receiver.received}, timeout=60)
        assert await process.terminate() == 0
    return _counted(kills, accepted, receiver.received)


async def _defer(http: aiohttp.ClientSession, server: Server, hook: str) -> str | None:
    """The id of a new request; None when the server died over it."""
    body = a_chat(deferred=True, raincheck={"webhook_url": hook})
    try:
        async with http.post(f"{server.base_url}/chat/completions", json=body) as reply:
            assert reply.status == 200, await reply.text()
            return (await reply.json())["id"]
    except aiohttp.ClientError:
        return None


async def _ended(http: aiohttp.ClientSession, server: Server, id_: str) -> None:
    async with http.get(f"{server.base_url}/requests/{id_}?wait=20") as reply:
        assert (await reply.json())["status"] == "completed"


def _counted(kills: int, accepted: set[str], received: Sequence[Delivered]) -> Told:
    ids = defaultdict[str, set[str]](set)
    for each in received:
        ids[each.data["id"]].add(each.id)
        assert each.json["id"] == each.id
    return Told(
        kills=kills,
        ends=len(ids),
        deliveries=len(received),
        untold=sorted(accepted - ids.keys()),
        several_ids=[id_ for id_, its in ids.items() if len(its) > 1],
    )


async def main(kills: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        print(await kill_between(Path(folder), kills=kills))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100))

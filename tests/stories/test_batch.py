"""Batches through the real server: kills lose no line and repeat none; what is cancelled or expires adds up.

`python -m tests.stories.test_batch` runs the long form: 10,000 lines.
"""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import msgspec
import pytest

from raincheck.core.batches import BatchDialect, Body, NewBatch
from raincheck.core.clock import SECOND, now
from raincheck.core.ids import new_id
from raincheck.core.model import LOCAL_TENANT
from tests.scripted import silence, text
from tests.server import running_server
from tests.stories.processes import STARTED, Process, Server, an_upstream, free_port

LINES, KILLS = 1_000, 5
LONG = 10_000
PLACES = 32
"""How many calls the server makes at once, unless it is told otherwise."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """What one run came to."""

    output: list[Json]
    errors: list[Json]
    seen: Counter[str]
    """Calls at the upstream by what was asked."""
    batch: Json

    def names(self) -> list[str]:
        return [line["custom_id"] for line in self.output]


@pytest.mark.slow("kills and restarts a server five times")
async def test_kills_lose_no_line_and_repeat_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """G1, G4 for batches: lines in are lines out, each once, in order."""
    told = await killed(tmp_path, LINES, KILLS)
    with capsys.disabled():
        print("\n" + check(told, LINES, KILLS))


@pytest.mark.slow("starts a server and a slow upstream")
async def test_a_batch_that_is_cancelled_at_half_adds_up(tmp_path: Path) -> None:
    async with a_desk(tmp_path, delay=0.02) as desk:
        batch = await desk.create(LINES)
        await desk.until(batch, lambda told: told["request_counts"]["completed"] >= LINES // 2)
        cancelling = await desk.post(f"/batches/{batch}/cancel")
        assert cancelling["status"] in ("cancelling", "cancelled")
        told = await desk.told(batch)
    adds_up(told, "cancelled")


@pytest.mark.slow("waits for a window to close")
async def test_a_batch_that_expires_at_half_adds_up(tmp_path: Path) -> None:
    async with running_server(tmp_path, places=PLACES, blobs_url=(tmp_path / "blobs").as_uri()) as server:
        server.upstream.script(*[text()] * (LINES // 2))
        server.upstream.always(silence())
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", jsonl(LINES), filename="in.jsonl")
        async with server.session.post(f"{server.base_url}/files", data=form) as reply:
            file = await server.edge.store.files.get(LOCAL_TENANT, (await reply.json())["id"])
        # Nobody may ask for a window as short as this.
        batch = NewBatch(
            id=new_id("batch"),
            tenant=LOCAL_TENANT,
            dialect=BatchDialect.OPENAI,
            created_at=now(),
            expires_at=now() + 4 * SECOND,
            completion_window="4s",
            endpoint="/v1/chat/completions",
            input_file_id=file.id,
            body=Body(size=file.size, digest=file.digest, blob=file.blob),
        )
        await server.edge.store.batches.create(batch)
        async with asyncio.timeout(30):
            while (told := (await server.get(f"/v1/batches/{batch.id}")).json)["status"] != "expired":
                await asyncio.sleep(0.05)
        output, errors = [
            (await server.get(f"/v1/files/{told[member]}/content")).body.splitlines()
            for member in ("output_file_id", "error_file_id")
        ]
    assert len(output) <= LINES // 2
    decode = msgspec.json.decode
    adds_up(Told([*map(decode, output)], [*map(decode, errors)], Counter(), told), "expired")


def adds_up(told: Told, status: str) -> None:
    """Lines in are lines out, and the counts say the same."""
    assert told.batch["status"] == status
    assert told.output
    assert told.errors
    assert sorted([*told.names(), *(line["custom_id"] for line in told.errors)]) == sorted(map(name, range(LINES)))
    assert {line["error"]["code"] for line in told.errors} == {f"batch_{status}"}
    counts = told.batch["request_counts"]
    assert (counts["total"], counts["completed"]) == (LINES, len(told.output))
    assert counts[status] == len(told.errors)


async def killed(folder: Path, lines: int, kills: int) -> Told:
    """What a batch comes to while the server is killed so many times, evenly spread over the work."""
    async with a_desk(folder, delay=0.0) as desk:
        batch = await desk.create(lines)
        for kill in range(1, kills + 1):
            share = kill * lines // (kills + 1)
            await desk.until(batch, lambda told, share=share: told["request_counts"]["completed"] >= share)
            await desk.restart()
        return await desk.told(batch, within=300)


def check(told: Told, lines: int, kills: int) -> str:
    """That nothing is missing, double or out of order; what there is to tell."""
    assert told.batch["status"] == "completed"
    assert told.errors == []
    assert told.names() == [name(number) for number in range(lines)]
    assert set(told.seen) == {f"question {number}" for number in range(lines)}
    repeated = sum(told.seen.values()) - lines
    # Only what was running when the process died is asked again.
    assert repeated <= kills * PLACES
    return (
        f"{lines} lines, {kills} kills: {len(told.output)} lines out, {len(set(told.names()))} different, in order; "
        f"{sum(told.seen.values())} calls at the upstream ({repeated} repeated)"
    )


def name(number: int) -> str:
    return f"line-{number}"


def jsonl(lines: int) -> bytes:
    """A batch file that asks so many questions."""
    return b"\n".join(
        msgspec.json.encode(
            {
                "custom_id": name(number),
                "method": "POST",
                "url": "/v1/chat/completions",
                "body": {"model": "m", "messages": [{"role": "user", "content": f"question {number}"}]},
            }
        )
        for number in range(lines)
    )


@dataclass
class Desk:
    """A server that may be killed, and a client that stands that."""

    server: Server
    process: Process
    http: aiohttp.ClientSession
    upstream: str

    async def create(self, lines: int) -> str:
        """The id of a new batch of so many lines."""
        form = aiohttp.FormData()
        form.add_field("purpose", "batch")
        form.add_field("file", jsonl(lines), filename="in.jsonl", content_type="application/jsonl")
        async with self.http.post(f"{self.server.base_url}/files", data=form) as reply:
            file = await reply.json()
        asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return (await self.post("/batches", asked))["id"]

    async def post(self, path: str, body: Json | None = None) -> Json:
        async with self.http.post(self.server.base_url + path, json=body or {}) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def get(self, path: str) -> bytes:
        async with self.http.get(self.server.base_url + path) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.read()

    async def until(self, batch: str, there: Callable[[Json], bool], *, within: float = 60) -> Json:
        """The batch, once it is there."""
        async with asyncio.timeout(within):
            while not there(told := msgspec.json.decode(await self.get(f"/batches/{batch}"))):
                assert told["status"] != "failed", told
                await asyncio.sleep(0.02)
        return told

    async def told(self, batch: str, *, within: float = 60) -> Told:
        """The batch's files, once it has ended."""
        ends = ("completed", "cancelled", "expired")
        ended = await self.until(batch, lambda told: told["status"] in ends, within=within)
        async with self.http.get(self.upstream.removesuffix("/v1") + "/__log") as reply:
            seen = Counter[str]((await reply.json())["by_content"])
        return Told(await self._lines(ended["output_file_id"]), await self._lines(ended["error_file_id"]), seen, ended)

    async def restart(self) -> None:
        await self.process.kill()
        self.process = await self.server.start()

    async def _lines(self, file: str | None) -> list[Json]:
        if file is None:
            return []
        return [msgspec.json.decode(line) for line in (await self.get(f"/files/{file}/content")).splitlines()]


@asynccontextmanager
async def a_desk(folder: Path, *, delay: float) -> AsyncGenerator[Desk]:
    async with an_upstream(folder, delay=delay) as upstream, aiohttp.ClientSession() as http:
        server = Server(folder, upstream, free_port())
        desk = Desk(server, await server.start(), http, upstream)
        yield desk
        await desk.process.terminate()


async def main() -> None:
    with TemporaryDirectory() as folder:
        try:
            print(check(await killed(Path(folder), LONG, KILLS), LONG, KILLS))
        finally:
            for each in STARTED:
                await each.kill()


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))

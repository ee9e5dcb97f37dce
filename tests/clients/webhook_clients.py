"""Receivers of webhooks in another language: the Standard Webhooks library from npm, unmodified, on real deliveries.

Part of `python -m tests.clients`. Where there is no npm it says so, checks nothing and leaves the results as they are.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from raincheck import AsyncRaincheck
from tests.clients import desk as desks
from tests.clients.trying import Outcome
from tests.receivers import Delivered, Receiver
from tests.stories.processes import HOUSE, free_port

CLIENT, VERSION = "standardwebhooks (npm)", "1.1.1"
VERIFY = Path(__file__).with_name("verify.mjs")
RECIPE = HOUSE / "examples" / "webhooks" / "receive_node.mjs"
ROWS = 50


@dataclass(frozen=True)
class Desk:
    """A server to talk to, a receiver that it may call, and a folder with the library in it."""

    client: AsyncRaincheck
    receiver: Receiver
    folder: Path

    async def defer(self, count: int, **options: Any) -> set[str]:
        """Ids of so many requests."""
        ask = self.client.chat.completions.defer
        asked = (ask(model="m", messages=[{"role": "user", "content": "Hi"}], **options) for _ in range(count))
        return {ticket.id for ticket in await asyncio.gather(*asked)}

    async def verified(self, given: Sequence[tuple[Delivered, str]]) -> list[bool | str]:
        """What the library says of each delivery with a secret: True, or what is wrong."""
        lines = [{"body": each.body.decode(), "headers": each.headers, "secret": secret} for each, secret in given]
        process = await asyncio.create_subprocess_exec(
            "node", VERIFY.name, cwd=self.folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await process.communicate(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))
        assert process.returncode == 0, process.returncode
        return [msgspec.json.decode(line, type=bool | str) for line in said.splitlines()]


async def npm_verifies_what_a_webhook_url_gets(desk: Desk) -> None:
    """And refuses another body, another id, another secret and a time long ago."""
    secret = (await desk.client.webhooks.secret()).signing_secret
    await desk.defer(ROWS, webhook_url=desk.receiver.at("/url"))
    came = await desk.receiver.wait(ROWS, path="/url")
    said = await desk.verified([(each, secret) for each in came])
    assert said == [True] * ROWS, said

    one = came[0]
    another = "whsec_" + "A" * 32
    wrong = [
        (changed(one, one.body.replace(b"completed", b"cancelled")), secret),
        (changed(one, webhook_id="evt_another"), secret),
        (changed(one, webhook_timestamp=str(int(one.headers["webhook-timestamp"]) - 301)), secret),
        (changed(one, webhook_signature="v1,"), secret),
        (one, another),
    ]
    refused = await desk.verified(wrong)
    assert all(isinstance(each, str) for each in refused), refused


async def npm_verifies_through_a_rotation(desk: Desk) -> None:
    """With the old secret and with the new one while both are in force; without the old one afterwards."""
    endpoint = await desk.client.webhooks.endpoints.create(desk.receiver.at("/endpoint"), event_types=["*"], name="npm")
    try:
        old, new = endpoint.signing_secret, await rotated(desk, endpoint.id, keep=True)
        await desk.defer(ROWS)
        both = await desk.receiver.wait(ROWS, path="/endpoint")
        newest = await rotated(desk, endpoint.id, keep=False)
        await desk.defer(ROWS)
        after = (await desk.receiver.wait(2 * ROWS, path="/endpoint"))[ROWS:]
    finally:
        await desk.client.webhooks.endpoints.delete(endpoint.id)
    assert old is not None
    good = [(each, secret) for each in both for secret in (old, new)] + [(each, newest) for each in after]
    said = await desk.verified(good)
    assert said == [True] * len(good), said
    late = await desk.verified([(each, new) for each in after])
    assert all(isinstance(each, str) for each in late), late


async def the_recipe_for_node_receives(desk: Desk) -> None:
    """examples/webhooks/receive_node.mjs as a process: each event once, although one comes twice."""
    secret = (await desk.client.webhooks.secret()).signing_secret
    port = free_port()
    async with a_recipe(desk.folder, secret, port) as output:
        url = f"http://127.0.0.1:{port}/webhook"
        first = await desk.defer(3, webhook_url=url)
        told = [(await output.readline()).decode().split() for _ in first]
        delivery = await delivered(desk, min(first), 1)
        await desk.client.webhooks.deliveries.redeliver(delivery)
        await delivered(desk, min(first), 2)
        last = await desk.defer(1, webhook_url=url)
        told.append((await output.readline()).decode().split())
    assert {id_ for _, id_, _ in told} == first | last, told
    assert all((kind, status) == ("chat.completion.completed", "completed") for kind, _, status in told), told


CHECKS: dict[str, Callable[[Desk], Awaitable[None]]] = {
    "new Webhook(secret).verify": npm_verifies_what_a_webhook_url_gets,
    "new Webhook(secret).verify through a rotation": npm_verifies_through_a_rotation,
    "our recipe for Node": the_recipe_for_node_receives,
}


async def tried(server: desks.Desk) -> list[Outcome]:
    """What came of each check, against a server that may call this machine."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        print(f"{CLIENT:36} left out: there is no npm here; with Node 18 or later it would be tried too")
        return []
    library = f"standardwebhooks@{VERSION}"
    npm = await asyncio.create_subprocess_exec(
        "npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", server.folder, library
    )
    assert await npm.wait() == 0, f"npm install {library}"
    for each in (VERIFY, RECIPE):
        shutil.copy(each, server.folder)
    outcomes: list[Outcome] = []
    async with AsyncRaincheck(base_url=f"{server.url}/v1", api_key=server.key) as client, Receiver() as receiver:
        for call, check in CHECKS.items():
            try:
                await check(Desk(client, receiver, server.folder))
                outcomes.append(Outcome(CLIENT, VERSION, call, works=True))
            except Exception as error:  # noqa: BLE001 - every check gets its turn
                told = f"{type(error).__name__}: {error}"
                outcomes.append(Outcome(CLIENT, VERSION, call, works=False, error=told))
    return outcomes


def changed(delivered: Delivered, body: bytes | None = None, **headers: str) -> Delivered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    given = delivered.body if body is None else body
    return Delivered(delivered.path, delivered.headers | named, given, delivered.at, delivered.connection)


async def rotated(desk: Desk, endpoint_id: str, *, keep: bool) -> str:
    rotate = desk.client.webhooks.endpoints.rotate_secret
    secret = (await rotate(endpoint_id, keep_old_secret_active_for_24_hours=keep)).signing_secret
    assert secret is not None
    return secret


async def delivered(desk: Desk, object_id: str, times: int) -> str:
    """The id of the one delivery about this, once it was tried so often."""
    log = desk.client.webhooks.deliveries
    async with asyncio.timeout(30):
        while True:
            [delivery] = (await log.list(object_id=object_id)).data
            if len((await log.retrieve(delivery.id)).attempts or []) >= times:
                return delivery.id
            await asyncio.sleep(0.05)


@asynccontextmanager
async def a_recipe(folder: Path, secret: str, port: int) -> AsyncGenerator[asyncio.StreamReader]:
    """What it prints, once it listens."""
    process = await asyncio.create_subprocess_exec(
        "node",
        RECIPE.name,
        cwd=folder,
        env={**os.environ, "RAINCHECK_WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            while not await listens(port):
                await asyncio.sleep(0.05)
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True

"""Every example runs as a user would run it, against a real server with the embedded upstreams behind it."""

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook

from raincheck import AsyncRaincheck
from raincheck.core.clock import now
from tests.stories.processes import HOUSE, Server, free_port

# Handlers are no clients: they are served, in tests/upstream/test_python.py and tests/dispatch/test_handlers.py.
CLIENTS = sorted(path.name for path in (HOUSE / "examples").glob("*.py") if not path.stem.endswith("handler"))

pytestmark = [
    pytest.mark.model,
    pytest.mark.xdist_group("model"),
    pytest.mark.slow("runs the embedded model"),
    pytest.mark.asyncio(loop_scope="module"),
]


BATCHES = sorted(path.name for path in (HOUSE / "examples" / "batches").glob("*.py"))
VIDEOS = sorted(path.name for path in (HOUSE / "examples" / "videos").glob("*.py") if path.stem != "webhook")
# The one for Node is run by tests/clients, since not everybody has Node.
RECEIVERS = sorted(path.name for path in (HOUSE / "examples" / "webhooks").glob("*.py"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[Server]:
    """With what the examples ask for: the embedded model, and the renderer under the name that the guide uses."""
    config = ("--config", str(HOUSE / "examples" / "raincheck.toml"))
    server = Server(tmp_path_factory.mktemp("examples"), None, free_port(), config)
    process = await server.start()
    yield server
    await process.terminate()


@pytest.mark.parametrize("example", CLIENTS)
async def test_the_example_runs(server: Server, example: str) -> None:
    assert (await run(server, HOUSE / "examples" / example)).strip()


@pytest.mark.parametrize("example", VIDEOS)
async def test_the_example_with_videos_runs(server: Server, example: str) -> None:
    assert (await run(server, HOUSE / "examples" / "videos" / example)).strip()


@pytest.mark.slow("a few questions to the embedded model each")
@pytest.mark.parametrize("example", BATCHES)
async def test_the_example_with_batches_runs(server: Server, example: str) -> None:
    assert (await run(server, HOUSE / "examples" / "batches" / example)).strip()


async def test_the_example_with_a_webhook_is_told_of_its_video(server: Server) -> None:
    """The seed's block, with a receiver that is really called."""
    submitted, told = (await run(server, HOUSE / "examples" / "videos" / "webhook.py")).splitlines()
    assert told == f"video.generation.completed {submitted.split()[0]} completed"


@pytest.mark.parametrize("example", RECEIVERS)
async def test_the_example_receives_webhooks(server: Server, example: str) -> None:
    """It verifies real deliveries, takes each event once however often it comes, and refuses what nobody signed."""
    async with AsyncRaincheck(base_url=server.base_url) as client, receiving(client, example) as receiver:
        first = await an_end(client, receiver.url)
        assert await receiver.line() == f"chat.completion.completed {first} completed"

        [delivery] = (await client.webhooks.deliveries.list(object_id=first)).data
        await tried(client, delivery.id, 1)
        await client.webhooks.deliveries.redeliver(delivery.id)
        assert await tried(client, delivery.id, 2) == [204, 204]
        assert await receiver.forged() == 400

        second = await an_end(client, receiver.url)
        assert await receiver.line() == f"chat.completion.completed {second} completed"


@dataclass(frozen=True)
class Receiving:
    """A receiver of the examples as a process."""

    url: str
    output: asyncio.StreamReader

    async def line(self) -> str:
        """The next event that it prints; Django also says where it listens."""
        async with asyncio.timeout(60):
            while line := await self.output.readline():
                if line.startswith(b"chat.completion."):
                    return line.decode().strip()
        raise AssertionError("the receiver has ended")

    async def forged(self) -> int:
        """What it answers to a delivery that somebody else has signed."""
        secret = Webhook("whsec_" + b64encode(b"somebody else's own key.").decode())
        body, moment = (
            '{"type": "chat.completion.completed", "data": {"id": "x", "status": "x"}}',
            datetime.fromtimestamp(now() / 1e6, UTC),
        )
        signed = {
            "webhook-id": "evt_forged",
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": secret.sign("evt_forged", moment, body),
        }
        async with aiohttp.ClientSession() as session, session.post(self.url, data=body, headers=signed) as answer:
            return answer.status


@asynccontextmanager
async def receiving(client: AsyncRaincheck, example: str) -> AsyncGenerator[Receiving]:
    """One of the receivers, once it listens."""
    port = free_port()
    secret = (await client.webhooks.secret()).signing_secret
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        HOUSE / "examples" / "webhooks" / example,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "RAINCHECK_WEBHOOK_SECRET": secret, "PORT": str(port), "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        await listening(port)
        yield Receiving(f"http://127.0.0.1:{port}/webhook", process.stdout)
    finally:
        process.kill()
        await process.wait()


async def listening(port: int) -> None:
    """Until somebody listens there."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def an_end(client: AsyncRaincheck, webhook_url: str) -> str:
    """The id of a short request that this URL is told of."""
    ticket = await client.chat.completions.defer(
        model="smollm2-135m",
        messages=[{"role": "user", "content": "Say yes."}],
        max_tokens=4,
        webhook_url=webhook_url,
    )
    return ticket.id


async def tried(client: AsyncRaincheck, delivery_id: str, times: int) -> list[int | None]:
    """What a delivery was answered, once it was tried so often."""
    async with asyncio.timeout(30):
        while len(attempts := (await client.webhooks.deliveries.retrieve(delivery_id)).attempts or []) < times:
            await asyncio.sleep(0.05)
    return [each.status_code for each in attempts]


async def run(server: Server, example: Path) -> str:
    """What it prints; it must end well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        example,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "RAINCHECK_BASE_URL": server.base_url},
        cwd=Path(server.folder),
    )
    async with asyncio.timeout(120):
        stdout, stderr = await process.communicate()
    assert process.returncode == 0, stderr.decode()
    return stdout.decode()

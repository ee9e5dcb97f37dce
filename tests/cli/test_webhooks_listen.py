"""`raincheck webhooks listen`: what arrives is shown, what is not genuine is told apart, an app behind it answers."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.cli.desk import Ended, run_at
from tests.receivers import Receiver, status
from tests.scripted import error
from tests.server import Running, running_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path, webhook_hosts=("127.0.0.1",)) as running:
        yield running


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@asynccontextmanager
async def listening(server: Running, *options: str) -> AsyncGenerator["asyncio.Task[Ended]"]:
    """The command, from when the server knows of it; the end waits for its end."""
    task = asyncio.create_task(run_at(server, "webhooks", "listen", *options))
    while not task.done() and not (await server.get("/v1/webhook_endpoints")).json["data"]:
        await asyncio.sleep(0.01)
    yield task
    await task


async def test_each_genuine_delivery_is_a_line_with_the_reason_of_a_failure(server: Running):
    server.upstream.script(error(400, "too long"))
    async with listening(server, "--port", "0", "--count", "2") as task:
        failed = await server.defer()
        await server.ended(failed)
        done = await server.defer()
    ended = task.result()
    lines = {line.split("  ")[2]: line.split("  ") for line in ended.lines}
    assert (lines[failed][1], lines[done][1:]) == ("chat.completion.failed", ["chat.completion.completed", done])
    assert "too long" in lines[failed][3]
    assert "for every end" in ended.stderr
    assert (await server.get("/v1/webhook_endpoints")).json["data"] == []


async def test_with_json_a_line_is_the_event_as_it_came(server: Running):
    options = ["--port", "0", "--count", "1", "--events", "chat.completion.completed", "--include-result", "--json"]
    async with listening(server, *options) as task:
        request = await server.defer()
    [line] = task.result().lines
    event = json.loads(line)
    assert (event["type"], event["data"]["id"]) == ("chat.completion.completed", request)
    assert event["data"]["result"]["object"] == "chat.completion"


async def test_what_it_passes_on_is_unchanged_and_the_answer_is_the_apps(server: Running):
    async with Receiver() as app:
        app.script("/hook", status(410, b"not mine"))
        async with listening(server, "--port", "0", "--count", "1", "--forward-to", app.at("/hook")) as task:
            request = await server.defer()
        [line] = task.result().lines
        assert line.endswith("→ 410")
        [came] = app.received
        assert (came.data["id"], came.headers["webhook-id"]) == (request, came.json["id"])
        assert came.headers["webhook-signature"].startswith("v1,")
    attempts = (await run_at(server, "webhooks", "deliveries", "--object", request, "--json")).json
    assert attempts == []  # Its endpoint is gone, and with it what was to be sent there.


async def test_an_app_that_does_not_answer_is_a_502_for_the_server(server: Running):
    dead = f"http://127.0.0.1:{free_port()}/"
    async with listening(server, "--port", "0", "--count", "1", "--forward-to", dead) as task:
        await server.defer()
    assert task.result().lines[0].endswith("→ 502")


async def test_without_registering_it_hears_what_names_it_and_refuses_what_is_not_signed(server: Running):
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    task = asyncio.create_task(
        run_at(server, "webhooks", "listen", "--no-register", "--port", str(port), "--count", "1")
    )
    while not task.done():
        try:
            async with server.session.post(url, data=b"{}", headers={"webhook-id": "evt_x"}) as forged:
                assert forged.status == 400
                break
        except OSError:
            await asyncio.sleep(0.01)
    request = await server.defer(raincheck={"webhook_url": url})
    refused, told = (await task).lines
    assert ("refused  evt_x" in refused, request in told) == (True, True)


async def test_a_server_that_may_not_call_this_machine_says_how_it_may(tmp_path: Path):
    async with running_server(tmp_path) as server:
        ended = await run_at(server, "webhooks", "listen", "--port", "0")
    assert (ended.code, "RAINCHECK_WEBHOOKS_ALLOW=127.0.0.1" in ended.stderr) == (1, True)
    assert "Error code" not in ended.stderr


async def test_a_port_that_is_taken_is_told_in_a_line(server: Running):
    ended = await run_at(server, "webhooks", "listen", "--port", str(server.port))
    assert (ended.code, f"cannot listen on 127.0.0.1:{server.port}" in ended.stderr) == (1, True)


async def test_a_line_tells_what_a_message_says_and_does_not_do_it(server: Running):
    async with listening(server, "--port", "0", "--count", "1", "--events", "chat.completion.failed") as task:
        server.upstream.script(error(400, "too long\x1b[2J\nfor me"))
        await server.defer()
    [line] = task.result().lines
    assert "too long\\u001b[2J\\u000afor me" in line


@pytest.mark.slow("starts an interpreter")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_and_takes_its_endpoint_away(server: Running, how: signal.Signals):
    command = [sys.executable, "-m", "raincheck.cli.main", "webhooks", "listen", "--port", "0"]
    process = await asyncio.create_subprocess_exec(
        *command, "--base-url", server.url, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    assert b"listening at" in await process.stderr.readline()
    process.send_signal(how)
    _, told = await process.communicate()
    assert (process.returncode, told) == (0, b"stopped\n")
    assert (await server.get("/v1/webhook_endpoints")).json["data"] == []


async def test_what_one_that_was_killed_left_behind_is_taken_over(server: Running):
    port = free_port()
    left = {"name": "raincheck webhooks listen", "url": f"http://127.0.0.1:{port}/", "event_types": ["*"]}
    old = (await server.post("/v1/webhook_endpoints", left)).json["id"]
    task = asyncio.create_task(run_at(server, "webhooks", "listen", "--port", str(port), "--count", "1"))
    while [each["id"] for each in (await server.get("/v1/webhook_endpoints")).json["data"]] in ([old], []):
        await asyncio.sleep(0.01)
    await server.defer()
    assert len((await task).lines) == 1
    assert (await server.get("/v1/webhook_endpoints")).json["data"] == []

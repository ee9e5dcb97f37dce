"""`raincheck webhooks`: endpoints and secrets from the command line, against a real server and a real receiver."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.cli.desk import run_at, show_at
from tests.receivers import Receiver, status
from tests.server import Running, running_server

LOCAL = ("127.0.0.1",)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path, webhook_hosts=LOCAL) as running:
        yield running


async def made(server: Running, url: str, *options: str) -> tuple[str, str]:
    """The id and the secret of a new endpoint."""
    told = (await run_at(server, "webhooks", "create", url, *options, "--json")).json
    return told["id"], told["signing_secret"]


async def test_create_prints_the_secret_alone_on_stdout_and_its_use_on_stderr(server: Running):
    ended = await run_at(server, "webhooks", "create", "https://example.com/hook", "--name", "billing")
    [secret] = ended.lines
    assert (ended.code, secret[:6]) == (0, "whsec_")
    assert f"export RAINCHECK_WEBHOOK_SECRET={secret}" in ended.stderr
    assert "is told of every end" in ended.stderr
    [row] = (await run_at(server, "webhooks", "list")).lines
    assert row.split("\t")[1:] == ["billing", "https://example.com/hook", "*", "enabled"]


@pytest.mark.slow("seven commands")
async def test_an_endpoint_is_changed_disabled_enabled_and_deleted(server: Running):
    endpoint, _ = await made(server, "https://example.com/hook", "--events", "video.completed,video.failed")
    shown = (await run_at(server, "webhooks", "show", endpoint)).stdout
    assert "events      video.completed, video.failed\n" in shown
    changes = ["--url", "https://example.com/new", "--events", "batch.failed", "--events", "*", "--include-result"]
    changed = (await run_at(server, "webhooks", "update", endpoint, *changes, "--json")).json
    assert (changed["url"], changed["event_types"]) == ("https://example.com/new", ["batch.failed", "*"])
    assert changed["raincheck"]["include_result"] is True
    assert "disabled since" in (await run_at(server, "webhooks", "disable", endpoint)).stdout
    assert "state       enabled\n" in (await run_at(server, "webhooks", "enable", endpoint)).stdout
    deleted = await run_at(server, "webhooks", "delete", endpoint)
    assert (deleted.code, deleted.stdout) == (0, f"deleted {endpoint}\n")
    gone = await run_at(server, "webhooks", "show", endpoint)
    assert gone.code == 3


async def test_an_update_of_nothing_and_a_private_url_are_refused_with_the_reason(server: Running):
    endpoint, _ = await made(server, "https://example.com/hook")
    nothing = await run_at(server, "webhooks", "update", endpoint)
    assert (nothing.code, "give at least one of" in nothing.stderr) == (2, True)
    private = await run_at(server, "webhooks", "create", "https://10.0.0.1/hook")
    assert (private.code, "webhooks.allow" in private.stderr) == (1, True)
    unknown = await run_at(server, "webhooks", "create", "https://example.com/", "--events", "video.complete")
    assert (unknown.code, "video.completed" in unknown.stderr) == (1, True)
    assert "`raincheck webhooks events`" in unknown.stderr


@pytest.mark.slow("four commands")
@pytest.mark.parametrize("empty", ["", " , "])
async def test_no_type_at_all_is_refused_rather_than_taken_for_every_end(server: Running, empty: str):
    for command in (["create", "https://example.com/hook"], ["update", "we_1"], ["listen", "--port", "0"]):
        ended = await run_at(server, "webhooks", *command, "--events", empty)
        assert (ended.code, "--events: names nothing" in ended.stderr) == (2, True)
    ended = await run_at(server, "submit", "Hi", "--webhook-url", "https://example.com/", "--webhook-events", empty)
    assert (ended.code, "--webhook-events: names nothing" in ended.stderr) == (2, True)
    assert (await server.get("/v1/webhook_endpoints")).json["data"] == []


@pytest.mark.slow("starts an interpreter")
@pytest.mark.parametrize("columns", [80, 120])
async def test_in_a_terminal_the_list_has_whole_ids(server: Running, columns: int):
    url = "https://example.com/hook/" + "long/" * 20
    types = ["batch.failed", "video.failed", "video.completed"]
    body = {"name": "billing", "url": url, "event_types": types}
    endpoint = (await server.post("/v1/webhook_endpoints", body)).json["id"]
    head, *below = await show_at(server, "webhooks", "list", columns=columns)
    assert head == f"{endpoint}  billing"
    assert "".join(line.strip() for line in below).startswith("enabled, batch.failed and 2 more to")
    assert (len(below) <= 3, max(map(len, below)) <= columns) == (True, True)


@pytest.mark.slow("eight commands")
async def test_rotation_makes_a_new_secret_and_says_how_long_the_old_one_signs(server: Running):
    endpoint, old = await made(server, "https://example.com/hook")
    rotated = await run_at(server, "webhooks", "rotate", endpoint)
    assert rotated.lines[0] not in (old, "")
    assert "for 24 hours" in rotated.stderr
    assert "signs no more" in (await run_at(server, "webhooks", "rotate", endpoint, "--now")).stderr
    first = (await run_at(server, "webhooks", "secret")).lines
    assert (await run_at(server, "webhooks", "secret")).lines == first
    second = (await run_at(server, "webhooks", "rotate", "--urls")).lines
    told = await run_at(server, "webhooks", "secret")
    assert (told.lines, first != second) == (second, True)
    assert "signs too, until" in told.stderr
    both = await run_at(server, "webhooks", "rotate", endpoint, "--urls")
    neither = await run_at(server, "webhooks", "rotate")
    assert (both.code, neither.code) == (2, 2)


async def test_an_endpoint_for_ed25519_shows_the_public_key(server: Running):
    ended = await run_at(server, "webhooks", "create", "https://example.com/hook", "--signature", "v1a")
    assert ended.lines[0].startswith("whpk_")
    assert "public key" in ended.stderr


async def test_a_test_event_is_verified_by_its_receiver_and_its_answer_told(server: Running):
    async with Receiver() as receiver:
        endpoint, secret = await made(server, receiver.at("/hook"), "--events", "batch.failed")
        good = await run_at(server, "webhooks", "test", endpoint)
        assert (good.code, good.stdout) == (0, f"{endpoint} answered 204 to a made-up batch.failed\n")
        [came] = receiver.received
        assert Webhook(secret).verify(came.body, came.headers)["type"] == "batch.failed"
        receiver.script("/hook", status(500, b"boom"))
        bad = await run_at(server, "webhooks", "test", endpoint, "--event", "video.completed")
        assert (bad.code, bad.stdout) == (1, f"{endpoint} answered 500 to a made-up video.completed\n")
        newest = (await server.get("/v1/webhook_deliveries")).json["data"][0]["id"]
        assert bad.stderr == f"It said: boom\nAll of it: raincheck webhooks delivery {newest}\n"
        url = receiver.at("/hook")
    nobody = await run_at(server, "webhooks", "test", endpoint)
    assert (nobody.code, url in nobody.stderr) == (1, True)


async def test_the_types_are_one_on_each_line_in_a_pipe(server: Running):
    ended = await run_at(server, "webhooks", "events")
    assert {"chat.completion.completed", "video.progress", "batch.expired"} <= set(ended.lines)
    assert (await run_at(server, "webhooks", "events", "--json")).json == ended.lines


async def test_an_empty_list_prints_nothing_on_stdout(server: Running):
    ended = await run_at(server, "webhooks", "list")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "no endpoints yet\n")

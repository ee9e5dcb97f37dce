"""`raincheck webhooks deliveries`, `delivery` and `redeliver`: the log, and telling again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.desk import run_at, show_at
from tests.receivers import Receiver, status
from tests.server import Running, running_server


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as one:
        yield one


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Running]:
    async with running_server(tmp_path, webhook_hosts=("127.0.0.1",)) as running:
        yield running


async def gone(server: Running, receiver: Receiver, path: str = "/hook") -> tuple[str, str]:
    """A request that ended, and its delivery, which was given up."""
    receiver.script(path, status(410, b"nobody here"))
    [request] = (await run_at(server, "submit", "Hello?", "--webhook-url", receiver.at(path))).lines
    await receiver.wait(1)
    await server.ended(request)
    while True:
        [found] = (await server.get(f"/v1/webhook_deliveries?object_id={request}")).json["data"]
        if found["status"] == "failed":
            return request, found["id"]
        await asyncio.sleep(0.01)


async def test_the_log_tells_what_failed_and_what_came_back(server: Running, receiver: Receiver):
    request, delivery = await gone(server, receiver)
    [row] = (await run_at(server, "webhooks", "deliveries", "--status", "failed", "--since", "1h")).lines
    cells = row.split("\t")
    assert (cells[0], cells[2], cells[3]) == (delivery, "chat.completion.completed", receiver.at("/hook"))
    assert cells[4].startswith("failed: ")
    told = (await run_at(server, "webhooks", "delivery", delivery)).stdout
    assert f"about       {request}\n" in told
    assert "\nattempt 1   " in told
    assert "nobody here" in told
    assert f"raincheck webhooks redeliver {delivery}" in told
    none = await run_at(server, "webhooks", "deliveries", "--status", "pending")
    assert (none.stdout, none.stderr) == ("", "no deliveries\n")


@pytest.mark.slow("starts an interpreter")
@pytest.mark.parametrize("columns", [80, 120])
async def test_in_a_terminal_a_delivery_takes_two_lines_and_its_id_is_whole(
    server: Running, receiver: Receiver, columns: int
):
    _, delivery = await gone(server, receiver)
    head, below = await show_at(server, "webhooks", "deliveries", columns=columns)
    assert (head.split("  ")[0], head.split("  ")[2]) == (delivery, "chat.completion.completed")
    assert below.startswith(f"    failed to 127.0.0.1:{receiver.port}: ")
    assert max(len(head), len(below)) <= columns


async def test_those_that_are_retried_can_be_listed_alone(server: Running, receiver: Receiver):
    receiver.script("/hook", status(500, retry_after="3600"))
    await gone(server, receiver, "/gone")
    [request] = (await run_at(server, "submit", "Hello?", "--webhook-url", receiver.at("/hook"))).lines
    await server.ended(request)
    while not (found := (await run_at(server, "webhooks", "deliveries", "--status", "retrying")).lines):
        await asyncio.sleep(0.01)
    [row] = found
    assert row.split("\t")[3:] == [receiver.at("/hook"), row.split("\t")[4]]
    assert row.split("\t")[4].startswith("pending, next in ")


async def test_status_tells_how_the_webhook_of_a_request_fares(server: Running, receiver: Receiver):
    request, _ = await gone(server, receiver)
    told = (await run_at(server, "status", request)).stdout
    assert f"webhook     {receiver.at('/hook')}, failed: " in told
    assert f"log         raincheck webhooks deliveries --object {request}\n" in told
    quiet = await server.defer()
    await server.ended(quiet)
    assert "webhook" not in (await run_at(server, "status", quiet)).stdout
    picky = await server.defer(raincheck={"webhook_url": receiver.at(), "webhook_events": ["failed"]})
    await server.ended(picky)
    assert f"webhook     {receiver.at()}, told of nothing so far\n" in (await run_at(server, "status", picky)).stdout


async def test_a_sample_is_told_from_what_really_happened(server: Running, receiver: Receiver):
    told = await run_at(server, "webhooks", "create", receiver.at("/hook"), "--json")
    await run_at(server, "webhooks", "test", told.json["id"])
    [row] = (await run_at(server, "webhooks", "deliveries")).lines
    assert row.endswith("\tdelivered (test)")
    shown = (await run_at(server, "webhooks", "delivery", row.split("\t")[0])).stdout
    assert "state       delivered (test)\n" in shown


@pytest.mark.slow("nine commands")
async def test_no_deliveries_of_what_does_not_exist_is_an_error(server: Running):
    for unknown in (["we_nope"], ["--object", "we_nope"], ["--object", "req_nope"], ["--object", "batch_nope"]):
        for form in ([], ["--json"]):
            ended = await run_at(server, "webhooks", "deliveries", *unknown, *form)
            assert (ended.code, ended.stdout, "nope" in ended.stderr) == (3, "", True)
    request = await server.defer()
    await server.ended(request)
    quiet = await run_at(server, "webhooks", "deliveries", "--object", request)
    assert (quiet.code, "the request has no webhook_url" in quiet.stderr) == (0, True)


async def test_one_delivery_is_sent_again_with_the_same_webhook_id(server: Running, receiver: Receiver):
    _, delivery = await gone(server, receiver)
    ended = await run_at(server, "webhooks", "redeliver", delivery)
    assert (ended.code, ended.stdout) == (0, f"{delivery} goes to {receiver.at('/hook')} again\n")
    first, second = await receiver.wait(2)
    assert first.id == second.id


@pytest.mark.slow("five commands, three deliveries")
async def test_all_that_failed_since_a_time_is_sent_again(server: Running, receiver: Receiver):
    _, delivery = await gone(server, receiver)
    assert (await run_at(server, "webhooks", "redeliver", "--since", "1h")).stdout == "1 goes out again\n"
    await receiver.wait(2)
    while (await server.get(f"/v1/webhook_deliveries/{delivery}")).json["status"] != "delivered":
        await asyncio.sleep(0.01)
    assert (await run_at(server, "webhooks", "redeliver", "--since", "1h")).stdout == "0 go out again\n"
    again = await run_at(server, "webhooks", "redeliver", "--since", "1h", "--delivered-too", "--json")
    assert again.json["count"] == 1
    await receiver.wait(3)


async def test_which_to_send_again_must_be_clear(server: Running):
    neither = await run_at(server, "webhooks", "redeliver")
    both = await run_at(server, "webhooks", "redeliver", "whd_1", "--since", "1h")
    no_time = await run_at(server, "webhooks", "redeliver", "--since", "yesterday")
    unknown = await run_at(server, "webhooks", "redeliver", "whd_1")
    assert [ended.code for ended in (neither, both, no_time, unknown)] == [2, 2, 2, 3]

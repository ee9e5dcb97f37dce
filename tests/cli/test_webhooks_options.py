"""`--webhook-url` and what goes with it, on every command that submits."""

from pathlib import Path

import pytest

from tests.cli.desk import run, run_at
from tests.receivers import Receiver
from tests.server import running_server

URL = "https://example.org/hook"


async def test_a_request_is_told_of_as_the_options_say(tmp_path: Path):
    async with Receiver() as receiver, running_server(tmp_path, webhook_hosts=("127.0.0.1",)) as server:
        options = ["--webhook-url", receiver.at(), "--webhook-events", "processing,completed", "--include-result"]
        record = (await run_at(server, "submit", "Hello?", *options, "--json")).json
        assert (record["webhook_events"], record["include_result"]) == (["processing", "completed"], True)
        came = await receiver.wait(2)
        ends = [each.data for each in came if each.type == "chat.completion.completed"]
        assert ends[0]["result"]["object"] == "chat.completion"


async def test_a_batch_is_told_of_as_the_options_say(tmp_path: Path):
    (tmp_path / "in.txt").write_text("one\ntwo\n")
    async with running_server(tmp_path, blobs_url=(tmp_path / "blobs").as_uri()) as server:
        options = ["--webhook-url", URL, "--webhook-events", "completed", "--webhook-events", "failed", "--detach"]
        ended = await run_at(server, "batch", "run", str(tmp_path / "in.txt"), "--model", "m", *options, "--json")
        assert (ended.code, ended.stderr) == (0, "")
        [batch] = (await server.edge.store.batches.list("default", limit=1)).batches
        assert (batch.webhook_url, batch.webhook_events) == (URL, ("completed", "failed"))


@pytest.mark.parametrize("option", [["--webhook-events", "completed"], ["--include-result"]])
def test_what_says_something_of_a_webhook_needs_one(option: list[str]):
    ended = run("submit", "Hello?", *option)
    assert (ended.code, "give --webhook-url too" in ended.stderr) == (2, True)

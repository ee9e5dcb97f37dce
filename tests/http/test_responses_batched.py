"""Lines of a batch that go on from responses."""

from pathlib import Path

import pytest

from raincheck.intake.batches.feed import CONVERSATION
from tests.http.batches import a_line, batching, created, ended, lines_of
from tests.http.responses import streamed
from tests.server import Json, Running

RESPONSES = "/v1/responses"


def going_on(name: str, previous: str, text: str = "And now?") -> Json:
    return a_line(name, url=RESPONSES, body={"model": "m", "input": text, "previous_response_id": previous})


async def a_first(server: Running, text: str = "My name is Ada.") -> str:
    """The id of a response that is completed."""
    reply = await server.post(RESPONSES, {"model": "m", "input": text, "background": True})
    await server.ended(reply.json["id"])
    return reply.json["id"]


@pytest.mark.slow("runs a whole batch")
async def test_a_line_goes_on_with_the_conversation_before(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        server.upstream.script(streamed("Hello Ada."), streamed("You are Ada."))
        first = await a_first(server)
        batch = await created(server, [going_on("a", first)], endpoint=RESPONSES)
        batch = await ended(server, batch["id"])
        [line] = await lines_of(server, batch["output_file_id"])

    asked = server.upstream.requests[-1].json
    said = [item["content"] if item["role"] == "user" else item["content"][0]["text"] for item in asked["input"]]
    assert said == ["My name is Ada.", "Hello Ada.", "And now?"]
    assert "previous_response_id" not in asked
    assert line["response"]["body"]["previous_response_id"] == first


@pytest.mark.slow("runs a whole batch")
async def test_a_line_that_cannot_go_on_ends_alone(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        server.upstream.script(streamed("Hi."), streamed("x" * CONVERSATION), streamed("Fine."))
        short, long = await a_first(server), await a_first(server)
        lines = [going_on("unknown", "resp_nope"), going_on("long", long), going_on("fine", short)]
        batch = await ended(server, (await created(server, lines, endpoint=RESPONSES))["id"])
        errors = {line["custom_id"]: line["error"]["code"] for line in await lines_of(server, batch["error_file_id"])}
        [line] = await lines_of(server, batch["output_file_id"])

    assert errors == {"unknown": "not_found", "long": "request_too_large"}
    assert line["custom_id"] == "fine"

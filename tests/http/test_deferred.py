"""Collecting: GET …/chat/deferred-completion/{id}, on /v1 and on /xai/v1."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.scripted import error, text
from tests.server import Running, a_chat


class CreateChatCompletionResponse(msgspec.Struct):
    """What a strict client (tryAGI's, in C#) parses every 2xx as: whole numbers are whole, texts are texts."""

    id: str | None = None
    object: str | None = None
    created: int | None = None
    model: str | None = None
    choices: list[dict[str, Any]] | None = None


def strictly(body: bytes) -> CreateChatCompletionResponse:
    return msgspec.json.decode(body, type=CreateChatCompletionResponse, strict=True)


@pytest.mark.parametrize("surface", ["/v1", "/xai/v1"])
async def test_a_strict_client_can_parse_every_2xx_of_a_life(server: Running, surface: str) -> None:
    before = asyncio.Event()
    server.upstream.script(text("Hello there", before=before))

    submitted = await server.post(f"{surface}/chat/completions", a_chat(deferred=True))
    ticket = strictly(submitted.body)
    path = f"{surface}/chat/deferred-completion/{ticket.id}"
    pending = await server.get(path)
    before.set()
    done = await server.get(f"{path}?wait=10")

    assert (submitted.status, pending.status, done.status) == (200, 202, 200)
    assert ticket.id == submitted.json["request_id"]
    assert strictly(pending.body).choices == []
    assert pending.headers["retry-after"] == "1"
    choices = strictly(done.body).choices
    assert choices is not None
    assert choices[0]["message"] == {"role": "assistant", "content": "Hello there"}


async def test_a_result_can_be_read_again(server: Running) -> None:
    request_id = await server.defer()
    await server.ended(request_id)

    first, again = [await server.get(f"/v1/chat/deferred-completion/{request_id}") for _ in range(2)]

    assert first.body == again.body
    assert first.status == again.status == 200


@pytest.mark.parametrize(
    ("answered", "status"),
    [(400, 400), (404, 404), (422, 422), (401, 502), (403, 502)],
)
async def test_a_failed_request_answers_with_the_upstreams_error(server: Running, answered: int, status: int) -> None:
    server.upstream.script(error(answered, "no such thing", "odd"))
    request_id = await server.defer()

    reply = await server.get(f"/v1/chat/deferred-completion/{request_id}?wait=10")

    assert reply.status == status
    assert reply.headers["x-should-retry"] == "false"
    upstream = reply.error["upstream"]
    assert (upstream["name"], upstream["status"]) == ("up", answered)
    assert upstream["body"]["error"]["message"] == "no such thing"


async def test_a_server_error_that_outlasts_all_attempts_is_told(server: Running) -> None:
    server.upstream.script(error(500, "boom"))
    request_id = await server.defer(raincheck={"max_attempts": 1})

    reply = await server.get(f"/v1/chat/deferred-completion/{request_id}?wait=10")

    assert reply.status == 500
    assert "boom" in reply.body.decode()


async def test_a_cancelled_request_is_a_409_that_is_not_retried(server: Running) -> None:
    request_id = await _cancelled(server)

    reply = await server.get(f"/v1/chat/deferred-completion/{request_id}")

    assert (reply.status, reply.error["code"]) == (409, "cancelled")
    assert reply.headers["x-should-retry"] == "false"


async def test_an_expired_request_is_a_410(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer(raincheck={"expires_in": 0.05})

    reply = await server.get(f"/v1/chat/deferred-completion/{request_id}?wait=10")

    assert (reply.status, reply.error["code"]) == (410, "deadline_exceeded")


async def test_errors_below_xai_are_flat(server: Running) -> None:
    request_id = await _cancelled(server)

    unknown = await server.get("/xai/v1/chat/deferred-completion/nope")
    cancelled = await server.get(f"/xai/v1/chat/deferred-completion/{request_id}")
    refused = await server.post("/xai/v1/chat/completions", b"{")

    assert unknown.json["code"] == "Some requested entity was not found"
    assert cancelled.json["code"] == "The operation was aborted"
    assert refused.json["code"] == "Client specified an invalid argument"
    assert all(isinstance(reply.json["error"], str) for reply in (unknown, cancelled, refused))


async def test_ids_below_xai_are_bare_uuids_and_the_native_view_knows_them(server: Running) -> None:
    reply = await server.post("/xai/v1/chat/completions", a_chat(deferred=True))

    request_id = reply.json["request_id"]
    assert [len(part) for part in request_id.split("-")] == [8, 4, 4, 4, 12]
    assert (await server.ended(request_id))["status"] == "completed"


async def test_models_and_passthrough_exist_below_xai(server: Running) -> None:
    listed = await server.get("/xai/v1/models")
    passed = await server.post("/xai/v1/chat/completions", a_chat())

    assert listed.json["data"][0]["id"] == "m"
    assert passed.json["choices"][0]["message"]["content"] == "Hello from the script."


async def _cancelled(server: Running) -> str:
    server.upstream.always(text(before=asyncio.Event()))
    request_id = await server.defer()
    assert (await server.post(f"/v1/requests/{request_id}/cancel")).status == 200
    return request_id

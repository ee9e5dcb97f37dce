"""The unmodified openai client, sync and async, over a real socket."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion

from raincheck.core.clock import now, seconds
from tests.scripted import error, text
from tests.server import Running, running_server

MESSAGES: Any = [{"role": "user", "content": "Hello"}]
DEFERRED = {"deferred": True}


def a_client(server: Running, *, api_key: str = "none", max_retries: int = 0) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=server.base_url, api_key=api_key, max_retries=max_retries)


async def poll(client: AsyncOpenAI, ticket_id: str) -> ChatCompletion:
    while True:
        path = f"/chat/deferred-completion/{ticket_id}?wait=5"
        completion = await client.get(path, cast_to=ChatCompletion)
        if completion.choices:
            return completion


async def test_the_async_client_defers_by_extra_body_and_polls(server: Running) -> None:
    async with a_client(server) as client:
        ticket = await client.chat.completions.create(model="m", messages=MESSAGES, extra_body=DEFERRED)
        completion = await poll(client, ticket.id)

    assert ticket.id.startswith("req_")
    assert (ticket.choices, ticket.object) == ([], "chat.completion")
    assert completion.choices[0].message.content == "Hello from the script."
    assert completion.usage is not None
    assert completion._request_id is not None  # pyright: ignore[reportPrivateUsage]


async def test_the_sync_client_defers_and_polls(server: Running) -> None:
    def story() -> ChatCompletion:
        with OpenAI(base_url=server.base_url, api_key="none") as client:
            ticket = client.chat.completions.create(model="m", messages=MESSAGES, extra_body=DEFERRED)
            while True:
                path = f"/chat/deferred-completion/{ticket.id}?wait=5"
                if (completion := client.get(path, cast_to=ChatCompletion)).choices:
                    return completion

    completion = await asyncio.to_thread(story)

    assert completion.choices[0].message.content == "Hello from the script."


async def test_a_call_that_is_not_deferred_passes_through(server: Running) -> None:
    async with a_client(server) as client:
        completion = await client.chat.completions.create(model="m", messages=MESSAGES, service_tier="flex")
        embedding = await client.embeddings.create(model="m", input="x", encoding_format="float")

    assert completion.choices[0].message.content == "Hello from the script."
    assert embedding.data[0].embedding == [0.5, -0.25]
    assert server.upstream.requests[0].json["service_tier"] == "flex"  # Nothing waits here, so it is the upstream's.


async def test_a_stream_passes_through_piece_by_piece(server: Running) -> None:
    before = asyncio.Event()
    server.upstream.script(text("one two three", before=before))
    async with a_client(server) as client:
        opening = asyncio.create_task(client.chat.completions.create(model="m", messages=MESSAGES, stream=True))
        await server.upstream.received()
        before.set()
        words = [chunk.choices[0].delta.content or "" async for chunk in await opening]

    assert "".join(words) == "one two three"


async def test_the_sync_client_streams(server: Running) -> None:
    def story() -> str:
        with OpenAI(base_url=server.base_url, api_key="none") as client:
            stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert await asyncio.to_thread(story) == "Hello from the script."


async def test_hanging_up_on_a_stream_ends_the_call_upstream(server: Running) -> None:
    server.upstream.script(text("word " * 1_000, pause=0.01))
    async with a_client(server) as client:
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for _ in stream:
            break
        await stream.close()

    async with asyncio.timeout(5):
        await server.upstream.requests[0].left.wait()


async def test_the_models_are_listed_and_retrieved(server: Running) -> None:
    async with a_client(server) as client:
        listed = [model.id async for model in client.models.list()]
        one = await client.models.retrieve("m")

    assert listed == ["m"]
    assert one.owned_by == "up"


async def test_an_upstreams_own_error_passes_through(server: Running) -> None:
    server.upstream.script(error(422, "too hot", "temperature"))
    async with a_client(server) as client:
        with pytest.raises(openai.UnprocessableEntityError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES)

    assert raised.value.code == "temperature"


async def test_an_upstream_that_refuses_our_key_is_not_the_clients_fault(server: Running) -> None:
    server.upstream.script(error(401, "bad key"))
    async with a_client(server) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES)

    assert (raised.value.status_code, raised.value.code) == (502, "upstream_refused")


Calling = Callable[[AsyncOpenAI], Awaitable[object]]


def calling(**changes: Any) -> Calling:
    async def call(client: AsyncOpenAI) -> None:
        members: dict[str, Any] = {"model": "m", "messages": MESSAGES, "extra_body": DEFERRED} | changes
        await client.chat.completions.create(**members)

    return call


async def unknown(client: AsyncOpenAI) -> ChatCompletion:
    return await client.get("/chat/deferred-completion/req_nope", cast_to=ChatCompletion)


# What is done, the exception that comes of it, and its code.
MAPPED: list[tuple[Calling, type[openai.APIStatusError], str]] = [
    (calling(messages=[]), openai.BadRequestError, "invalid_request"),
    (calling(model="nope"), openai.NotFoundError, "model_not_found"),
    (calling(extra_headers={"Authorization": "Bearer rc_wrong"}), openai.AuthenticationError, "api_key_invalid"),
    (calling(extra_headers={"Authorization": ""}), openai.AuthenticationError, "api_key_missing"),
    (unknown, openai.NotFoundError, "not_found"),
    (calling(messages=[{"role": "user", "content": "x" * 2_000_000}]), openai.APIStatusError, "request_too_large"),
]


@pytest.mark.parametrize(("call", "kind", "code"), MAPPED, ids=[code for _, _, code in MAPPED])
async def test_errors_are_the_exceptions_that_clients_expect(
    tmp_path: Path, call: Calling, kind: type[openai.APIStatusError], code: str
) -> None:
    async with running_server(tmp_path, max_body_bytes=1_000_000) as server:
        client = a_client(server, api_key=await server.key())
        with pytest.raises(kind) as raised:
            await call(client)
        await client.close()

    assert raised.value.code == code
    assert raised.value.request_id is not None


async def test_too_many_pending_is_a_rate_limit(server: Running) -> None:
    await server.tenant("small", max_pending=1)
    later = {"deferred": True, "raincheck": {"not_before": seconds(now()) + 3600}}
    async with a_client(server, api_key=await server.key("small")) as client:
        await client.chat.completions.create(model="m", messages=MESSAGES, extra_body=later)
        with pytest.raises(openai.RateLimitError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES, extra_body=later)

    assert raised.value.code == "too_many_pending"


async def test_an_upstream_that_is_down_is_a_503(server: Running) -> None:
    await server.upstream.close()
    async with a_client(server) as client:
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model="m", messages=MESSAGES)

    assert (raised.value.status_code, raised.value.code) == (503, "upstream_down")


async def test_a_conflict_is_not_retried(server: Running) -> None:
    """409 is retried by these clients unless `x-should-retry: false` stops them."""
    call = calling(extra_headers={"Idempotency-Key": "k"})
    other = calling(extra_headers={"Idempotency-Key": "k"}, temperature=0.5)
    async with a_client(server, max_retries=2) as client:
        await call(client)
        with pytest.raises(openai.ConflictError) as raised:
            await other(client)

    assert raised.value.code == "idempotency_conflict"
    assert raised.value.response.request.headers["x-stainless-retry-count"] == "0"


async def test_a_clients_own_retry_is_the_same_request(server: Running) -> None:
    """G9, for clients that retry without an idempotency key."""
    first = await server.post("/v1/chat/completions", _body(), x_stainless_retry_count="0")
    again = await server.post("/v1/chat/completions", _body(), x_stainless_retry_count="1")
    other = await server.post("/v1/chat/completions", _body(), x_stainless_retry_count="0")

    assert first.json["id"] == again.json["id"] != other.json["id"]
    assert again.headers["idempotency-replayed"] == "true"


def _body() -> dict[str, Any]:
    return {"model": "m", "messages": MESSAGES, "deferred": True}

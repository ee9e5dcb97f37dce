"""Submit and wait in one exchange: a deferring POST that says `Prefer: wait=N`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from raincheck import AsyncRaincheck
from tests.scripted import error, text
from tests.server import Reply, Running, a_chat

CHAT = "/v1/chat/completions"


async def same_as_collected(server: Running, reply: Reply) -> bool:
    collected = await server.get(f"/v1/chat/deferred-completion/{reply.headers['raincheck-request-id']}")
    return (reply.status, reply.body) == (collected.status, collected.body)


@pytest.mark.parametrize(
    ("deferred", "prefer"), [(True, "wait=10"), (False, "respond-async, wait=10"), (True, "respond-async,wait=10")]
)
async def test_an_end_in_time_is_answered_as_if_it_had_been_collected(
    server: Running, deferred: bool, prefer: str
) -> None:
    server.upstream.script(text("Hello there"))

    reply = await server.post(CHAT, a_chat(deferred=deferred), prefer=prefer)

    assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "Hello there")
    assert reply.headers["location"] == f"/v1/requests/{reply.headers['raincheck-request-id']}"
    assert reply.headers["preference-applied"] == "wait=10"
    assert await same_as_collected(server, reply)


async def test_a_bad_end_in_time_is_answered_with_its_error_and_the_id(server: Running) -> None:
    server.upstream.script(error(400, "no such thing", "odd"))

    reply = await server.post(CHAT, a_chat(deferred=True), prefer="wait=10")

    assert reply.status == 400
    assert reply.error["upstream"]["body"]["error"]["message"] == "no such thing"
    assert (reply.headers["x-should-retry"], reply.headers["preference-applied"]) == ("false", "wait=10")
    assert await same_as_collected(server, reply)


@pytest.mark.parametrize(
    ("deferred", "prefer", "status", "applied"),
    [(True, "wait=0.05", 200, "wait=0.05"), (False, "wait=0.05, respond-async", 202, "respond-async, wait=0.05")],
)
async def test_without_an_end_in_time_it_is_a_usual_submit(
    server: Running, deferred: bool, prefer: str, status: int, applied: str
) -> None:
    server.upstream.always(text(before=asyncio.Event()))

    reply = await server.post(CHAT, a_chat(deferred=deferred), prefer=prefer)

    assert (reply.status, reply.json["choices"]) == (status, [])
    assert reply.headers["raincheck-request-id"] == reply.json["request_id"]
    assert reply.headers["location"] == f"/v1/requests/{reply.json['id']}"
    assert reply.headers["preference-applied"] == applied


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=10, return=representation", "return=representation, wait=10"),
        ("respond-async, wait=10, return=representation", "return=representation, wait=10"),
    ],
)
async def test_the_representation_is_the_request_as_it_has_become(server: Running, prefer: str, applied: str) -> None:
    reply = await server.post(CHAT, a_chat(deferred=True), prefer=prefer)

    assert (reply.status, reply.json["object"], reply.json["status"]) == (200, "request", "completed")
    assert reply.json["result"]["choices"][0]["message"]["content"] == "Hello from the script."
    assert reply.headers["preference-applied"] == applied
    assert reply.headers["raincheck-request-id"] == reply.json["id"]


async def test_a_failed_request_has_a_representation_too(server: Running) -> None:
    server.upstream.script(error(400, "no such thing", "odd"))

    reply = await server.post(CHAT, a_chat(deferred=True), prefer="wait=10, return=representation")

    assert (reply.status, reply.json["status"]) == (200, "failed")
    assert reply.json["error"]["upstream"]["status"] == 400


async def test_other_paths_answer_with_their_result_or_with_the_request(server: Running) -> None:
    ended = await server.post("/v1/embeddings", {"model": "m", "input": "a"}, prefer="respond-async, wait=10")
    server.upstream.always(text(before=asyncio.Event()))
    waits = await server.post("/v1/embeddings", {"model": "m", "input": "b"}, prefer="respond-async, wait=0.05")

    assert ended.status == 200
    assert await same_as_collected(server, ended)
    assert (waits.status, waits.json["object"]) == (202, "request")
    assert waits.json["status"] in ("pending", "processing")


async def test_below_xai_the_errors_stay_flat(server: Running) -> None:
    server.upstream.script(error(400, "no such thing", "odd"))

    reply = await server.post("/xai/v1/chat/completions", a_chat(deferred=True), prefer="wait=10")

    assert (reply.status, reply.json["code"]) == (400, "Client specified an invalid argument")


@pytest.mark.parametrize(("asked", "applied"), [("600", "wait=60"), ("-1", "wait=0"), ("soon", "wait=0")])
async def test_a_wait_out_of_range_is_clamped(server: Running, asked: str, applied: str) -> None:
    request_id = await _ended(server, key="k")

    reply = await server.post(CHAT, a_chat(deferred=True), prefer=f"wait={asked}", idempotency_key="k")

    assert reply.headers["preference-applied"] == applied
    assert reply.headers["raincheck-request-id"] == request_id


async def test_the_query_is_no_place_for_it(server: Running) -> None:
    reply = await server.post(f"{CHAT}?wait=10", a_chat(deferred=True))

    assert (reply.status, reply.json["choices"]) == (200, [])
    assert "raincheck-request-id" not in reply.headers


async def test_g9_a_repeated_submit_waits_for_the_first(server: Running) -> None:
    go = asyncio.Event()
    server.upstream.script(text("once", before=go))
    first = await server.post(CHAT, a_chat(deferred=True), idempotency_key="k")

    repeated = asyncio.create_task(server.post(CHAT, a_chat(deferred=True), idempotency_key="k", prefer="wait=10"))
    while not server.edge.live.waiting(first.json["id"]):
        await asyncio.sleep(0.005)
    go.set()
    reply = await repeated

    assert reply.headers["idempotency-replayed"] == "true"
    assert reply.headers["raincheck-request-id"] == first.json["id"]
    assert reply.json["choices"][0]["message"]["content"] == "once"
    assert len(server.upstream.requests) == 1


async def test_g1_a_client_who_hangs_up_while_waiting_has_submitted_all_the_same(server: Running) -> None:
    """G1: the submit is on disk before the waiting begins, and does not end with it."""
    go = asyncio.Event()
    server.upstream.script(text("kept", before=go))

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await server.post(CHAT, a_chat(deferred=True), idempotency_key="k", prefer="wait=10")
    go.set()
    again = await server.post(CHAT, a_chat(deferred=True), idempotency_key="k", prefer="wait=10")

    assert again.headers["idempotency-replayed"] == "true"
    assert again.json["choices"][0]["message"]["content"] == "kept"
    assert len(server.upstream.requests) == 1


async def test_g9_create_and_wait_survives_a_connection_that_dies_in_mid_wait(server: Running) -> None:
    """G9: the SDK has no id yet, but the server knows the submit again by its key."""
    go = asyncio.Event()
    server.upstream.script(text("once", before=go))

    async def cut(_: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while not server.upstream.requests:
            await asyncio.sleep(0.005)
        go.set()
        to_client.close()

    async with _through_a_proxy(server, first=cut) as base_url, AsyncRaincheck(base_url=base_url) as client:
        completion = await client.chat.completions.create_and_wait(
            model="m", messages=[{"role": "user", "content": "Hello"}], timeout=30
        )

    assert completion.choices[0].message.content == "once"
    assert len(server.upstream.requests) == 1


async def test_the_answer_comes_before_the_openai_client_gives_up(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))

    async with asyncio.timeout(5):
        reply = await server.post(CHAT, a_chat(deferred=True), prefer="wait=60", x_stainless_read_timeout="1.05")

    assert (reply.status, reply.json["choices"]) == (200, [])


async def test_a_key_that_may_only_write_is_not_shown_the_result(server: Running) -> None:
    writes = f"Bearer {await server.key('t', 'write')}"

    reply = await server.post(CHAT, a_chat(deferred=True), prefer="wait=10", authorization=writes)

    assert (reply.status, reply.json["choices"]) == (200, [])
    assert "preference-applied" not in reply.headers


async def test_a_server_that_stops_ends_the_wait_with_the_id(server: Running) -> None:
    server.upstream.always(text(before=asyncio.Event()))
    waiting = asyncio.create_task(server.post(CHAT, a_chat(deferred=True), prefer="wait=60"))
    while not server.upstream.requests:
        await asyncio.sleep(0.005)

    server.edge.live.close()
    reply = await asyncio.wait_for(waiting, 5)

    assert (reply.status, reply.json["choices"]) == (200, [])
    assert reply.headers["raincheck-request-id"] == reply.json["id"]


Leg = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _through_a_proxy(server: Running, *, first: Leg) -> AsyncGenerator[str]:
    """A way to the server whose first connection forwards what is sent, and answers with what `first` does."""
    legs = [first]

    async def connected(from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        back = legs.pop() if legs else _pumped
        async with asyncio.TaskGroup() as both:
            both.create_task(_pumped(from_client, to_server))
            both.create_task(_then_close(back(from_server, to_client), to_server))

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as proxy:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
    writer.close()


async def _then_close(leg: Awaitable[None], writer: asyncio.StreamWriter) -> None:
    await leg
    writer.close()


async def _ended(server: Running, key: str) -> str:
    reply = await server.post(CHAT, a_chat(deferred=True), idempotency_key=key)
    await server.ended(reply.json["id"])
    return reply.json["id"]

"""The same waiting, awaited. What the flow decides is tested without a network; here is what differs."""

import asyncio
import time
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from raincheck import AsyncRaincheck, RequestFailed, WaitTimeout
from tests.client.servers import Answer, FakeRaincheck, ScriptedServer, a_completion, the_original

HELLO: Any = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}


def a_client(server: ScriptedServer) -> AsyncRaincheck:
    return AsyncRaincheck(base_url=server.url, api_key="rc_test")


async def reading(fake: FakeRaincheck) -> None:
    assert await asyncio.to_thread(fake.reading.wait, 5)


async def test_create_and_wait_returns_the_completion_the_moment_it_is_there() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server:
        async with a_client(server) as client:
            waiting = asyncio.create_task(client.chat.completions.create_and_wait(**HELLO))
            await reading(fake)
            fake.move("completed")
            completion = await asyncio.wait_for(waiting, 1)

    assert isinstance(completion, ChatCompletion)
    assert completion.choices[0].message.content == "hello"
    assert server.paths() == ["POST /v1/chat/completions"]


async def test_g9_a_server_that_dies_while_it_holds_the_submit_loses_nothing() -> None:
    fake = FakeRaincheck(status="completed")
    fake.trouble = [Answer(hang_up=True)]
    with ScriptedServer(fake) as server:
        async with a_client(server) as client:
            assert (await client.chat.completions.create_and_wait(**HELLO)).id == "chatcmpl-1"

    first, _, again = server.asked
    assert first.headers["idempotency-key"] == again.headers["idempotency-key"]


async def test_cancelling_the_task_ends_the_waiting_at_once() -> None:
    fake = FakeRaincheck()
    with ScriptedServer(fake) as server:
        async with a_client(server) as client:
            waiting = asyncio.create_task(client.chat.completions.create_and_wait(**HELLO))
            await reading(fake)
            began = time.monotonic()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert time.monotonic() - began < 0.5
        fake.move("completed")  # lets the read that was left behind come to its end

    assert not any(path.endswith("/cancel") for path in server.paths())


async def test_asyncio_timeout_works_as_on_anything_else() -> None:
    with ScriptedServer(the_original(Answer(202))) as server:
        async with a_client(server) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.chat.completions.create_and_wait(**HELLO)


async def test_many_wait_at_once() -> None:
    with ScriptedServer(the_original(Answer(202), Answer(200, a_completion()))) as server:
        async with a_client(server) as client:
            calls = [client.chat.completions.create_and_wait(**HELLO, polling_interval=0.02) for _ in range(20)]
            completions = await asyncio.gather(*calls)

    assert len(completions) == 20
    assert sum(path.startswith("POST") for path in server.paths()) == 20


async def test_a_ticket_does_what_the_blocking_one_does() -> None:
    fake, seen = FakeRaincheck(), list[str]()
    with ScriptedServer(fake) as server:
        async with a_client(server) as client:
            ticket = await client.chat.completions.defer(**HELLO)
            assert (ticket.id, ticket.status, ticket.position) == ("req_1", "pending", 3)
            assert await ticket.result() is None

            with pytest.raises(WaitTimeout):
                await ticket.wait(timeout=0.05, on_update=lambda request: seen.append(request.status))
            assert (await ticket.refresh()).status == "pending"
            assert (await ticket.cancel()).status == "cancelled"

            fake.move("failed", error={"message": "out of memory"})
            with pytest.raises(RequestFailed, match="out of memory"):
                await client.requests.wait(ticket.id)

    assert seen == ["pending"]


async def test_one_look_and_any_post() -> None:
    with ScriptedServer(the_original(Answer(202), Answer(200, a_completion()))) as server:
        async with a_client(server) as client:
            assert await client.chat.completions.retrieve_deferred("b5c0") is None
            assert isinstance(await client.chat.completions.retrieve_deferred("b5c0"), ChatCompletion)

    with ScriptedServer(FakeRaincheck(status="completed", operation="other", result={"n": 1})) as server:
        async with a_client(server) as client:
            ticket = await client.requests.submit("/rerank", body={})
            assert await ticket.wait() == {"n": 1}
            assert await client.requests.result("req_1") == {"n": 1}

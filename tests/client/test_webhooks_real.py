"""The whole way: a real server sends to the SDK's own listener, signed with secrets that it made."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError

from raincheck import AsyncRaincheck
from raincheck.client import ListenerRefused, Received
from raincheck.webhooks import Event, TamperedBody, WrongSecret, verify
from tests.server import running_server

SAY_HI: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def a_client(folder: Path, allowed: tuple[str, ...] = ("127.0.0.1",)) -> AsyncGenerator[AsyncRaincheck]:
    """A client of a server that may send webhooks to these hosts."""
    async with (
        running_server(folder, webhook_hosts=allowed) as server,
        AsyncRaincheck(base_url=server.base_url) as client,
    ):
        yield client


async def test_the_end_of_a_request_comes_to_its_webhook_url(tmp_path: Path) -> None:
    async with a_client(tmp_path) as client:
        async with client.webhooks.listen() as hook:
            ticket = await client.chat.completions.defer(
                **SAY_HI, webhook_url=hook.url, webhook_events=["completed"], include_result=True
            )
            event = await hook.wait("chat.completion.completed", id=ticket.id)
            request = await client.requests.retrieve(ticket.id)

        assert (event.status, event.is_final, event.attempt) == ("completed", True, 1)
        assert event.data.result == request.result
        assert request.webhook_events == ["completed"]
        assert request.include_result is True
        received = hook.received[0]
        assert hook.rejected == []
        assert (await client.webhooks.verify(received.body, received.headers)).id == event.id


async def test_an_endpoint_is_told_of_every_end_while_it_is_registered(tmp_path: Path) -> None:
    async with a_client(tmp_path) as client:
        async with client.webhooks.listen(register=True) as hook:
            assert hook.endpoint is not None
            tickets = [await client.chat.completions.defer(**SAY_HI) for _ in range(3)]
            told = {(await hook.wait(id=ticket.id)).data.id for ticket in tickets}
            assert told == {ticket.id for ticket in tickets}
            endpoint = await client.webhooks.endpoints.retrieve(hook.endpoint.id)
            assert (endpoint.status, endpoint.signing_secret) == ("enabled", None)
        with pytest.raises(NotFoundError):
            await client.webhooks.endpoints.retrieve(endpoint.id)


async def test_a_wrong_secret_and_a_changed_body_are_told_apart_for_our_own_deliveries(tmp_path: Path) -> None:
    async with a_client(tmp_path) as client, client.webhooks.listen(register=True) as hook:
        await client.chat.completions.defer(**SAY_HI)
        await hook.wait()
        (received,) = hook.received
        own, tenants = hook.secrets[1], hook.secrets[0]

    assert verify(received.body, received.headers, own).id
    with pytest.raises(TamperedBody):
        verify(received.body + b" ", received.headers, own)
    with pytest.raises(WrongSecret):
        verify(received.body, received.headers, tenants)


@pytest.mark.parametrize("signature", ["v1", "v1a"])
async def test_a_test_event_is_verified_with_the_secret_that_was_shown(tmp_path: Path, signature: Any) -> None:
    async with a_client(tmp_path) as client, client.webhooks.listen() as hook:
        made = await client.webhooks.endpoints.create(hook.url, signature=signature)
        hook.secrets.append(made.signing_secret or "")
        tested = await client.webhooks.endpoints.test(made.id, event_type="video.failed")
        event = await hook.wait("video.failed")
        before = made.signing_secret
        rotated = await client.webhooks.endpoints.rotate_secret(made.id)
        await client.webhooks.endpoints.test(made.id)
        await hook.wait()
        last = hook.received[-1]

    assert (tested.status_code, event.data.raw.get("test")) == (204, True)
    for secret in (before, rotated.signing_secret):
        assert verify(last.body, last.headers, secret or "").id, "signed with both"


async def test_the_tenants_secret_is_rotated_under_a_running_receiver(tmp_path: Path) -> None:
    async with a_client(tmp_path) as client:
        old = (await client.webhooks.secret()).signing_secret
        async with client.webhooks.listen() as hook:
            rotated = await client.webhooks.rotate_secret()
            await client.chat.completions.defer(**SAY_HI, webhook_url=hook.url)
            await hook.wait()

            assert rotated.previous_active_until is not None
            assert (hook.secrets, rotated.signing_secret == old) == ([old], False)
            again = await client.webhooks.rotate_secret(keep_old_secret_active_for_24_hours=False)
            hook.secrets.append(again.signing_secret)
            await client.chat.completions.defer(**SAY_HI, webhook_url=hook.url)
            event = await hook.wait()
            last = hook.received[-1]

    assert event.id == last.headers["webhook-id"]
    with pytest.raises(WrongSecret):
        verify(last.body, last.headers, old)


async def test_the_delivery_log_shows_what_failed_and_sends_it_again(tmp_path: Path) -> None:
    answers = [410, 204, 204]

    def answer(_: Received) -> int:
        return answers.pop(0)

    async with a_client(tmp_path) as client, client.webhooks.listen(answer=answer) as hook:
        ticket = await client.chat.completions.defer(**SAY_HI, webhook_url=hook.url)
        await hook.wait()
        (failed,) = await logged(client, ticket.id, "failed")
        again = await client.webhooks.deliveries.redeliver(failed.id)
        await hook.wait()
        (arrived,) = await logged(client, ticket.id, "delivered")
        count = await client.webhooks.deliveries.redeliver_since(0, delivered_too=True)
        await hook.wait()
        attempts = (await client.webhooks.deliveries.retrieve(failed.id)).attempts or []

    assert (failed.status_code, failed.event_type, again.id) == (410, "chat.completion.completed", failed.id)
    assert (arrived.id, count) == (failed.id, 1)
    assert len({each.headers["webhook-id"] for each in hook.received}) == 1
    assert [each.status_code for each in attempts][:2] == [410, 204]


async def logged(client: AsyncRaincheck, object_id: str, status: Any) -> list[Any]:
    """Deliveries about it, once there is one of this status: what came of an attempt is noted after its answer."""
    log = client.webhooks.deliveries
    async with asyncio.timeout(10):
        while not (found := [each async for each in log.list(object_id=object_id, status=status)]):
            await asyncio.sleep(0.01)
    return found


async def test_a_server_that_may_not_call_back_says_how_to_let_it(tmp_path: Path) -> None:
    async with a_client(tmp_path, ()) as client:
        with pytest.raises(ListenerRefused, match=r"RAINCHECK_WEBHOOKS_ALLOW=127\.0\.0\.1"):
            async with client.webhooks.listen(register=True):
                pass
        async with client.webhooks.listen() as hook:
            with pytest.raises(BadRequestError) as caught:
                await client.chat.completions.defer(**SAY_HI, webhook_url=hook.url)

    assert caught.value.code == "webhook_refused"


async def test_every_type_can_be_asked_for(tmp_path: Path) -> None:
    async with a_client(tmp_path) as client:
        types = await client.webhooks.event_types()

    assert {"batch.completed", "video.failed", "response.incomplete", "chat.completion.progress"} <= set(types)


async def test_many_ends_arrive_each_at_least_once(tmp_path: Path) -> None:
    """G11 is the store's; this is what its receiver sees of it."""
    async with a_client(tmp_path) as client, client.webhooks.listen(register=True) as hook:
        ids = {(await client.chat.completions.defer(**SAY_HI)).id for _ in range(8)}
        events: list[Event] = [await hook.wait() for _ in ids]

    assert {event.data.id for event in events} == ids
    assert hook.rejected == []

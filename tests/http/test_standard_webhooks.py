"""Deliveries of a real server, verified as they come by libraries that know nothing of it: standardwebhooks and
openai's `client.webhooks.unwrap`."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai.types.webhooks import BatchCompletedWebhookEvent, ResponseCompletedWebhookEvent
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from raincheck import webhooks
from tests.http.batches import a_line, created
from tests.http.told import DROP, KEEP, an_endpoint, refused, rotated, telling, the_secret, unwrapped
from tests.http.videos import MODEL
from tests.receivers import Delivered, Receiver, status
from tests.server import Running


@pytest.mark.slow("makes a video with ffmpeg")
@pytest.mark.parametrize("to", ["endpoint", "webhook_url"])
async def test_both_libraries_verify_and_parse_what_is_delivered(tmp_path: Path, to: str) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        options: dict[str, Any] = {}
        if to == "endpoint":
            secret = (await an_endpoint(server, receiver.at()))["signing_secret"]
        else:
            secret, options = await the_secret(server), {"raincheck": {"webhook_url": receiver.at()}}
        batch = (await created(server, [a_line("one"), a_line("two")], **options))["id"]
        response = await an_id(server, "/v1/responses", {"model": "m", "input": "Hi", "background": True, **options})
        video = await an_id(server, "/v1/videos", {"model": MODEL, "prompt": "A cat", **options})
        chat = await server.defer(**options)
        events = {each.id: unwrapped(each, secret) for each in await receiver.wait(4)}

    told = {event.type: event for event in events.values()}
    assert {kind: event.data.id for kind, event in told.items()} == {
        "batch.completed": batch,
        "response.completed": response,
        "video.completed": video,
        "chat.completion.completed": chat,
    }
    assert type(told["batch.completed"]) is BatchCompletedWebhookEvent
    assert type(told["response.completed"]) is ResponseCompletedWebhookEvent
    assert all((event.object, event.id) == ("event", id_) for id_, event in events.items())
    assert all(isinstance(event.created_at, int) for event in events.values())


@pytest.mark.parametrize("to", ["endpoint", "webhook_url"])
async def test_both_refuse_what_was_tampered_with_and_what_another_secret_signed(tmp_path: Path, to: str) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        theirs, own = (await an_endpoint(server, receiver.at("/theirs")))["signing_secret"], await the_secret(server)
        await server.defer(raincheck={"webhook_url": receiver.at("/own")})
        [[to_endpoint], [to_url]] = await receiver.wait(path="/theirs"), await receiver.wait(path="/own")

    delivered, secret, other = (to_endpoint, theirs, own) if to == "endpoint" else (to_url, own, theirs)
    unwrapped(delivered, secret)
    assert to_endpoint.id == to_url.id
    refused(delivered, other)
    refused(delivered, secret, body=delivered.body.replace(b"completed", b"cancelled"))
    refused(delivered, secret, webhook_id="evt_another")
    refused(delivered, secret, webhook_timestamp=str(int(delivered.headers["webhook-timestamp"]) - 1))
    refused(delivered, secret, webhook_timestamp=str(int(delivered.headers["webhook-timestamp"]) - 301))


async def test_every_attempt_and_every_redelivery_has_the_same_id_and_a_signature_of_its_own(tmp_path: Path) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        secret = await the_secret(server)
        receiver.script("/hook", status(503))
        await server.defer(raincheck={"webhook_url": receiver.at()})
        await receiver.wait()
        [failed] = (await server.get("/v1/webhook_deliveries")).json["data"]
        assert (await server.post(f"/v1/webhook_deliveries/{failed['id']}/redeliver")).status == 200
        first, second = await receiver.wait(2)

    unwrapped(first, secret)
    unwrapped(second, secret)
    assert (second.id, second.body) == (first.id, first.body)
    assert first.headers["raincheck-delivery"] == second.headers["raincheck-delivery"] == failed["id"]


@pytest.mark.slow("some hundred requests and their deliveries")
@pytest.mark.parametrize("to", ["endpoint", "webhook_url"])
async def test_two_rotations_in_the_middle_of_a_stream_fail_no_verification(tmp_path: Path, to: str) -> None:
    """The receiver goes over to each new secret some time after the server has, and verifies on arrival with whichever
    of the two it has just then."""
    async with telling(tmp_path, places=8) as server, Receiver() as receiver:
        endpoint: str | None = None
        if to == "endpoint":
            made = await an_endpoint(server, receiver.at())
            endpoint, secret = made["id"], made["signing_secret"]
        else:
            secret = await the_secret(server)
        verifier = _Verifier(secret)
        receiver.watch(verifier)
        stream = _Stream(server, {} if endpoint else {"raincheck": {"webhook_url": receiver.at()}})

        async with stream.flowing():
            await verifier.until(of=set(), and_then=50)
            for _ in range(2):
                old, new = verifier.secret, await rotated(server, endpoint, KEEP)
                # Whatever was signed before the rotation has arrived by then, and more behind it.
                await verifier.until(of=set(stream.submitted), and_then=50)
                assert verifies(receiver.received[-1], old)
                assert verifies(receiver.received[-1], new)
                verifier.secret = new
                await verifier.until(of=set(), and_then=50)
            assert verifies(receiver.received[-1], secret), "its 24 hours are not over"
        await verifier.until(of=stream.submitted)

    assert {each.data["id"] for each in receiver.received} == stream.submitted
    assert verifier.failed == []
    assert len(receiver.received) >= 250


@pytest.mark.parametrize("to", ["endpoint", "webhook_url"])
async def test_a_secret_that_is_not_to_be_kept_stops_signing_at_once(tmp_path: Path, to: str) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        endpoint: str | None = None
        if to == "endpoint":
            made = await an_endpoint(server, receiver.at())
            endpoint, old = made["id"], made["signing_secret"]
        else:
            old = await the_secret(server)
        options = {} if endpoint else {"raincheck": {"webhook_url": receiver.at()}}
        await server.defer(**options)
        [before] = await receiver.wait()
        new = await rotated(server, endpoint, DROP)
        await server.defer(**options)
        [_, after] = await receiver.wait(2)

    unwrapped(before, old)
    refused(after, old)
    unwrapped(after, new)
    assert after.headers["webhook-signature"].count("v1,") == 1


async def test_an_endpoint_with_a_public_key_is_verified_by_it_and_passed_over_by_libraries_that_know_v1_alone(
    tmp_path: Path,
) -> None:
    async with telling(tmp_path) as server, Receiver() as receiver:
        made = await an_endpoint(server, receiver.at(), signature="v1a")
        request = await server.defer()
        [delivered] = await receiver.wait()

    assert made["signing_secret"].startswith("whpk_")
    event = webhooks.verify(delivered.body, delivered.headers, made["signing_secret"])
    assert (event.id, event.type, event.data.id) == (delivered.id, "chat.completion.completed", request)
    refused(delivered, "whsec_" + "A" * 32)
    with pytest.raises(webhooks.TamperedBody):
        webhooks.verify(delivered.body + b" ", delivered.headers, made["signing_secret"])


class _Verifier:
    """A receiver's own check on arrival, with the one secret that it has just then."""

    def __init__(self, secret: str) -> None:
        self.secret = secret
        self.failed: list[Delivered] = []
        self._arrived: list[str] = []
        self._more = asyncio.Event()

    def __call__(self, delivered: Delivered) -> None:
        try:
            unwrapped(delivered, self.secret)
        except (WebhookVerificationError, ValueError):
            self.failed.append(delivered)
        self._arrived.append(delivered.data["id"])
        self._more.set()

    async def until(self, *, of: set[str], and_then: int = 0) -> None:
        """Until all of these have come, and so many more."""
        goal: int | None = None
        async with asyncio.timeout(60):
            while goal is None or len(self._arrived) < goal:
                self._more.clear()
                if goal is None and of.issubset(self._arrived):
                    goal = len(self._arrived) + and_then
                else:
                    await self._more.wait()


class _Stream:
    """Requests that come one after another until the test has seen enough."""

    def __init__(self, server: Running, options: dict[str, Any]) -> None:
        self.submitted: set[str] = set()
        self._server, self._options = server, options
        self._enough = False

    @asynccontextmanager
    async def flowing(self) -> AsyncGenerator[None]:
        flow = asyncio.create_task(self._submit())
        try:
            yield
        finally:
            self._enough = True
            await flow

    async def _submit(self) -> None:
        while not self._enough:
            self.submitted.add(await self._server.defer(**self._options))


def verifies(delivered: Delivered, secret: str) -> bool:
    try:
        Webhook(secret).verify(delivered.body, delivered.headers)
    except WebhookVerificationError:
        return False
    return True


async def an_id(server: Running, path: str, body: dict[str, Any]) -> str:
    reply = await server.post(path, body)
    assert reply.status == 200, reply.body
    return reply.json["id"]

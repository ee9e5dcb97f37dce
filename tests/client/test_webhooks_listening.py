"""A listener is a real receiver on a real socket: it takes what is authentic, and says why it refuses the rest."""

import asyncio
import threading

import pytest
from openai import BadRequestError

from raincheck import AsyncRaincheck, Raincheck
from raincheck.client import Answer, ListenerRefused, Received, WebhookTimeout
from raincheck.webhooks import TamperedBody, WrongSignature, key_id
from tests.client.servers import Answer as Said
from tests.client.servers import Asked, ScriptedServer
from tests.client.webhook_posts import OTHER, SECRET, Desk, an_event, deliver, post, signed


def test_events_are_verified_and_each_is_handed_out_once() -> None:
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client, client.webhooks.listen() as hook:
        assert deliver(hook.url, "video.completed", id="video_1") == 204
        assert deliver(hook.url, "video.failed", id="video_2") == 204
        assert deliver(hook.url, "video.completed", id="video_3") == 204

        assert hook.wait("video.failed").data.id == "video_2"
        assert hook.wait(id="video_3").type == "video.completed"
        assert hook.wait("video.completed", id="evt_1").data.id == "video_1"
        with pytest.raises(WebhookTimeout, match=r"No video\.failed came within 0\.01 s; what came was video\.comp"):
            hook.wait("video.failed", timeout=0.01)

        first = hook.received[0]
        assert (first.status, first.body) == (204, an_event("video.completed", id="video_1"))
        assert first.headers["webhook-id"] == "evt_1"
    assert server.paths() == ["GET /v1/webhook_secret"], "nothing is registered unasked"


def test_what_is_not_authentic_is_rejected_and_kept_with_the_reason() -> None:
    body = an_event()
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client, client.webhooks.listen() as hook:
        assert deliver(hook.url, secret=OTHER) == 400
        tampered = post(hook.url, body + b" ", signed(body, raincheck_key=key_id(SECRET)))

        assert (tampered.status, b"The secret is right" in tampered.body) == (400, True)
        assert [type(each.error) for each in hook.rejected] == [WrongSignature, TamperedBody]
        with pytest.raises(WebhookTimeout, match=r"none came at all\. 2 could not be verified: The secret is right"):
            hook.wait(timeout=0.01)
        assert hook.received == []


def test_waiting_begins_before_the_event_comes() -> None:
    with (
        ScriptedServer(Desk()) as server,
        Raincheck(base_url=server.url) as client,
        client.webhooks.listen(secret=OTHER) as hook,
    ):
        sender = threading.Timer(0.02, deliver, (hook.url, "video.completed", OTHER))
        sender.start()
        assert hook.wait("video.completed").data.id == "req_1"
        sender.join()
    assert server.asked == [], "a secret that was given is not asked for"


def test_an_answer_can_be_told() -> None:
    def answer(received: Received) -> int | Answer:
        return 503 if received.event.attempt == 1 else Answer(200, {"x-mine": "1"}, b"thanks")

    body = an_event()
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        with client.webhooks.listen(answer=answer) as hook:
            first = post(hook.url, body, signed(body, raincheck_attempt="1"))
            second = post(hook.url, body, signed(body, raincheck_attempt="2"))

            assert first.status == 503
            assert (second.status, second.headers["x-mine"], second.body) == (200, "1", b"thanks")
            assert [each.status for each in hook.received] == [503, 200]
        with client.webhooks.listen(answer=410) as hook:
            assert deliver(hook.url) == 410


def test_a_fault_in_the_answer_is_a_500(capfd: pytest.CaptureFixture[str]) -> None:
    def fail(received: Received) -> int:
        raise RuntimeError(f"cannot take {received.event.type}")

    with (
        ScriptedServer(Desk()) as server,
        Raincheck(base_url=server.url) as client,
        client.webhooks.listen(answer=fail) as hook,
    ):
        assert deliver(hook.url) == 500
        assert hook.received[0].status == 500

    assert "cannot take chat.completion.completed" in capfd.readouterr().err


def test_iterating_goes_on_until_it_is_closed() -> None:
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        got: list[str] = []
        with client.webhooks.listen() as hook:
            reader = threading.Thread(target=lambda: got.extend(event.data.id for event in hook))
            reader.start()
            for number in range(3):
                deliver(hook.url, id=f"req_{number}")
        reader.join(5)

    assert got == ["req_0", "req_1", "req_2"]


def test_registering_makes_an_endpoint_for_the_length_of_the_with() -> None:
    with (
        ScriptedServer(Desk()) as server,
        Raincheck(base_url=server.url) as client,
        client.webhooks.listen(register=True, include_result=True) as hook,
    ):
        assert hook.endpoint is not None
        assert deliver(hook.url, secret=OTHER) == 204, "the endpoint's own secret"
        assert deliver(hook.url, secret=SECRET) == 204, "and the one of webhook_urls"

    assert server.paths()[1:] == ["POST /v1/webhook_endpoints", "DELETE /v1/webhook_endpoints/we_1"]
    made = server.asked[1].body
    assert (made["url"], made["event_types"]) == (hook.url, ["*"])
    assert made["raincheck"] == {"include_result": True, "signature": "v1"}
    assert made["name"].startswith("listening on ")


def test_a_delivery_that_comes_before_the_secret_is_held_back() -> None:
    """The server may send as soon as it has the endpoint, which is before its answer is here."""
    answers: list[int] = []
    senders: list[threading.Thread] = []

    def eager(asked: Asked) -> Said:
        if asked.method == "POST":
            senders.append(threading.Thread(target=lambda: answers.append(deliver(asked.body["url"], secret=OTHER))))
            senders[0].start()
        return Desk()(asked)

    with ScriptedServer(eager) as server, Raincheck(base_url=server.url) as client:
        with client.webhooks.listen(register=True) as hook:
            hook.wait()
        senders[0].join(5)

    assert answers == [204]


def test_a_server_that_may_not_call_back_is_told_how_to() -> None:
    refusing = Desk(refuses="127.0.0.1 is not public")
    with (
        ScriptedServer(refusing) as server,
        Raincheck(base_url=server.url) as client,
        pytest.raises(ListenerRefused, match=r"RAINCHECK_WEBHOOKS_ALLOW=127\.0\.0\.1") as caught,
        client.webhooks.listen(register=True),
    ):
        pass

    assert "127.0.0.1 is not public" in str(caught.value)
    assert isinstance(caught.value.__cause__, BadRequestError)


def test_an_endpoint_that_was_deleted_meanwhile_is_no_matter() -> None:
    def forgetful(asked: Asked) -> Said:
        gone = Said(404, {"error": {"message": "no such endpoint"}})
        return gone if asked.method == "DELETE" else Desk()(asked)

    with (
        ScriptedServer(forgetful) as server,
        Raincheck(base_url=server.url) as client,
        client.webhooks.listen(register=True) as hook,
    ):
        pass
    assert hook.endpoint is not None


async def test_an_async_listener_does_the_same() -> None:
    with ScriptedServer(Desk()) as server:
        async with AsyncRaincheck(base_url=server.url) as client, client.webhooks.listen(register=True) as hook:
            waiting = asyncio.create_task(hook.wait("video.completed"))
            for number, kind in enumerate(["video.failed", "video.completed", "video.failed"]):
                assert await asyncio.to_thread(deliver, hook.url, kind, OTHER, id=f"v_{number}") == 204

            assert (await waiting).data.id == "v_1"
            got: list[str] = []
            async for event in hook:
                got.append(event.data.id)
                if len(got) == 2:
                    break
            assert got == ["v_0", "v_2"]
            with pytest.raises(WebhookTimeout, match=r"No event of v_9 came within 0\.01 s"):
                await hook.wait(id="v_9", timeout=0.01)
    assert server.paths()[-1] == "DELETE /v1/webhook_endpoints/we_1"


async def test_an_async_listener_is_told_too_when_it_is_refused() -> None:
    with ScriptedServer(Desk(refuses="it is private")) as server:
        async with AsyncRaincheck(base_url=server.url) as client:
            with pytest.raises(ListenerRefused, match="it is private"):
                async with client.webhooks.listen(register=True):
                    pass

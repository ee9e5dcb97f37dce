"""`client.webhooks`: what is asked of the server, and with what webhooks are verified."""

from datetime import UTC, datetime
from typing import Any

import pytest
from openai import InternalServerError

from raincheck import AsyncRaincheck, Raincheck
from raincheck.client.webhooks import resource
from raincheck.webhooks import WrongSignature
from tests.client.servers import VERSION, Answer, ScriptedServer, a_record
from tests.client.webhook_posts import OTHER, SECRET, Desk, an_event, signed

BODY = an_event()


def test_endpoints_are_kept() -> None:
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        endpoints = client.webhooks.endpoints
        made = endpoints.create("https://example.org/hook", event_types=("video.completed",))
        changed = endpoints.update("we_1", name="other", enabled=False)
        endpoints.update("we_1", event_types=["*"])
        endpoints.enable("we_1")
        endpoints.disable("we_1")
        rotated = endpoints.rotate_secret("we_1", keep_old_secret_active_for_24_hours=False)
        tested = endpoints.test("we_1", event_type="video.failed")
        listed = [endpoint.id for endpoint in endpoints.list(limit=5, order="asc")]
        assert endpoints.retrieve("we_1").signing_secret is None
        assert endpoints.delete("we_1").deleted

    bodies = [asked.body for asked in server.asked if asked.method == "POST"]
    assert made.signing_secret == OTHER
    assert OTHER not in repr(made)
    assert bodies[0] == {
        "name": "example.org",
        "url": "https://example.org/hook",
        "event_types": ["video.completed"],
        "raincheck": {"include_result": False, "signature": "v1"},
    }
    assert bodies[1] == {"name": "other", "raincheck": {"enabled": False}}
    assert bodies[2:5] == [{"event_types": ["*"]}, {"raincheck": {"enabled": True}}, {"raincheck": {"enabled": False}}]
    assert bodies[5] == {"keep_old_secret_active_for_24_hours": False}
    assert (changed.name, changed.status, changed.enabled, changed.extras.failures) == ("other", "failing", True, 3)
    assert (rotated.signing_secret, tested.status_code, tested.event_type) == (OTHER, 204, "video.failed")
    assert listed == ["we_1"]
    assert server.asked[7].query == {"limit": "5", "order": "asc"}


def test_openais_own_calls_are_still_there() -> None:
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        made = client.webhooks.create(name="n", url="https://example.org/hook", event_types=["batch.completed"])
        rotated = client.webhooks.rotate_secret("we_1", keep_old_secret_active_for_24_hours=True)
        raw = client.webhooks.with_raw_response.rotate_secret("we_1")

        assert (made.signing_secret, rotated.signing_secret, raw.parse().id) == (OTHER, OTHER, "we_1")
        assert client.webhooks.event_types.list().data == client.webhooks.event_types()
        assert client.webhooks.unwrap(BODY, signed(BODY), secret=SECRET).id == "evt_1"
    assert [asked.body for asked in server.asked[1:3]] == [{"keep_old_secret_active_for_24_hours": True}, {}]


def test_the_secret_before_stays_unless_it_is_dropped() -> None:
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        assert client.webhooks.rotate_secret().previous_active_until == 1790086400.0
        client.webhooks.rotate_secret(keep_old_secret_active_for_24_hours=False)
        client.webhooks.endpoints.rotate_secret("we_1")

    kept = [asked.body["keep_old_secret_active_for_24_hours"] for asked in server.asked]
    assert kept == [True, False, True]


def test_the_delivery_log_is_read_and_sent_again() -> None:
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        log = client.webhooks.deliveries
        since = datetime(2026, 1, 1, tzinfo=UTC)
        ids = [delivery.id for delivery in log.list(status="failed", since=since, limit=1)]
        attempts = log.retrieve("whd_1").attempts or []
        again = log.redeliver("whd_1")
        count = log.redeliver_since(since, endpoint_id="we_1", delivered_too=True)
        log.redeliver_since(1.5, until=2)

    assert ids == ["whd_1", "whd_2"]
    assert server.asked[0].query == {"status": "failed", "since": "1767225600.0", "limit": "1"}
    assert (attempts[0].status_code, attempts[0].error_code) == (500, "status")
    assert (again.id, count) == ("whd_1", 7)
    assert server.paths()[3] == "POST /v1/webhook_deliveries/whd_1/redeliver"
    assert server.asked[4].body == {"since": 1767225600.0, "endpoint_id": "we_1", "delivered_too": True}
    assert server.asked[5].body == {"since": 1.5, "until": 2}


async def test_an_async_client_does_the_same() -> None:
    with ScriptedServer(Desk()) as server:
        async with AsyncRaincheck(base_url=server.url) as client:
            endpoints, log = client.webhooks.endpoints, client.webhooks.deliveries
            assert (await endpoints.create("https://example.org/hook")).id == "we_1"
            assert (await endpoints.retrieve("we_1")).id == "we_1"
            assert [each.id async for each in endpoints.list()] == ["we_1"]
            await endpoints.enable("we_1")
            await endpoints.disable("we_1")
            assert (await endpoints.rotate_secret("we_1")).signing_secret == OTHER
            assert (await endpoints.test("we_1")).event_type == "chat.completion.completed"
            assert (await endpoints.delete("we_1")).deleted
            assert [each.id async for each in log.list()] == ["whd_1", "whd_2"]
            assert (await log.retrieve("whd_1")).status == "failed"
            assert (await log.redeliver("whd_1")).id == "whd_1"
            assert await log.redeliver_since(1) == 7
            assert await client.webhooks.event_types() == ["batch.completed", "video.completed"]
            assert (await client.webhooks.secret()).signing_secret == SECRET
            assert (await client.webhooks.rotate_secret()).signing_secret == OTHER
            assert (await client.webhooks.rotate_secret("we_1")).id == "we_1"
            assert (await client.webhooks.verify(BODY, signed(BODY))).id == "evt_1"


def test_nothing_that_would_do_harm_twice_is_tried_twice() -> None:
    def failing(_: object) -> Answer:
        return Answer(502, {"error": {"message": "connection refused", "code": "webhook_unreachable"}})

    with ScriptedServer(failing) as server, Raincheck(base_url=server.url) as client:
        with pytest.raises(InternalServerError, match="connection refused") as caught:
            client.webhooks.endpoints.test("we_1")
        with pytest.raises(InternalServerError):
            client.webhooks.rotate_secret()
        with pytest.raises(InternalServerError):
            client.webhooks.endpoints.create("https://example.org")

    assert caught.value.code == "webhook_unreachable"
    assert len(server.asked) == 3


def test_the_secret_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_WEBHOOK_SECRET", OTHER)
    with ScriptedServer(Desk()) as server, Raincheck(base_url=server.url) as client:
        for _ in range(3):
            assert client.webhooks.verify(BODY, signed(BODY)).id == "evt_1"
        for _ in range(3):
            with pytest.raises(WrongSignature):
                client.webhooks.verify(BODY, signed(BODY, OTHER))

    assert server.paths() == ["GET /v1/webhook_secret"]


def test_a_secret_that_was_rotated_is_fetched_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    with ScriptedServer(desk) as server, Raincheck(base_url=server.url) as client:
        assert client.webhooks.verify(BODY, signed(BODY)).id == "evt_1"
        desk.secret = OTHER
        monkeypatch.setattr(resource, "REFETCHED_AFTER", 0.0)
        assert client.webhooks.verify(BODY, signed(BODY, OTHER)).id == "evt_1"

    assert len(server.asked) == 2


async def test_an_async_client_fetches_it_anew_too(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk()
    with ScriptedServer(desk) as server:
        async with AsyncRaincheck(base_url=server.url) as client:
            await client.webhooks.verify(BODY, signed(BODY))
            desk.secret = OTHER
            with pytest.raises(WrongSignature):
                await client.webhooks.verify(BODY, signed(BODY, OTHER))
            monkeypatch.setattr(resource, "REFETCHED_AFTER", 0.0)
            assert (await client.webhooks.verify(BODY, signed(BODY, OTHER))).id == "evt_1"

    assert len(server.asked) == 2


def test_a_secret_at_hand_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with Raincheck(base_url="http://127.0.0.1:1", webhook_secret=SECRET) as client:
        assert client.webhooks.verify(BODY, signed(BODY)).id == "evt_1"
        assert client.with_options(timeout=1).webhooks.verify(BODY, signed(BODY)).id == "evt_1"
        assert client.webhooks.verify(BODY, signed(BODY, OTHER), [OTHER]).id == "evt_1"
    monkeypatch.setenv("RAINCHECK_WEBHOOK_SECRET", OTHER)
    with Raincheck(base_url="http://127.0.0.1:1") as client:
        assert client.webhooks.verify(BODY, signed(BODY, OTHER)).id == "evt_1"


def test_what_to_tell_goes_along_with_any_submit() -> None:
    told: dict[str, Any] = {"webhook_url": "https://example.org/hook", "webhook_events": ("failed", "progress")}
    record = a_record(webhook_events=["failed", "progress"], include_result=True)
    messages: Any = [{"role": "user", "content": "hi"}]
    with ScriptedServer(lambda _: Answer(200, record, VERSION)) as server, Raincheck(base_url=server.url) as client:
        client.chat.completions.defer(model="m", messages=messages, include_result=True, **told)
        client.requests.submit("/embeddings", body={}, include_result=True, **told)
        client.videos.generate(prompt="rain", include_result=True, **told)
        shown = client.requests.retrieve("req_1")

    expected = {"webhook_url": told["webhook_url"], "webhook_events": ["failed", "progress"], "include_result": True}
    assert [asked.body["raincheck"] for asked in server.asked[:3]] == [expected] * 3
    assert (shown.webhook_events, shown.include_result) == (["failed", "progress"], True)


def test_a_batch_can_be_told_of_by_some_of_its_ends() -> None:
    batch: dict[str, Any] = {"id": "batch_1", "object": "batch", "status": "completed", "request_counts": {}}
    told: Any = {"webhook_url": "https://example.org/hook", "webhook_events": ["failed"]}
    with ScriptedServer(lambda _: Answer(200, batch, VERSION)) as server, Raincheck(base_url=server.url) as client:
        client.batches.create_and_wait(input_file_id="file-1", **told)

    assert server.asked[0].body["raincheck"] == told

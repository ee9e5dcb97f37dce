"""What receivers read: made from real records."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest
from msgspec.structs import replace

from raincheck.core.clock import HOUR, SECOND, now
from raincheck.core.events import ENDPOINT_DISABLED, known_types
from raincheck.core.webhooks import Delivery
from raincheck.delivery.keys import new_secret
from raincheck.delivery.message import Messages, event_json, status_of
from raincheck.delivery.sign import signed
from raincheck.store.protocol import Store
from raincheck.store.sqlite import open_store
from tests.store import builders
from tests.store.builders import RETENTION, FakeClock

HAPPENED = 1_790_000_000 * SECOND + 123_456


@asynccontextmanager
async def a_store(folder: Path) -> AsyncGenerator[tuple[Store, FakeClock]]:
    clock = FakeClock()
    async with open_store(folder / "raincheck.db", clock=clock.now, retention=RETENTION) as store:
        yield store, clock


def about(object_id: str, event_type: str = "chat.completion.completed", **changes: Any) -> Delivery:
    plain = Delivery(
        id="whd_1",
        tenant="t",
        event_id="evt_1",
        type=event_type,
        object_id=object_id,
        url="https://example.com/",
        created_at=HAPPENED,
    )
    return replace(plain, **changes)


async def told(store: Store, delivery: Delivery, *, max_result: int = 1000) -> dict[str, Any]:
    """The whole message, as its receiver decodes it."""
    return msgspec.json.decode(await Messages(store.requests, store.batches, max_result).body(delivery))


async def data(store: Store, delivery: Delivery, *, max_result: int = 1000) -> dict[str, Any]:
    return (await told(store, delivery, max_result=max_result))["data"]


async def test_a_message_is_an_event_of_openais_and_of_standard_webhooks(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        message = await told(store, about(await builders.completed(store)))
    assert list(message) == ["object", "id", "type", "created_at", "timestamp", "data"]
    del message["data"]
    assert message == {
        "object": "event",
        "id": "evt_1",
        "type": "chat.completion.completed",
        "created_at": 1_790_000_000,
        "timestamp": "2026-09-21T14:13:20.123Z",
    }


async def test_it_is_thin_and_the_same_at_every_attempt(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        request_id = await builders.completed(store, metadata={"run": "7"})
        assert await data(store, about(request_id)) == {
            "id": request_id,
            "status": "completed",
            "operation": "chat.completion",
            "model": "small",
            "metadata": {"run": "7"},
        }
        messages = Messages(store.requests, store.batches, 0)
        assert await messages.body(about(request_id)) == await messages.body(about(request_id))


async def test_usage_is_told_when_it_is_known(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        lease = await builders.running(store)
        await store.leases.finish([builders.success(lease, usage=b'{"total_tokens":3}')])
        assert (await data(store, about(lease.fence.request_id)))["usage"] == {"total_tokens": 3}


async def test_a_failure_says_why_as_openais_errors_do(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        lease = await builders.running(store)
        await store.leases.finish([builders.failure(lease, message="No.", type="t", code="c", param="p")])
        found = await data(store, about(lease.fence.request_id, "chat.completion.failed", include_result=True))
    assert found["status"] == "failed"
    assert found["error"] == {"message": "No.", "type": "t", "param": "p", "code": "c"}
    assert "result" not in found
    assert "result_omitted" not in found


@pytest.mark.parametrize(
    ("prefix", "ends", "event_type", "code"),
    [
        ("video", "cancel", "video.failed", "cancelled"),
        ("video", "expire", "video.failed", "deadline_exceeded"),
        ("resp", "expire", "response.failed", "deadline_exceeded"),
        ("req", "cancel", "chat.completion.cancelled", "cancelled"),
        ("req", "expire", "chat.completion.expired", "deadline_exceeded"),
    ],
)
async def test_what_did_not_complete_says_why_also_when_its_record_does_not(
    prefix: str, ends: str, event_type: str, code: str, tmp_path: Path
) -> None:
    async with a_store(tmp_path) as (store, clock):
        request_id = f"{prefix}_1"
        await builders.submitted(store, id=request_id, deadline=clock.now() + HOUR)
        if ends == "cancel":
            await store.requests.cancel("t", request_id)
        else:
            clock.advance_to(clock.now() + HOUR)
            await store.upkeep.expire(limit=10)
        found = await data(store, about(request_id, event_type))
    assert (found["error"]["code"], found["error"]["type"]) == (code, "invalid_request_error")
    assert found["error"]["message"].startswith("The ")


async def test_a_deferred_post_to_a_path_batch_is_no_batch(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        request_id = await builders.completed(store, operation="batch", path="/batch")
        found = await data(store, about(request_id, "batch.completed", include_result=True))
    assert (found["id"], found["operation"]) == (request_id, "batch")
    assert "result" in found


async def test_a_moment_before_the_end_is_told_as_it_was_whatever_has_come_since(tmp_path: Path) -> None:
    detail = b'{"progress":0.4,"progress_message":"frame 4 of 10"}'
    async with a_store(tmp_path) as (store, _):
        lease = await builders.running(store)
        await store.leases.finish([builders.failure(lease)])
        delivery = about(lease.fence.request_id, "chat.completion.progress", detail=detail, include_result=True)
        assert await data(store, delivery) == {
            "id": lease.fence.request_id,
            "status": "processing",
            "operation": "chat.completion",
            "model": "small",
            "progress": 0.4,
            "progress_message": "frame 4 of 10",
        }


@pytest.mark.parametrize("max_result", [len(builders.ANSWER), 1000])
async def test_the_result_goes_along_when_it_was_asked_for(max_result: int, tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        delivery = about(await builders.completed(store), include_result=True)
        found = await data(store, delivery, max_result=max_result)
    assert found["result"] == {"choices": [{"text": "hi"}]}
    assert "result_omitted" not in found


async def test_a_result_that_is_too_large_stays_behind(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        delivery = about(await builders.completed(store), include_result=True)
        found = await data(store, delivery, max_result=len(builders.ANSWER) - 1)
    assert found["result_omitted"] == "too_large"
    assert "result" not in found


@pytest.mark.parametrize(("size", "why"), [(2000, "too_large"), (900, "unavailable")])
async def test_a_result_in_the_object_store_is_never_loaded(size: int, why: str, tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        lease = await builders.running(store)
        await store.blobs.expect("results/a", keep_for=HOUR)
        await store.leases.finish([builders.success(lease, b"", blob="results/a", size=size)])
        found = await data(store, about(lease.fence.request_id, include_result=True))
    assert found["result_omitted"] == why


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"hello", "text/plain"),
        (b'{"a":', "application/json"),
        (b'{"a":1}}', "application/json"),
        (b'"\xff"', "application/json"),
        (b"", "application/json"),
        (b"[" * 100_000 + b"]" * 100_000, "application/json"),
    ],
)
async def test_a_result_that_would_break_the_message_stays_behind(
    body: bytes, content_type: str, tmp_path: Path
) -> None:
    async with a_store(tmp_path) as (store, _):
        lease = await builders.running(store)
        await store.leases.finish([builders.success(lease, body, content_type=content_type)])
        found = await data(store, about(lease.fence.request_id, include_result=True), max_result=1 << 20)
    assert found["result_omitted"] == "not_json"


async def test_a_result_that_is_purged_is_told_as_gone(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, clock):
        delivery = about(await builders.completed(store), include_result=True)
        clock.advance_to(clock.now() + RETENTION + 1)
        await store.upkeep.purge(limit=10)
        found = await data(store, delivery)
    assert found["result_omitted"] == "gone"


async def test_of_a_record_that_is_gone_the_name_of_the_event_tells_the_status(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        request_id = await builders.completed(store)
        await store.requests.delete("t", request_id)
        assert await data(store, about(request_id)) == {"id": request_id, "status": "completed"}
        with_result = await data(store, about(request_id, include_result=True))
        assert with_result == {"id": request_id, "status": "completed", "result_omitted": "gone"}
        assert await data(store, about("batch_1", "batch.expired")) == {"id": "batch_1", "status": "expired"}


async def test_another_tenants_record_is_never_told_of(tmp_path: Path) -> None:
    """G8."""
    async with a_store(tmp_path) as (store, _):
        request_id = await builders.completed(store, tenant="other", metadata={"secret": "x"})
        found = await data(store, about(request_id, include_result=True))
    assert found == {"id": request_id, "status": "completed", "result_omitted": "gone"}


async def test_a_batch_is_told_with_its_counts_and_files(tmp_path: Path) -> None:
    async with a_store(tmp_path) as (store, _):
        lease = await builders.fed(store, 2, metadata={"run": "7"})
        for row in await builders.claimed(store, 2):
            await store.leases.finish([builders.success(row)])
        batch = await builders.the(store, lease)
        found = await data(store, about(batch.id, "batch.completed", include_result=True))
    assert found == {
        "id": batch.id,
        "status": "completed",
        "request_counts": {"total": 2, "completed": 2, "failed": 0, "cancelled": 0, "expired": 0},
        "output_file_id": None,
        "error_file_id": None,
        "metadata": {"run": "7"},
    }


async def test_a_disabled_endpoint_is_told_with_what_was_written_down_then(tmp_path: Path) -> None:
    detail = b'{"url":"https://dead.example/","reason":"No attempt has succeeded for 3 days."}'
    async with a_store(tmp_path) as (store, _):
        found = await data(store, about("we_1", ENDPOINT_DISABLED, detail=detail))
    assert found == {
        "id": "we_1",
        "url": "https://dead.example/",
        "reason": "No attempt has succeeded for 3 days.",
    }


@pytest.mark.parametrize(
    ("event_type", "status"),
    [
        ("chat.completion.completed", "completed"),
        ("chat.completion.processing", "processing"),
        ("video.generation.progress", "processing"),
        ("video.generation.expired", "expired"),
        ("video.progress", "in_progress"),
        ("video.failed", "failed"),
        ("response.processing", "in_progress"),
        ("response.incomplete", "incomplete"),
        ("response.cancelled", "cancelled"),
        ("batch.cancelled", "cancelled"),
    ],
)
def test_the_status_is_in_the_words_of_the_api_that_the_events_name_is_from(event_type: str, status: str) -> None:
    assert event_type in known_types()
    assert status_of(event_type) == status


@pytest.mark.parametrize(
    "event_type",
    [
        "batch.completed",
        "response.incomplete",
        "response.progress",
        "video.completed",
        "chat.completion.cancelled",
        "video.generation.expired",
        "audio.speech.completed",
        ENDPOINT_DISABLED,
    ],
)
def test_openais_client_parses_every_kind_of_event(event_type: str) -> None:
    """Must-show 1: what it has no class for, it still reads."""
    secret = new_secret()
    body = event_json("evt_1", event_type, now(), {"id": "req_1", "status": "completed", "result": {"a": 1}})
    headers = signed("evt_1", body, [secret], now=now())
    event: Any = openai.OpenAI(api_key="none").webhooks.unwrap(body.decode(), headers, secret=secret)
    assert (event.type, event.data.id, event.id) == (event_type, "req_1", "evt_1")

"""/v1/batches as the unmodified openai client uses it, sync and async."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from tests.http.batches import CHAT, a_line, batching, jsonl
from tests.scripted import error, text
from tests.server import a_chat


class Details(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: int


class Thought(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: int


class UsageSeen(msgspec.Struct, forbid_unknown_fields=True):
    input_tokens: int
    input_tokens_details: Details
    output_tokens: int
    output_tokens_details: Thought
    total_tokens: int


class CountsSeen(msgspec.Struct, forbid_unknown_fields=True):
    total: int
    completed: int
    failed: int
    cancelled: int
    expired: int


class Ours(msgspec.Struct, forbid_unknown_fields=True):
    fed: int
    pending: int
    priority: str
    cost_in_usd_ticks: int
    webhook_url: str | None
    webhook_events: list[str]


class BatchSeen(msgspec.Struct, forbid_unknown_fields=True):
    """Every member is required, and no other may be there."""

    id: str
    object: str
    endpoint: str
    model: str | None
    errors: dict[str, Any] | None
    input_file_id: str
    completion_window: str
    status: str
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    in_progress_at: int | None
    expires_at: int
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: CountsSeen
    usage: UsageSeen
    metadata: dict[str, str]
    raincheck: Ours


async def test_the_client_uploads_creates_polls_and_downloads(tmp_path: Path) -> None:
    async with batching(tmp_path) as server, openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
        content = jsonl([a_line(f"row-{n}") for n in range(5)])
        file = await client.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id,
            endpoint=CHAT,
            completion_window="24h",
            metadata={"team": "blue"},
            output_expires_after={"anchor": "created_at", "seconds": 7200},
        )
        assert batch.id.startswith("batch_")
        assert batch.status in ("validating", "in_progress")
        assert batch.expires_at == batch.created_at + 24 * 3600
        while batch.status not in ("completed", "failed"):
            batch = await client.with_options(default_headers={"prefer": "wait=5"}).batches.retrieve(batch.id)

        assert (batch.status, batch.errors, batch.error_file_id, batch.model) == ("completed", None, None, "m")
        assert batch.request_counts is not None
        assert batch.request_counts.model_dump(include={"total", "completed", "failed"}) == {
            "total": 5,
            "completed": 5,
            "failed": 0,
        }
        assert batch.usage is not None
        assert batch.usage.total_tokens > 0
        assert batch.usage.total_tokens == batch.usage.input_tokens + batch.usage.output_tokens
        assert batch.metadata == {"team": "blue"}
        assert batch.output_file_id is not None
        content = (await client.files.content(batch.output_file_id)).text
        told = [msgspec.json.decode(line) for line in content.splitlines()]
        assert [line["custom_id"] for line in told] == [f"row-{n}" for n in range(5)]
        assert all(set(line) == {"id", "custom_id", "response", "error"} for line in told)
        assert told[0]["response"]["body"]["object"] == "chat.completion"
        made = await client.files.retrieve(batch.output_file_id)
        assert (made.purpose, made.filename) == ("batch_output", f"{batch.id}_output.jsonl")
        assert made.expires_at == made.created_at + 7200
        assert [each.id async for each in await client.batches.list()] == [batch.id]
        reply = await server.get(f"/v1/batches/{batch.id}")
        msgspec.json.decode(reply.body, type=BatchSeen)


async def test_lines_that_fail_are_in_the_error_file(tmp_path: Path) -> None:
    async with batching(tmp_path) as server, openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
        server.upstream.always(error(400, "no such thing", "bad_prompt"))
        file = await client.files.create(file=("in.jsonl", jsonl([a_line("a")])), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        while batch.status != "completed":
            batch = await client.with_options(default_headers={"prefer": "wait=5"}).batches.retrieve(batch.id)

        assert batch.output_file_id is None
        assert batch.error_file_id is not None
        [line] = (await client.files.content(batch.error_file_id)).text.splitlines()
        told = msgspec.json.decode(line)
        assert (told["custom_id"], told["error"], told["response"]["status_code"]) == ("a", None, 400)
        assert "no such thing" in told["response"]["body"]["error"]["message"]


async def test_a_bad_file_is_told_line_by_line(tmp_path: Path) -> None:
    async with batching(tmp_path) as server, openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
        lines = jsonl([a_line("a")]) + b"{broken\n" + jsonl([a_line("a"), a_line("c", body=a_chat(model="nobody"))])
        file = await client.files.create(file=("in.jsonl", lines), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        while batch.status != "failed":
            batch = await client.with_options(default_headers={"prefer": "wait=5"}).batches.retrieve(batch.id)

        assert batch.failed_at is not None
        assert batch.errors is not None
        assert batch.errors.data is not None
        assert [each.line for each in batch.errors.data] == [2, 3, 4]
        assert all(each.code and each.message for each in batch.errors.data)
        assert server.upstream.count == 0


async def test_a_cancelled_batch_keeps_what_is_done_and_cancels_again(tmp_path: Path) -> None:
    async with (
        batching(tmp_path, places=1) as server,
        openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as client,
    ):
        done, held = text("yes"), text("no", before=asyncio.Event())
        server.upstream.script(done)
        server.upstream.always(held)
        file = await client.files.create(file=("in.jsonl", jsonl([a_line(f"{n}") for n in range(4)])), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        await server.upstream.received(2)

        cancelling = await client.batches.cancel(batch.id)
        assert cancelling.status in ("cancelling", "cancelled")
        assert cancelling.cancelling_at is not None
        while batch.status != "cancelled":
            batch = await client.with_options(default_headers={"prefer": "wait=5"}).batches.retrieve(batch.id)
        assert (await client.batches.cancel(batch.id)).id == batch.id

        assert batch.cancelled_at is not None
        assert batch.output_file_id is not None
        assert batch.error_file_id is not None
        output = (await client.files.content(batch.output_file_id)).text.splitlines()
        errors = (await client.files.content(batch.error_file_id)).text.splitlines()
        assert (len(output), len(errors)) == (1, 3)
        assert {msgspec.json.decode(line)["error"]["code"] for line in errors} == {"batch_cancelled"}


async def test_a_finished_batch_cannot_be_cancelled_and_that_is_not_tried_again(tmp_path: Path) -> None:
    async with batching(tmp_path) as server, openai.AsyncOpenAI(base_url=server.base_url, api_key="any") as client:
        file = await client.files.create(file=("in.jsonl", jsonl([a_line("a")])), purpose="batch")
        batch = await client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        await server.get(f"/v1/batches/{batch.id}?wait=10")

        with pytest.raises(openai.ConflictError) as caught:
            await client.batches.cancel(batch.id)
        assert caught.value.response.headers["x-should-retry"] == "false"


def use_blocking(base_url: str) -> list[str]:
    with openai.OpenAI(base_url=base_url, api_key="any") as client:
        file = client.files.create(file=("in.jsonl", jsonl([a_line("a"), a_line("b")])), purpose="batch")
        made = [
            client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window=window)  # pyright: ignore[reportArgumentType]
            for window in ("24h", "1h", "7d")
        ]
        batch = made[0]
        while batch.status != "completed":
            batch = client.with_options(default_headers={"prefer": "wait=5"}).batches.retrieve(batch.id)
        assert batch.output_file_id is not None
        assert len(client.files.content(batch.output_file_id).text.splitlines()) == 2
        newest_first = [each.id for each in client.batches.list(limit=2)]
        assert newest_first == [each.id for each in reversed(made)]
        with pytest.raises(openai.NotFoundError):
            client.batches.retrieve("batch_none")
        with pytest.raises(openai.NotFoundError):
            client.batches.create(input_file_id="file_none", endpoint=CHAT, completion_window="24h")
        return newest_first


async def test_the_blocking_client_does_too(tmp_path: Path) -> None:
    async with batching(tmp_path) as server:
        assert len(await asyncio.to_thread(use_blocking, server.base_url)) == 3

"""Calls of batches whose answer is lost, so that the SDK's gRPC library sends them again by itself."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from raincheck.core.batches import Batch, NewPart
from raincheck.core.model import LOCAL_TENANT
from raincheck.intake.batches.adding import INLINE
from tests.grpc.batches import a_chat, an_open_batch, batching, done
from tests.grpc.cutting import cutting
from tests.grpc.server import RunningGrpc


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningGrpc]:
    async with batching(tmp_path) as running:
        yield running


def has(server: RunningGrpc, batch_id: str, requests: int) -> Callable[[], Awaitable[bool]]:
    """Whether the batch has so many by now."""

    async def look() -> bool:
        batch = await server.http.edge.store.batches.get(LOCAL_TENANT, batch_id)
        return batch.counts.total >= requests

    return look


async def test_a_creation_whose_answer_was_lost_made_one_batch(server: RunningGrpc) -> None:
    """G9: and the same name on purpose makes another."""
    batches = server.http.edge.store.batches

    async def made() -> bool:
        return bool((await batches.list(LOCAL_TENANT)).batches)

    async with cutting(server, made) as broken:
        client = broken.client()
        batch = await client.batch.create("n")
        [only] = (await batches.list(LOCAL_TENANT)).batches
        assert batch.batch_id == only.id
        assert (await client.batch.create("n")).batch_id != only.id


@pytest.mark.parametrize("name", [None, "mine"])
async def test_an_addition_whose_answer_was_lost_added_once(server: RunningGrpc, name: str | None) -> None:
    """G9: whether the ids are made up here or not."""
    batch_id = await an_open_batch(server.client())
    async with cutting(server, has(server, batch_id, 1)) as broken:
        client = broken.client()
        await client.batch.add(batch_id, [a_chat(client, "hello", name)])
        assert (await client.batch.get(batch_id)).state.num_requests == 1
    assert (await done(server.client(), batch_id)).state.num_success == 1
    assert len(server.upstream.requests) == 1


async def test_who_hangs_up_while_lines_are_added_leaves_nothing_behind(server: RunningGrpc) -> None:
    batch_id = await an_open_batch(server.client())
    recording, dropped = asyncio.Event(), asyncio.Event()
    store = server.http.edge.store
    expect = store.blobs.expect

    async def stuck(tenant: str, batch_id: str, part: NewPart) -> Batch:
        del tenant, batch_id, part
        recording.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def noticed(name: str, *, keep_for: int) -> None:
        await expect(name, keep_for=keep_for)
        if not keep_for:
            dropped.set()

    store.batches.add, store.blobs.expect = stuck, noticed
    client = server.client()
    call = asyncio.ensure_future(client.batch.add(batch_id, [a_chat(client, "x" * 2 * INLINE)]))
    await recording.wait()
    call.cancel()
    async with asyncio.timeout(5):
        await dropped.wait()


async def test_the_blocking_client_adds_once_too(server: RunningGrpc) -> None:
    """G9."""
    batch_id = await an_open_batch(server.client())
    async with cutting(server, has(server, batch_id, 2)) as broken:
        client = broken.sync_client()
        await asyncio.to_thread(client.batch.add, batch_id, [a_chat(client), a_chat(client)])
    assert (await server.client().batch.get(batch_id)).state.num_requests == 2


async def test_equal_additions_on_purpose_are_two_also_when_the_answer_to_the_second_was_lost(
    server: RunningGrpc,
) -> None:
    """G9."""
    client = server.client()
    batch_id = await an_open_batch(client)
    await client.batch.add(batch_id, [a_chat(client)])
    async with cutting(server, has(server, batch_id, 2)) as broken:
        await broken.client().batch.add(batch_id, [a_chat(client)])
    assert (await client.batch.get(batch_id)).state.num_requests == 2

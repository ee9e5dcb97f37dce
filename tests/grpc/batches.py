"""What tests of batches over gRPC share: the whole server with an object store, chats, and waiting for the end."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from xai_sdk import AsyncClient
from xai_sdk.chat import user

from raincheck.grpc.protos import batch_pb2, chat_pb2
from tests.grpc.server import RunningGrpc, running_grpc


@asynccontextmanager
async def batching(folder: Path, **settings: Any) -> AsyncGenerator[RunningGrpc]:
    async with running_grpc(folder, blobs_url=(folder / "blobs").as_uri(), **settings) as server:
        yield server


def a_chat(client: Any, text: str = "hello", name: str | None = None, *, model: str = "m", **options: Any) -> Any:
    """A chat as the SDK's users make it, which `client.batch.add` takes; with either of its clients."""
    return client.chat.create(model=model, messages=[user(text)], batch_request_id=name, **options)


def a_request(text: str = "hello", name: str | None = None) -> batch_pb2.BatchRequest:
    """The same without the SDK."""
    content = [chat_pb2.Content(text=text)]
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)
    asked = chat_pb2.GetCompletionsRequest(model="m", messages=[message])
    return batch_pb2.BatchRequest(batch_request_id=name, completion_request=asked)


def adding(batch_id: str, *requests: batch_pb2.BatchRequest) -> batch_pb2.AddBatchRequestsRequest:
    return batch_pb2.AddBatchRequestsRequest(batch_id=batch_id, batch_requests=requests)


async def an_open_batch(client: AsyncClient, *texts: str) -> str:
    """The id of a batch of chats, each named by its text."""
    batch = await client.batch.create("tests")
    if texts:
        await client.batch.add(batch.batch_id, [a_chat(client, text, text) for text in texts])
    return batch.batch_id


async def done(client: AsyncClient, batch_id: str, patience: float = 20) -> batch_pb2.Batch:
    """The batch once nothing of it is pending, polled as its users do."""
    async with asyncio.timeout(patience):
        while True:
            batch = await client.batch.get(batch_id)
            if batch.state.num_requests and not batch.state.num_pending:
                return batch
            await asyncio.sleep(0.02)


def counts(batch: batch_pb2.Batch) -> Sequence[int]:
    """Requests: pending, succeeded, failed, cancelled."""
    state = batch.state
    return (state.num_pending, state.num_success, state.num_error, state.num_cancelled)

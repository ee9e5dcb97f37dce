"""Keys by metadata: who may call, and `client.auth` of the real xai-sdk."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from xai_sdk.proto import auth_pb2, files_pb2, models_pb2

from raincheck.intake import gate
from tests.grpc.server import RunningGrpc, reason_of, running_grpc

WRITES = (("Files/DeleteFile", files_pb2.DeleteFileRequest(file_id="f"), files_pb2.DeleteFileResponse),)
READS = (
    ("Files/ListFiles", files_pb2.ListFilesRequest(), files_pb2.ListFilesResponse),
    ("Files/RetrieveFile", files_pb2.RetrieveFileRequest(file_id="f"), files_pb2.File),
    ("Models/ListLanguageModels", Empty(), models_pb2.ListLanguageModelsResponse),
    ("Models/ListEmbeddingModels", Empty(), models_pb2.ListEmbeddingModelsResponse),
    ("Models/ListImageGenerationModels", Empty(), models_pb2.ListImageGenerationModelsResponse),
    ("Models/GetLanguageModel", models_pb2.GetModelRequest(name="m"), models_pb2.LanguageModel),
)


async def refused(
    server: RunningGrpc, method: str, message: Any, answer: type[Any], key: str | None
) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await server.call(method, message, answer, key=key)
    return caught.value.code()


async def test_an_open_server_says_that_it_is(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        key = await server.client("anything").auth.get_api_key_info()
        assert "open server" in key.name
        assert (key.team_id, list(key.acls), key.api_key_id) == ("default", ["read", "write"], "")
        assert not key.api_key_blocked
        assert not key.disabled


async def test_a_key_tells_what_it_is_but_not_itself(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        secret = await server.http.key("acme", "read")
        key = await server.client(secret).auth.get_api_key_info()
        assert (key.name, key.team_id, list(key.acls), key.user_id) == ("test", "acme", ["read"], "")
        assert key.redacted_api_key == f"{secret[:8]}…"
        assert key.api_key_id.startswith("key_")
        assert key.create_time.seconds > 1_700_000_000
        assert secret not in str(key)
        blocking = server.sync_client(secret)
        assert await asyncio.to_thread(blocking.auth.get_api_key_info) == key


async def test_without_a_good_key_nothing_is_answered(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        await server.http.key()
        for method, message, answer in (*WRITES, *READS, ("Auth/get_api_key_info", Empty(), auth_pb2.ApiKey)):
            assert await refused(server, method, message, answer, None) is grpc.StatusCode.UNAUTHENTICATED
            assert await refused(server, method, message, answer, "wrong") is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.client("wrong").models.list_language_models()
        assert reason_of(caught.value)[0] == "api_key_invalid"


async def test_a_revoked_key_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "TRUST_FOR", 0)
    async with running_grpc(tmp_path) as server:
        client = server.client(await server.http.key())
        key = await client.auth.get_api_key_info()
        await server.http.edge.store.registry.revoke_key(key.api_key_id)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.auth.get_api_key_info()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_key_does_only_what_its_scopes_allow(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        reader, writer = await server.http.key("t", "read"), await server.http.key("t", "write")
        for method, message, answer in WRITES:
            assert await refused(server, method, message, answer, reader) is grpc.StatusCode.PERMISSION_DENIED
            assert await refused(server, method, message, answer, writer) is grpc.StatusCode.NOT_FOUND
        for method, message, answer in READS:
            assert await refused(server, method, message, answer, writer) is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.client(reader).files.upload(b"x", filename="x")
        assert (caught.value.code(), reason_of(caught.value)[0]) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "scope_missing",
        )


async def test_a_message_is_only_taken_in_from_those_who_may_call(tmp_path: Path) -> None:
    """Else anyone could fill the memory: what is no message at all is not even looked at."""
    async with running_grpc(tmp_path) as server:
        await server.http.key()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as opened:
            channel: Any = opened
            for method in ("Models/GetLanguageModel", "Files/RetrieveFileContent"):
                ask = channel.unary_unary(f"/xai_api.{method}")
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ask(b"\xff" * 64)
                assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_upload_that_the_sdk_sends_without_its_key_says_why(tmp_path: Path) -> None:
    async with running_grpc(tmp_path) as server:
        secret = await server.http.key()
        client = server.client(secret, use_insecure_channel=True)
        assert (await client.auth.get_api_key_info()).name == "test"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.files.upload(b"x", filename="x")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "use_insecure_channel" in (caught.value.details() or "")
        assert reason_of(caught.value)[0] == "api_key_missing"

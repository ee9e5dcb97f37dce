"""TLS on the gRPC port."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from xai_sdk.proto import auth_pb2

from raincheck.app import grpc_edge
from raincheck.core.errors import SettingsInvalid
from raincheck.grpc.server import listening
from tests.grpc.certificates import a_certificate
from tests.grpc.server import running_grpc
from tests.server import running_server
from tests.stories.processes import free_port

SDK = """
import sys
from xai_sdk import Client
client = Client(api_key=sys.argv[2], api_host=sys.argv[1])
print(client.auth.get_api_key_info().name, client.files.upload(b"abc", filename="x").size)
"""


@pytest.mark.slow("starts an interpreter that imports the SDK")
async def test_the_sdk_speaks_tls_and_its_uploads_have_the_key(tmp_path: Path) -> None:
    cert, key = a_certificate(tmp_path)
    options = {"grpc_cert": str(cert), "grpc_key": str(key), "blobs_url": (tmp_path / "blobs").as_uri()}
    async with running_grpc(tmp_path, **options) as server:
        secret = await server.http.key()
        told = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", SDK, f"127.0.0.1:{server.port}", secret),
            env={**os.environ, "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(cert)},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await told.communicate()
        assert (told.returncode, out) == (0, b"test 3\n")


async def test_only_who_trusts_the_certificate_gets_an_answer(tmp_path: Path) -> None:
    cert, key = a_certificate(tmp_path)
    async with running_grpc(tmp_path, grpc_cert=str(cert), grpc_key=str(key)) as server:

        async def told(channel: Any) -> str:
            ask = channel.unary_unary("/xai_api.Auth/get_api_key_info", None, auth_pb2.ApiKey.FromString)
            async with channel:
                return (await ask(Empty().SerializeToString())).name

        place = f"127.0.0.1:{server.port}"
        trusting = grpc.ssl_channel_credentials(root_certificates=cert.read_bytes())
        assert "open server" in await told(grpc.aio.secure_channel(place, trusting))
        for channel in (
            grpc.aio.insecure_channel(place),
            grpc.aio.secure_channel(place, grpc.ssl_channel_credentials()),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await told(channel)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("wrong", ["missing", "no pem", "another key", "locked key"])
async def test_a_pair_of_files_that_is_no_good_is_said(tmp_path: Path, wrong: str) -> None:
    cert, key = a_certificate(tmp_path, password=b"x" if wrong == "locked key" else None)
    match wrong:
        case "missing":
            cert.unlink()
        case "no pem":
            cert.write_text("hello")
        case "another key":
            (tmp_path / "other").mkdir()
            _, key = a_certificate(tmp_path / "other")
        case _:
            pass
    async with running_server(tmp_path, grpc_port=free_port(), grpc_cert=str(cert), grpc_key=str(key)) as http:
        with pytest.raises(SettingsInvalid, match=r"cert\.pem"):
            async with listening(grpc_edge(http.edge), http.edge.settings):
                pass

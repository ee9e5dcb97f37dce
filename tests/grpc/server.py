"""A whole Raincheck with a gRPC port, and the real xai-sdk connected to it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from xai_sdk import AsyncClient, Client

from raincheck.app import grpc_edge
from raincheck.grpc.methods import Message
from raincheck.grpc.server import listening
from tests.scripted import ScriptedUpstream
from tests.server import Running, running_server


@dataclass(frozen=True)
class RunningGrpc:
    """A server on both ports."""

    http: Running
    port: int
    clients: list[AsyncClient] = field(default_factory=list[AsyncClient])
    blocking: list[Client] = field(default_factory=list[Client])

    @property
    def upstream(self) -> ScriptedUpstream:
        return self.http.upstream

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def client(self, key: str = "none", **options: Any) -> AsyncClient:
        """The SDK's asynchronous client, as its users make it."""
        self.clients.append(AsyncClient(api_key=key, api_host=self.host, **options))
        return self.clients[-1]

    def sync_client(self, key: str = "none", **options: Any) -> Client:
        """The blocking one: to be used in a thread (`asyncio.to_thread`), as the server runs in this loop."""
        self.blocking.append(Client(api_key=key, api_host=self.host, **options))
        return self.blocking[-1]

    async def call(
        self, method: str, message: Message, answer: type[Any], *, key: str | None = None, **metadata: str
    ) -> Any:
        """One call without the SDK around it: `call("Chat/GetCompletion", request, chat_pb2.GetChat…)`; names of
        metadata with `_` for `-`."""
        told = [(name.replace("_", "-"), value) for name, value in metadata.items()]
        told += [] if key is None else [("authorization", f"Bearer {key}")]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            open_method: Any = channel.unary_unary
            ask = open_method(
                f"/xai_api.{method}",
                request_serializer=type(message).SerializeToString,
                response_deserializer=answer.FromString,
            )
            return await ask(message, metadata=told)


@asynccontextmanager
async def running_grpc(folder: Path, **settings: Any) -> AsyncGenerator[RunningGrpc]:
    """`running_server`, with the gRPC port beside it."""
    async with running_server(folder, **settings) as http:
        edge = replace(grpc_edge(http.edge), settings=replace(http.edge.settings, port=http.port, grpc_port=0))
        async with listening(edge, edge.settings) as port:
            running = RunningGrpc(http, port)
            try:
                yield running
            finally:
                for client in running.clients:
                    await client.close()
                for client in running.blocking:
                    client.close()


def reason_of(error: grpc.RpcError) -> tuple[str, Mapping[str, str]]:
    """Our error code and what stands beside it, out of a status's details."""
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    trailing: Any = error.trailing_metadata()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    [details] = [value for name, value in trailing if name == "grpc-status-details-bin"]
    info = ErrorInfo()
    Status.FromString(details).details[0].Unpack(info)
    return info.reason, dict(info.metadata)

"""Takes the Edge and the settings, hands on the gRPC server on its port."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio

from raincheck.core.configuration import tls_problem
from raincheck.core.errors import SettingsInvalid
from raincheck.core.settings import Settings
from raincheck.grpc import auth, files, models, videos
from raincheck.grpc.batches import service as batches
from raincheck.grpc.chat import service as chat
from raincheck.grpc.edge import Edge
from raincheck.grpc.methods import Handlers, Methods
from raincheck.grpc.problems import LARGEST

METHODS: Methods = {
    **chat.METHODS,
    **videos.METHODS,
    **batches.METHODS,
    **files.METHODS,
    **models.METHODS,
    **auth.METHODS,
}
CLOSE_WITHIN = 3.0
"""Seconds that calls get to end when the port closes: the work behind them has had its own time by then."""
CUT_WITHIN = 1.0
"""Seconds more, for those that do not to be told that they are cut."""
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", LARGEST),
    ("grpc.max_send_message_length", LARGEST),
    # The SDK pings every 30 s, also during a call. By default that is taken for an attack after some two minutes, the
    # connection is cut, and the SDK sends the call again: a second inference.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A caller whose machine or network is gone says nothing more: who does not answer a ping gives back its place.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A port that is taken is an error, not shared.
    ("grpc.so_reuseport", 0),
)


@asynccontextmanager
async def listening(edge: Edge, settings: Settings) -> AsyncGenerator[int]:
    """Answer calls while it is entered, on the port that this gives. Raises SettingsInvalid when it is taken or a PEM
    file is no good."""
    server = grpc.aio.server(options=OPTIONS)
    handlers = Handlers(METHODS, edge)
    server.add_generic_rpc_handlers((handlers,))
    port = _bind(server, settings)
    try:
        await server.start()
        yield port
    finally:
        cut = asyncio.get_running_loop().call_later(CLOSE_WITHIN, handlers.cut)
        await server.stop(CLOSE_WITHIN + CUT_WITHIN)
        cut.cancel()


def _bind(server: grpc.aio.Server, settings: Settings) -> int:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    credentials = _credentials(settings)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise SettingsInvalid(
            f"Cannot listen on {address} for gRPC. Stop what uses it, or choose another port with --grpc-port."
        ) from error


def _credentials(settings: Settings) -> grpc.ServerCredentials | None:
    if settings.grpc_cert is None or settings.grpc_key is None:
        return None
    if (problem := tls_problem(settings)) is not None:
        raise SettingsInvalid(f"{problem}.")
    key, chain = Path(settings.grpc_key).read_bytes(), Path(settings.grpc_cert).read_bytes()
    return grpc.ssl_server_credentials([(key, chain)])

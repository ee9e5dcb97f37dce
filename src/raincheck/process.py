"""Takes settings, runs one process until it is told to stop: signals, the listener, the interpreter's own settings."""

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial

from litestar import Litestar

from raincheck import telemetry
from raincheck.app import App, Role, grpc_edge, running
from raincheck.core.settings import Settings, is_postgresql
from raincheck.http.app import create_app, create_probes
from raincheck.http.edge import Edge
from raincheck.http.server import Server, listen, serve_config


def serve(
    settings: Settings,
    role: Role = Role.SERVER,
    *,
    on_ready: Callable[[App], None] = lambda _: None,
    on_pull: Callable[[int, int], None] | None = None,
) -> int:
    """Run the server until SIGTERM or SIGINT; returns the exit code. Raises RaincheckError when it cannot start."""
    telemetry.configure_logs(settings.log_level)
    with listen(settings) as listener:
        if settings.grpc_port is not None:
            # Bound for a moment only, to say of this port too that it is taken before anything slow starts.
            with listen(replace(settings, port=settings.grpc_port), flag="--grpc-port"):
                pass
        listening = partial(_listening, listener, create_app)
        return _run(_stay(running(settings, role, on_pull=on_pull), listening, on_ready))


def work(
    settings: Settings,
    *,
    port: int | None = None,
    on_ready: Callable[[App], None] = lambda _: None,
    on_pull: Callable[[int, int], None] | None = None,
) -> int:
    """Run a worker until SIGTERM or SIGINT; with a `port`, it answers there how it is. Else as `serve`."""
    telemetry.configure_logs(settings.log_level)
    if port is None:
        return _run(_stay(running(settings, Role.WORKER, on_pull=on_pull), _deaf, on_ready))
    settings = replace(settings, port=port)
    with listen(settings) as listener:
        listening = partial(_listening, listener, create_probes)
        return _run(_stay(running(settings, Role.WORKER, on_pull=on_pull), listening, on_ready))


def _run(stay: Coroutine[None, None, int]) -> int:
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(stay)


Listening = Callable[[App], AbstractAsyncContextManager[asyncio.Future[None]]]
"""Answers calls while it is entered; the future is done when that ends by itself."""


async def _stay(
    starting: AbstractAsyncContextManager[App], listening: Listening, on_ready: Callable[[App], None]
) -> int:
    async with starting as app, _grpc(app), listening(app) as cut_off:
        asked_to_stop = asyncio.create_task(_signals(app).wait())
        on_ready(app)
        _say_started(app)
        _settle_down()
        await asyncio.wait([cut_off, asked_to_stop], return_when="FIRST_COMPLETED")
        # Reads go on while running work finishes; only then the listener closes.
        telemetry.stopping(len(app.dispatcher.running))
        await app.stop()
    telemetry.stopped()
    return 0


@asynccontextmanager
async def _listening(
    listener: socket.socket, create: Callable[[Edge], Litestar], app: App
) -> AsyncGenerator[asyncio.Future[None]]:
    server = Server(serve_config(create(app.edge), app.settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield serving
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def _grpc(app: App) -> AsyncGenerator[None]:
    """Answers the xai-sdk, where a port was named for that."""
    if app.role is Role.WORKER or app.settings.grpc_port is None:
        yield
        return
    # Its packages are an extra, and take most of a second to import.
    from raincheck.grpc.server import listening

    async with listening(grpc_edge(app.edge), app.settings):
        yield


@asynccontextmanager
async def _deaf(_: App) -> AsyncGenerator[asyncio.Future[None]]:
    """A worker that nobody asks anything."""
    yield asyncio.get_running_loop().create_future()


def _say_started(app: App) -> None:
    upstreams = [member.name for member in app.catalogue.members]
    if app.role is Role.WORKER:
        telemetry.working(app.dispatcher.worker, upstreams)
        return
    telemetry.started(app.settings.host, app.settings.port, app.settings.grpc_port, upstreams)
    if not app.role.works and not is_postgresql(app.settings.store_url):
        telemetry.nobody_works()


def _settle_down() -> None:
    """Set the interpreter up for a long run of many short tasks (decision 0002 has the numbers)."""
    # What is there now, mostly code and tables, stays: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    # A busy second makes many short-lived objects and hardly a cycle, so looking for cycles less often loses nothing.
    gc.set_threshold(50_000, 20, 100)
    # A commit's thread that comes back from the disk waits a whole interval for a busy event loop to let it go on.
    sys.setswitchinterval(0.0005)


def _signals(app: App) -> asyncio.Event:
    """Set on the first SIGTERM or SIGINT; a second one cuts the grace period short."""
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            app.dispatcher.give_up()
            app.postman.give_up()
        asked.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return asked


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # There is no uvloop for Windows.
        return None
    return uvloop.new_event_loop

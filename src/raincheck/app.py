"""Builds everything once and says in which order it starts and stops; the only place that names a concrete store."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import uvicorn

from raincheck import telemetry
from raincheck.core.clock import SECOND, now
from raincheck.core.errors import SettingsInvalid
from raincheck.core.settings import (
    LOCAL_CONCURRENCY,
    Settings,
    UpstreamSettings,
    bind_problem,
    is_loopback,
    sqlite_path,
)
from raincheck.dispatch.capacity import Capacity
from raincheck.dispatch.loop import Dispatcher
from raincheck.dispatch.relay import Relay
from raincheck.http.app import create_app
from raincheck.http.edge import Edge
from raincheck.http.server import serve_config
from raincheck.intake.gate import Gate
from raincheck.live import Live
from raincheck.store.protocol import Change, Store
from raincheck.store.sqlite import open_store
from raincheck.upkeep.loop import Caretaker
from raincheck.upstream.build import build
from raincheck.upstream.catalogue import Catalogue, Member

PROBE_TICK = 0.5
GAUGES_EVERY = 5.0
HTTP_GRACE = 3.0
"""Seconds open connections (long-polls, streams) get to end after the work has stopped."""


@dataclass(frozen=True, slots=True)
class App:
    """Everything that runs in one process."""

    settings: Settings
    store: Store
    catalogue: Catalogue
    dispatcher: Dispatcher
    edge: Edge
    stopping: asyncio.Event


@asynccontextmanager
async def running(settings: Settings, *, on_pull: Callable[[int, int], None] | None = None) -> AsyncGenerator[App]:
    """Build and start everything but the HTTP listener; on leaving, stop in the reverse order.

    `on_pull(done, total)` hears of the embedded model's bytes while they are fetched. Raises RaincheckError when the
    settings, the store or an upstream make it impossible.
    """
    metrics = telemetry.Metrics()
    live = Live()
    async with AsyncExitStack() as stack:
        path = sqlite_path(settings.store_url)
        raw_store = await stack.enter_async_context(open_store(path, clock=now, retention=settings.retention))
        store = telemetry.observe(raw_store, metrics)
        for queue, cap in settings.queue_limits.items():
            await store.registry.set_queue(queue, max_concurrency=cap)
        members = [await _start(each, stack, metrics, on_pull) for each in _upstreams(settings)]
        catalogue = Catalogue(members, now)
        await catalogue.refresh()
        capacity = Capacity(catalogue)
        dispatcher = Dispatcher(
            leases=store.leases,
            catalogue=catalogue,
            capacity=capacity,
            live=live,
            worker=f"{socket.gethostname()}-{os.getpid()}",
            lease_for=settings.lease,
            clock=now,
        )
        capacity.on_free = dispatcher.wake
        stopping = asyncio.Event()
        edge = Edge(
            store=store,
            catalogue=catalogue,
            live=live,
            relay=Relay(catalogue, capacity),
            gate=Gate(store.registry, now, loopback=is_loopback(settings.host)),
            settings=settings,
            clock=now,
            version=version("raincheck"),
            stopping=stopping.is_set,
            metrics=metrics.page,
            crashed=telemetry.crashed,
        )
        stack.callback(store.changes.listen(partial(_spread, dispatcher, live)))
        tasks = [dispatcher.run(), Caretaker(store.upkeep).run(), _probe(catalogue, capacity), _measure(store, metrics)]
        try:
            async with asyncio.TaskGroup() as loops:
                started = [loops.create_task(task) for task in tasks]
                try:
                    yield App(settings, store, catalogue, dispatcher, edge, stopping)
                finally:
                    stopping.set()
                    await dispatcher.close(settings.grace / SECOND)
                    for task in started:
                        task.cancel()
        except BaseExceptionGroup as group:
            # One thing went wrong, and that is what the caller is to hear of; the group is only how it travelled.
            raise group.exceptions[0] from group.exceptions[0].__cause__


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[App], None] = lambda _: None,
    on_pull: Callable[[int, int], None] | None = None,
    log_level: str = "info",
) -> int:
    """Run the server until SIGTERM or SIGINT; returns the exit code. Raises RaincheckError when it cannot start."""
    telemetry.configure_logs(log_level)
    with _listen(settings) as listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, listener, on_ready, on_pull))


async def _serve(
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[App], None],
    on_pull: Callable[[int, int], None] | None,
) -> int:
    async with running(settings, on_pull=on_pull) as app:
        if (problem := bind_problem(settings, has_keys=bool(await app.store.registry.keys()))) is not None:
            raise SettingsInvalid(problem)
        server = _Server(serve_config(create_app(app.edge), settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        asked_to_stop = _signals(app)
        on_ready(app)
        await asyncio.wait({serving, asyncio.create_task(asked_to_stop.wait())}, return_when="FIRST_COMPLETED")
        # Reads go on while running attempts finish; only then the listener closes and long-polls are let go.
        app.stopping.set()
        telemetry.log.info("server.stopping", running=len(app.dispatcher.running))
        await app.dispatcher.close(settings.grace / SECOND)
        server.should_exit = True
        await serving
    telemetry.log.info("server.stopped")
    return 0


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: stopping has an order here, and the listener comes last."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _signals(app: App) -> asyncio.Event:
    """Set on the first SIGTERM or SIGINT; a second one cuts the grace period short."""
    asked = asyncio.Event()

    def on_signal() -> None:
        if asked.is_set():
            app.dispatcher.give_up()
        asked.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return asked


@contextmanager
def _listen(settings: Settings) -> Generator[socket.socket]:
    """The listening socket, bound before anything slow starts, so that a taken port is said at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            raise SettingsInvalid(
                f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. "
                "Stop what uses it, or choose another with --port."
            ) from error
        listener.listen(2048)
        listener.setblocking(False)
        yield listener


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # There is no uvloop for Windows.
        return None
    return uvloop.new_event_loop


def _upstreams(settings: Settings) -> tuple[UpstreamSettings, ...]:
    return settings.upstreams or (UpstreamSettings(name="local", kind="local", max_concurrency=LOCAL_CONCURRENCY),)


async def _start(
    settings: UpstreamSettings,
    stack: AsyncExitStack,
    metrics: telemetry.Metrics,
    on_pull: Callable[[int, int], None] | None,
) -> Member:
    upstream = telemetry.ObservedUpstream(build(settings, on_pull=on_pull), metrics)
    stack.push_async_callback(upstream.close)
    await upstream.start()
    return Member(upstream, settings.models, settings.max_concurrency)


def _spread(dispatcher: Dispatcher, live: Live, change: Change) -> None:
    """Pass a commit's hint on to those who act on it and those who wait for it."""
    dispatcher.on_change(change)
    for request_id, _ in change.moved:
        live.wake(request_id)


async def _probe(catalogue: Catalogue, capacity: Capacity) -> None:
    """Keep asking the upstreams whose time has come; when one is back, its places are open again."""
    while True:
        down = [member for member in catalogue.members if member.down_since is not None]
        await catalogue.refresh()
        if any(member.down_since is None for member in down):
            capacity.serve_callers()
        await asyncio.sleep(PROBE_TICK)


async def _measure(store: Store, metrics: telemetry.Metrics) -> None:
    """Keep the gauges of `/metrics` fresh."""
    while True:
        metrics.stand(await store.upkeep.gauges())
        await asyncio.sleep(GAUGES_EVERY)

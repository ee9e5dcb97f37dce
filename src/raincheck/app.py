"""Builds everything once and says in which order it starts and stops; the only place that names a concrete store."""

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version

import uvicorn

from raincheck import telemetry
from raincheck.core.clock import SECOND, now
from raincheck.core.errors import SettingsInvalid, StoreUnavailable
from raincheck.core.settings import Settings, UpstreamSettings, bind_problem, is_loopback, sqlite_path
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
AGAIN_AFTER = 1.0
"""Seconds until a loop that stumbled over a fault goes on."""


@dataclass(frozen=True, slots=True)
class App:
    """Everything that runs in one process."""

    settings: Settings
    store: Store
    catalogue: Catalogue
    dispatcher: Dispatcher
    edge: Edge
    stopping: asyncio.Event

    async def stop(self) -> None:
        """Take nothing new, answer those who wait for news, and let running work finish within the grace period."""
        self.stopping.set()
        self.edge.live.close()
        await self.dispatcher.close(self.settings.grace / SECOND)


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
        if (problem := bind_problem(settings, has_keys=bool(await store.registry.keys()))) is not None:
            raise SettingsInvalid(problem)
        for queue, cap in settings.queue_limits.items():
            await store.registry.set_queue(queue, max_concurrency=cap)
        members = [await _start(each, stack, metrics, on_pull) for each in settings.upstreams]
        catalogue = Catalogue(members, now)
        catalogue.on_health = telemetry.health
        metrics.known = catalogue.models
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
            crashed=telemetry.attempt_crashed,
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
        app = App(settings, store, catalogue, dispatcher, edge, stopping)
        loops = {
            "dispatcher": dispatcher.run,
            "caretaker": Caretaker(store.upkeep).run,
            "probe": partial(_probe, catalogue, capacity),
            "measure": partial(_measure, store, metrics),
        }
        started = [asyncio.create_task(keep_going(name, loop)) for name, loop in loops.items()]
        try:
            yield app
        finally:
            await app.stop()
            for task in started:
                task.cancel()
            await asyncio.wait(started)


async def keep_going(name: str, loop: Callable[[], Awaitable[object]], *, again_after: float = AGAIN_AFTER) -> None:
    """Run a loop until it returns; a fault in it is logged, and it starts again: one bug must not end the server."""
    while True:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 - see above
            telemetry.stumbled(error, name)
            await asyncio.sleep(again_after)
        else:
            return


def serve(
    settings: Settings,
    *,
    on_ready: Callable[[App], None] = lambda _: None,
    on_pull: Callable[[int, int], None] | None = None,
) -> int:
    """Run the server until SIGTERM or SIGINT; returns the exit code. Raises RaincheckError when it cannot start."""
    telemetry.configure_logs(settings.log_level)
    with _listen(settings) as listener, asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_serve(settings, listener, on_ready, on_pull))


async def _serve(
    settings: Settings,
    listener: socket.socket,
    on_ready: Callable[[App], None],
    on_pull: Callable[[int, int], None] | None,
) -> int:
    async with running(settings, on_pull=on_pull) as app:
        server = _Server(serve_config(create_app(app.edge), settings))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        asked_to_stop = _signals(app)
        on_ready(app)
        telemetry.started(settings.host, settings.port, [member.name for member in app.catalogue.members])
        _settle_down()
        await asyncio.wait({serving, asyncio.create_task(asked_to_stop.wait())}, return_when="FIRST_COMPLETED")
        # Reads go on while running work finishes; only then the listener closes.
        telemetry.stopping(len(app.dispatcher.running))
        await app.stop()
        server.should_exit = True
        await serving
    telemetry.stopped()
    return 0


def _settle_down() -> None:
    """Set the interpreter up for a long run of many short tasks (decision 0002 has the numbers)."""
    # What is there now, mostly code and tables, stays: the collector need not walk through it again and again.
    gc.collect()
    gc.freeze()
    # A busy second makes many short-lived objects and hardly a cycle, so looking for cycles less often loses nothing.
    gc.set_threshold(50_000, 20, 100)
    # A commit's thread that comes back from the disk waits a whole interval for a busy event loop to let it go on.
    sys.setswitchinterval(0.0005)


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
            capacity.open_up()
        await asyncio.sleep(PROBE_TICK)


async def _measure(store: Store, metrics: telemetry.Metrics) -> None:
    """Keep the gauges of `/metrics` fresh."""
    while True:
        with suppress(StoreUnavailable):  # The last counts stand until the store can be read again.
            metrics.stand(await store.upkeep.gauges())
        await asyncio.sleep(GAUGES_EVERY)

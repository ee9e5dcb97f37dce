"""Builds everything once and says in which order it starts and stops; the only place that names a concrete store."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial

import msgspec

from raincheck import telemetry
from raincheck.core.clock import SECOND, now
from raincheck.core.errors import SettingsInvalid, StoreUnavailable
from raincheck.core.model import Limits, Scope
from raincheck.core.settings import (
    Settings,
    UpstreamSettings,
    bind_problem,
    is_loopback,
    is_postgresql,
    sqlite_path,
)
from raincheck.delivery.carry import Carrier
from raincheck.delivery.keys import Sealer
from raincheck.delivery.loop import Postman
from raincheck.delivery.message import Messages
from raincheck.delivery.send import Sender
from raincheck.dispatch.attempt import Means
from raincheck.dispatch.bench import Benches
from raincheck.dispatch.capacity import Capacity
from raincheck.dispatch.loop import Dispatcher
from raincheck.dispatch.presence import introduce, leaving, show_up
from raincheck.dispatch.relay import Relay
from raincheck.dispatch.stow import Stow
from raincheck.dispatch.sweep import Sweeper
from raincheck.grpc.edge import Edge as GrpcEdge
from raincheck.http.batches.video_answers import EdgeVideos
from raincheck.http.edge import Edge
from raincheck.intake.batches.assemble import Assembler
from raincheck.intake.batches.feed import Feeder
from raincheck.intake.batches.keeper import Keeper
from raincheck.intake.batches.steps import Steps
from raincheck.intake.gate import Gate
from raincheck.live import Live
from raincheck.store.blobs import open_blobs
from raincheck.store.protocol import Change, Registry, Store
from raincheck.store.sqlite import open_store as open_sqlite
from raincheck.telemetry.webhooks import ObservedCarrier, delivery_crashed
from raincheck.upkeep.collect import Collector
from raincheck.upkeep.loop import Caretaker
from raincheck.upstream.build import build, build_elsewhere, runs_in_worker
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.media.limits import MediaLimits

PROBE_TICK = 0.5
GAUGES_EVERY = 5.0
AGAIN_AFTER = 1.0
"""Seconds until a loop that stumbled over a fault goes on."""


class Role(Enum):
    """What a process does. There may be any number of each on one PostgreSQL; a SQLite file has one process."""

    SERVER = auto()
    """Takes calls and does the work."""
    DESK = auto()
    """Takes calls; workers do the work."""
    WORKER = auto()
    """Does the work."""

    @property
    def works(self) -> bool:
        return self is not Role.DESK


@dataclass(frozen=True, slots=True)
class App:
    """Everything that runs in one process."""

    settings: Settings
    role: Role
    store: Store
    catalogue: Catalogue
    dispatcher: Dispatcher
    sweeper: Sweeper
    keeper: Keeper
    postman: Postman
    edge: Edge
    stopping: asyncio.Event

    async def stop(self) -> None:
        """Take nothing new, answer those who wait for news, and let running work finish within the grace period; what
        has ended until then is told of as long as that lasts."""
        self.stopping.set()
        self.edge.live.close()
        await self.keeper.close()
        loop, grace = asyncio.get_running_loop(), self.settings.grace / SECOND
        until = loop.time() + grace
        await self.dispatcher.close(grace)
        await self.postman.close(max(0.0, until - loop.time()))


@asynccontextmanager
async def running(
    settings: Settings, role: Role = Role.SERVER, *, on_pull: Callable[[int, int], None] | None = None
) -> AsyncGenerator[App]:
    """Build and start everything but the HTTP listener; on leaving, stop in the reverse order.

    `on_pull(done, total)` hears of the embedded model's bytes while they are fetched. Raises RaincheckError when the
    settings, the store or an upstream make it impossible.
    """
    _check_role(role, settings)
    metrics = telemetry.Metrics()
    live = Live()
    async with AsyncExitStack() as stack:
        raw_store = await stack.enter_async_context(open_store(settings))
        store = telemetry.observe(raw_store, metrics)
        await _compare_clocks(settings.store_url)
        objects = open_blobs(settings.blobs_url) if settings.blobs_url else None
        if role is not Role.WORKER and (problem := await _bind_problem(settings, store)) is not None:
            raise SettingsInvalid(problem)
        if role.works:
            await _set_limits(store.registry, settings)
        media = MediaLimits.of(settings)
        members = [
            await _start(each, role, stack, metrics, media=media, on_pull=on_pull) for each in settings.upstreams
        ]
        catalogue = Catalogue(members, now)
        catalogue.on_health = telemetry.health
        metrics.known = catalogue.models
        await catalogue.refresh()
        capacity = Capacity(catalogue)
        benches = Benches(store.requests, objects, media, settings.scratch)
        await benches.start()
        stack.push_async_callback(benches.close)
        me = introduce(now)
        dispatcher = Dispatcher(
            means=Means(
                leases=store.leases,
                stow=objects and Stow(store.blobs, objects, troubled=telemetry.object_store),
                strays=store.strays,
                benches=benches,
                catalogue=catalogue,
                live=live,
                lease_for=settings.lease,
                clock=now,
            ),
            capacity=capacity,
            worker=me.name,
            crashed=telemetry.attempt_crashed,
        )
        capacity.on_free = dispatcher.wake
        sweeper = Sweeper(strays=store.strays, catalogue=catalogue, clock=now, gave_up=telemetry.stray_left)
        carrier = _carrier(store, settings)
        stack.push_async_callback(carrier.sender.close)
        stopping = asyncio.Event()
        edge = Edge(
            store=store,
            catalogue=catalogue,
            live=live,
            relay=Relay(catalogue, capacity),
            gate=Gate(store.registry, now, loopback=is_loopback(settings.host)),
            settings=settings,
            clock=now,
            version=me.version,
            objects=objects,
            link_secret=await store.registry.secret("links"),
            carrier=carrier,
            stopping=stopping.is_set,
            metrics=metrics.page,
            crashed=telemetry.crashed,
        )
        keeper = _keeper(edge, me.name)
        postman = _postman(edge, me.name, metrics)
        app = App(settings, role, store, catalogue, dispatcher, sweeper, keeper, postman, edge, stopping)
        stack.callback(store.changes.listen(partial(_spread, app)))
        loops: dict[str, Callable[[], Awaitable[object]]] = {
            "probe": partial(_probe, catalogue, capacity),
            "measure": partial(_measure, store, metrics),
        }
        if role.works:
            await stack.enter_async_context(leaving(store.registry, me))
            loops |= {
                "dispatcher": dispatcher.run,
                "heartbeat": dispatcher.keep_alive,
                "sweeper": sweeper.run,
                "keeper": keeper.run,
                "postman": postman.run,
                "caretaker": Caretaker(store.upkeep).run,
                "presence": partial(show_up, store.registry, me),
            }
            if objects is not None:
                loops["collector"] = Collector(store.blobs, objects).run
        started = [asyncio.create_task(keep_going(name, loop)) for name, loop in loops.items()]
        try:
            yield app
        finally:
            await app.stop()
            for task in started:
                task.cancel()
            await asyncio.wait(started)


def open_store(settings: Settings) -> AbstractAsyncContextManager[Store]:
    """The store that the settings name, to be entered."""
    kept, told = settings.retention, settings.webhook_log_retention
    if not is_postgresql(settings.store_url):
        return open_sqlite(sqlite_path(settings.store_url), clock=now, retention=kept, log_retention=told)
    # Its driver is an extra of its own.
    from raincheck.store.postgres import open_store as open_postgres

    return open_postgres(settings.store_url, retention=kept, log_retention=told)


async def _compare_clocks(store_url: str) -> None:
    """What is accepted is stamped here, what is due is decided in the database: say when the two disagree."""
    if not is_postgresql(store_url):
        return
    from raincheck.store.postgres import clocks

    with suppress(StoreUnavailable):
        behind = await clocks.lag(store_url)
        if abs(behind) > clocks.LEEWAY:
            telemetry.clock_off(behind)


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


def _check_role(role: Role, settings: Settings) -> None:
    if role is Role.WORKER and not is_postgresql(settings.store_url):
        raise SettingsInvalid(
            "A worker of its own needs a store that processes can share: name a PostgreSQL with --store "
            "postgresql://…. On SQLite, `raincheck serve` does the work itself."
        )


async def _bind_problem(settings: Settings, store: Store) -> str | None:
    return bind_problem(settings, has_keys=bool(await store.registry.keys()))


async def _set_limits(registry: Registry, settings: Settings) -> None:
    """Take the configured limits over into the store, for all workers. What is so already is left alone."""
    known = {
        (scope, each.name): each.limits for scope in ("queue", "upstream") for each in await registry.throttles(scope)
    }
    wanted: dict[tuple[Scope, str], Limits] = {("queue", name): each for name, each in settings.queue_limits.items()}
    wanted |= {("upstream", each.name): _shared(each) for each in settings.upstreams}
    for (scope, name), limits in wanted.items():
        if known.get((scope, name), Limits()) != limits:
            await registry.set_limits(scope, name, limits)


def _shared(settings: UpstreamSettings) -> Limits:
    """What holds over all workers. Of a function or the embedded model, each worker has its own places."""
    limits = settings.limits
    return msgspec.structs.replace(limits, max_concurrency=None) if runs_in_worker(settings) else limits


async def _start(
    settings: UpstreamSettings,
    role: Role,
    stack: AsyncExitStack,
    metrics: telemetry.Metrics,
    *,
    media: MediaLimits,
    on_pull: Callable[[int, int], None] | None,
) -> Member:
    if runs_in_worker(settings) and not role.works:
        return Member(build_elsewhere(settings), settings.models, max_concurrency=0)
    upstream = telemetry.ObservedUpstream(build(settings, limits=media, on_pull=on_pull), metrics)
    stack.push_async_callback(upstream.close)
    await upstream.start()
    return Member(upstream, settings.models, settings.max_concurrency)


def grpc_edge(edge: Edge) -> GrpcEdge:
    """The same rooms, as the gRPC edge is handed them."""
    return GrpcEdge(
        store=edge.store,
        catalogue=edge.catalogue,
        live=edge.live,
        relay=edge.relay,
        gate=edge.gate,
        desk=edge.desk,
        inbox=edge.inbox,
        objects=edge.objects,
        videos=edge.videos,
        settings=edge.settings,
        clock=edge.clock,
        stopping=edge.stopping,
        crashed=edge.crashed,
    )


def _keeper(edge: Edge, worker: str) -> Keeper:
    """What sees to it that batches go on; lines are read there as the edge reads calls."""
    store, settings = edge.store, edge.settings
    longest = settings.max_body_bytes
    feeder = Feeder(
        batches=store.batches,
        blobs=store.blobs,
        objects=edge.objects,
        videos=edge.videos,
        desk=edge.desk,
        clock=now,
        max_attempts=settings.max_attempts,
        longest=longest,
    )
    assembler = Assembler(
        batches=store.batches,
        requests=store.requests,
        blobs=store.blobs,
        objects=edge.objects,
        videos=EdgeVideos(edge),
        clock=now,
        longest=longest,
    )
    steps = Steps(
        batches=store.batches,
        registry=store.registry,
        catalogue=edge.catalogue,
        feeder=feeder,
        assembler=assembler,
        clock=now,
    )
    return Keeper(batches=store.batches, steps=steps, worker=worker, clock=now, crashed=telemetry.batch_held_up)


def _carrier(store: Store, settings: Settings) -> Carrier:
    """What makes one attempt to deliver a webhook."""
    sealer = Sealer(settings.sealing_keys)
    return Carrier(
        messages=Messages(store.requests, store.batches, settings.webhook_result_bytes),
        endpoints=store.endpoints,
        sealer=sealer,
        sender=Sender(sealer=sealer, allowed=settings.webhook_hosts, timeout=settings.webhook_timeout),
    )


def _postman(edge: Edge, worker: str, metrics: telemetry.Metrics) -> Postman:
    """What sees to it that webhooks are delivered."""
    settings = edge.settings
    return Postman(
        deliveries=edge.store.deliveries,
        carry=ObservedCarrier(edge.carrier.carry, metrics).carry,
        worker=worker,
        clock=now,
        timeout=settings.webhook_timeout,
        places=settings.webhook_concurrency,
        disable_after=settings.webhook_disable_after,
        crashed=delivery_crashed,
    )


def _spread(app: App, change: Change) -> None:
    """Pass a commit's hint on to those who act on it and those who wait for it."""
    if app.role.works:
        app.dispatcher.on_change(change)
        app.sweeper.on_change(change)
        app.keeper.on_change(change)
        app.postman.on_change(change)
    for request_id, _ in change.moved:
        app.edge.live.wake(request_id)
    for batch_id in change.batches:
        app.edge.live.wake(batch_id)


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
            metrics.lag(await store.deliveries.next_due(), now=now())
            metrics.wait(await store.registry.queues(), now=now())
            metrics.bear(await store.registry.throttles("upstream"))
        await asyncio.sleep(GAUGES_EVERY)

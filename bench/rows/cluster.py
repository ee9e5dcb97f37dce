"""PostgreSQL beside SQLite, and more than one worker process beside one."""

import time
from contextlib import ExitStack
from functools import partial

import msgspec

from bench import processes
from bench.calls import DEFERRED, SUBMIT, get
from bench.filling import fill
from bench.setting import Kind, Setting
from bench.stats import Row, Samples, alternate, ratio

CONNECTIONS = 32
CONCURRENCY = 64
PLACES = 256
WORKERS = (1, 2, 4)
READ = 100


def stores(setting: Setting) -> list[Row]:
    """The same process in front of either store, both on the same disk."""
    return [_submits(setting), _reads(setting), _lives(setting)]


def workers(setting: Setting) -> list[Row]:
    """Through one API process, so that only the number of workers differs; a backlog, so that none of them idles."""
    per_second = {count: Samples(tuple(_drained(setting, count) for _ in range(3))) for count in WORKERS}
    return [
        _row(f"requests done by {count} workers", per_second[1], per_second[count], against="1 worker")
        for count in WORKERS[1:]
    ]


def _submits(setting: Setting) -> Row:
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream(setting.folder, hold=True))
        load = stack.enter_context(processes.load(setting.folder))

        def measured(server: processes.Site, seconds: float) -> float:
            job = {"requests": [SUBMIT.decode()], "connections": CONNECTIONS, "seconds": seconds}
            return load.run("repeat", port=server.port, **job)["per_second"]

        servers = [_server(setting, stack, upstream, kind, "submits", places=1) for kind in ("sqlite", "postgres")]
        return _compared(setting, "durable submits", *(partial(measured, server) for server in servers))


def _reads(setting: Setting) -> Row:
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream(setting.folder))
        load = stack.enter_context(processes.load(setting.folder))

        def reader(kind: Kind) -> "partial[float]":
            server = _server(setting, stack, upstream, kind, "reads")
            ids = [msgspec.json.decode(server.ask("POST", "/v1/chat/completions", DEFERRED))["id"] for _ in range(READ)]
            for request_id in ids:
                server.ask("GET", f"/v1/requests/{request_id}?wait=30")
            requests = [get(f"/v1/requests/{request_id}").decode() for request_id in ids]
            return partial(measured, server.port, requests)

        def measured(port: int, requests: list[str], seconds: float) -> float:
            job = {"requests": requests, "connections": CONNECTIONS, "seconds": seconds}
            return load.run("repeat", port=port, **job)["per_second"]

        return _compared(setting, "status reads, completed", reader("sqlite"), reader("postgres"))


def _lives(setting: Setting) -> Row:
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream(setting.folder))
        load = stack.enter_context(processes.load(setting.folder))

        def measured(server: processes.Site, seconds: float) -> float:
            job = {"base_url": server.base_url, "concurrency": CONCURRENCY, "seconds": seconds}
            return load.run("aiohttp-deferred", **job)["per_second"]

        servers = [_server(setting, stack, upstream, kind, "lives") for kind in ("sqlite", "postgres")]
        return _compared(setting, "full lives, aiohttp", *(partial(measured, server) for server in servers))


def _drained(setting: Setting, count: int) -> float:
    """Requests per second that so many workers, ready and waiting, do of a backlog that is suddenly there."""
    total = 6_000 if setting.options.quick else 30_000
    with ExitStack() as stack:
        upstream = stack.enter_context(processes.upstream(setting.folder))
        url = setting.store("postgres", f"drain_{count}_{time.monotonic_ns()}")
        for _ in range(count):
            stack.enter_context(processes.worker(setting.folder, upstream, url, max_concurrency=PLACES))
        fill(url, ready=total, waiting=0)
        processes.wait_for(lambda: upstream.calls() >= total, within=120)
        return total / upstream.seconds_taken()


def _server(
    setting: Setting, stack: ExitStack, upstream: processes.Upstream, kind: Kind, name: str, *, places: int = 32
) -> processes.Site:
    store = setting.store(kind, f"beside_{name}")
    return stack.enter_context(processes.server(setting.folder, upstream, store, max_concurrency=places))


def _compared(setting: Setting, what: str, sqlite: "partial[float]", postgres: "partial[float]") -> Row:
    baseline, ours = alternate(setting.options.rounds, setting.options.seconds, sqlite, postgres)
    return _row(f"{what}, PostgreSQL", baseline, ours, against="SQLite")


def _row(what: str, baseline: Samples, ours: Samples, *, against: str) -> Row:
    return Row(what=what, unit="/s", against=against, baseline=baseline, ours=ours, value=ratio(ours, baseline))

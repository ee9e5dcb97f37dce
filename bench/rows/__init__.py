"""Every measurement by its name, in the order of the table."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.rows import backlog, batches, cluster, flat, latency, lives, over_grpc, reads, submits, waiters, webhooks
from bench.setting import Setting
from bench.stats import Row


@dataclass(frozen=True, slots=True)
class Measure:
    """What it is about, in one line, and what makes its rows."""

    about: str
    run: Callable[[Setting], list[Row]]


MEASURES = {
    "submits": Measure("durable submits against a bare echo", submits.run),
    "reads": Measure("status reads against a bare echo", reads.run),
    "grpc": Measure("submits and polls over gRPC against a bare gRPC echo, and against HTTP", over_grpc.run),
    "lives": Measure("submit to collected, against calling the same upstream directly", lives.run),
    "latency": Measure("what a deferred call on an idle system takes beyond a direct one", latency.run),
    "flat": Measure("operations of SQLite with very many pending or waiting rows against few", flat.sqlite),
    "memory": Measure("resident memory of a server with very many pending rows", backlog.memory),
    "restart": Measure("from start after kill -9 with very many pending rows to the first call", backlog.restart),
    "waiters": Measure("resident memory per idle long-poll", waiters.run),
    "postgres": Measure("submits, reads and lives on PostgreSQL against SQLite", cluster.stores),
    "flat-pg": Measure("operations of PostgreSQL with very many pending or waiting rows against few", flat.postgres),
    "batch": Measure("a batch of very many lines on SQLite: checking, result files, memory, others", batches.sqlite),
    "batch-pg": Measure("the same on PostgreSQL", batches.postgres),
    "webhooks": Measure("webhooks to one receiver against bare posts, on SQLite", webhooks.sqlite),
    "hooks-pg": Measure("the same on PostgreSQL", webhooks.postgres),
    "workers": Measure("lives with one API process and 2 and 4 worker processes against 1", cluster.workers),
}

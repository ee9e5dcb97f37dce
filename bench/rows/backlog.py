"""A server with very many pending rows: what memory it holds, and how soon it works again after kill -9."""

import time

from bench import processes
from bench.calls import DEFERRED
from bench.setting import Setting
from bench.stats import Row, Samples

PLACES = 32
READS = 500
MIB = 1 << 20


def memory(setting: Setting) -> list[Row]:
    """After the first claims and reads, against the same server with an empty store after as many."""
    filled = setting.backlog()
    with (
        processes.upstream(setting.folder, hold=True) as upstream,
        processes.server(setting.folder, upstream, setting.folder / "empty.db", max_concurrency=PLACES) as server,
    ):
        for _ in range(PLACES):
            server.ask("POST", "/v1/chat/completions", DEFERRED)
        processes.wait_for(lambda: upstream.calls() == PLACES)
        for _ in range(READS):
            server.ask("GET", "/v1/requests?limit=1")
        empty = server.resident() / MIB
    with (
        processes.upstream(setting.folder, hold=True) as upstream,
        processes.server(setting.folder, upstream, filled.url, max_concurrency=PLACES) as server,
    ):
        processes.wait_for(lambda: upstream.calls() == PLACES)
        for number in range(READS):
            server.ask("GET", f"/v1/requests/{filled.ids[number % len(filled.ids)]}")
            server.ask("GET", "/v1/requests?limit=1")
        full = server.resident() / MIB
    row = Row(
        what=f"resident memory, {setting.options.many // 1_000:,} k pending",
        unit="MiB",
        against="empty store",
        baseline=Samples((empty,)),
        ours=Samples((full,)),
        value=full - empty,
        value_unit="MiB more",
        better="less",
        goal=100,
    )
    return [row]


def restart(setting: Setting) -> list[Row]:
    """From the start of the process to the first call at the upstream; what the killed one had begun is in the way."""
    filled = setting.backlog()
    seconds: list[float] = []
    with processes.upstream(setting.folder, hold=True) as upstream:
        with processes.server(setting.folder, upstream, filled.url, max_concurrency=PLACES) as server:
            processes.wait_for(lambda: upstream.calls() == PLACES)
            server.kill()
        for _ in range(setting.options.rounds):
            upstream.forget()
            began = time.monotonic()
            server = processes.start_server(setting.folder, upstream, filled.url, max_concurrency=PLACES)
            try:
                seconds.append(upstream.first_call_since_forgotten() - began)
                processes.wait_for(lambda: upstream.calls() == PLACES)
            finally:
                server.kill()
    took = Samples(tuple(seconds))
    row = Row(
        what=f"kill -9 to first call, {setting.options.many // 1_000:,} k pending",
        unit="s",
        against="",
        baseline=None,
        ours=took,
        value=took.median,
        value_unit="s",
        better="less",
        goal=2,
    )
    return [row]

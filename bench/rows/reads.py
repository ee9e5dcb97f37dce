"""Status reads per second, of completed requests and of pending ones near the front, against a bare echo."""

from collections.abc import Sequence
from functools import partial

import msgspec

from bench import processes
from bench.calls import DEFERRED, get
from bench.setting import Setting
from bench.stats import Row, alternate, ratio

CONNECTIONS = 32
READ = 100
"""How many different requests are read in turn."""


def run(setting: Setting) -> list[Row]:
    return [_completed(setting), _pending(setting)]


def _completed(setting: Setting) -> Row:
    folder = setting.folder
    with (
        processes.upstream(folder) as upstream,
        processes.server(folder, upstream, folder / "completed.db") as server,
    ):
        ids = _submit(server)
        for request_id in ids:
            server.ask("GET", f"/v1/requests/{request_id}?wait=30")
        return _row(setting, server, ids, "status reads, completed")


def _pending(setting: Setting) -> Row:
    """The first of them is processing for ever at an upstream that takes one call."""
    folder = setting.folder
    with (
        processes.upstream(folder, hold=True) as upstream,
        processes.server(folder, upstream, folder / "pending.db", max_concurrency=1) as server,
    ):
        ids = _submit(server)
        processes.wait_for(upstream.calls)
        return _row(setting, server, ids[1:], "status reads, pending")


def _submit(server: processes.Site) -> list[str]:
    replies = [server.ask("POST", "/v1/chat/completions", DEFERRED) for _ in range(READ)]
    return [msgspec.json.decode(reply)["id"] for reply in replies]


def _row(setting: Setting, server: processes.Site, ids: Sequence[str], what: str) -> Row:
    requests = [get(f"/v1/requests/{request_id}").decode() for request_id in ids]
    options = setting.options
    reply = server.ask("GET", f"/v1/requests/{ids[len(ids) // 2]}")
    with processes.echo(setting.folder, posted=b"", got=reply) as echo, processes.load(setting.folder) as load:

        def measured(port: int, seconds: float) -> float:
            job = {"requests": requests, "connections": CONNECTIONS, "seconds": seconds}
            return load.run("repeat", port=port, **job)["per_second"]

        baseline, ours = alternate(
            options.rounds, options.seconds, partial(measured, echo.port), partial(measured, server.port)
        )
    return Row(
        what=what,
        unit="/s",
        against=f"bare echo, {len(reply)} B",
        baseline=baseline,
        ours=ours,
        value=ratio(ours, baseline),
        floor=0.8,
        goal=0.9,
    )

"""Full lives per second: submitted, done by an instant upstream, collected; against calling that upstream directly."""

from functools import partial

from bench import processes
from bench.setting import Setting
from bench.stats import Row, alternate, ratio

CONCURRENCY = 32
CLIENTS = ("openai", "httpx", "aiohttp")
FASTEST = "aiohttp"
"""Shown, not judged: it makes more direct calls a second than the bare echo answers."""


def run(setting: Setting) -> list[Row]:
    """With the openai client and the SDK built on it, with the HTTP client these use, and with the fastest there is."""
    folder = setting.folder
    with (
        processes.upstream(folder) as upstream,
        processes.server(folder, upstream, folder / "lives.db") as server,
        processes.load(folder) as load,
    ):
        return [_row(setting, upstream, server, load, client) for client in CLIENTS]


def _row(setting: Setting, upstream: processes.Site, server: processes.Site, load: processes.Load, client: str) -> Row:
    def measured(way: str, site: processes.Site, seconds: float) -> float:
        job = {"base_url": site.base_url, "concurrency": CONCURRENCY, "seconds": seconds}
        return load.run(f"{client}-{way}", **job)["per_second"]

    options = setting.options
    baseline, ours = alternate(
        options.rounds, options.seconds, partial(measured, "direct", upstream), partial(measured, "deferred", server)
    )
    return Row(
        what=f"full lives, {client}",
        unit="/s",
        against="direct calls",
        baseline=baseline,
        ours=ours,
        value=ratio(ours, baseline),
        floor=None if client == FASTEST else 0.3,
        goal=None if client == FASTEST else 0.5,
    )

"""Full lives per second: submitted, done by an instant upstream, collected; against calling that upstream directly."""

from bench import processes
from bench.setting import Setting
from bench.stats import Row, alternate, ratio

CONCURRENCY = 32
CLIENTS = ("aiohttp", "openai")


def run(setting: Setting) -> list[Row]:
    """With a bare HTTP client, and with the openai client and the SDK built on it, which is what users run."""
    folder = setting.folder
    with (
        processes.upstream(folder) as upstream,
        processes.server(folder, upstream, folder / "lives.db") as server,
        processes.load(folder) as load,
    ):
        return [_row(setting, upstream, server, load, client) for client in CLIENTS]


def _row(setting: Setting, upstream: processes.Site, server: processes.Site, load: processes.Load, client: str) -> Row:
    def measured(way: str, site: processes.Site) -> float:
        job = {"base_url": site.base_url, "concurrency": CONCURRENCY, "seconds": setting.options.seconds}
        return load.run(f"{client}-{way}", **job)["per_second"]

    baseline, ours = alternate(
        setting.options.rounds, lambda: measured("direct", upstream), lambda: measured("deferred", server)
    )
    return Row(
        what=f"full lives, {client}",
        unit="/s",
        against="direct calls",
        baseline=baseline,
        ours=ours,
        value=ratio(ours, baseline),
        floor=0.3,
        goal=0.5,
    )

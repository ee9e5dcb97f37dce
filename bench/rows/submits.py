"""Durable submits per second, against a bare echo of the same bodies."""

from functools import partial

from bench import processes
from bench.calls import DEFERRED, SUBMIT
from bench.setting import Setting
from bench.stats import Row, alternate, ratio

CONNECTIONS = 32


def run(setting: Setting) -> list[Row]:
    """The upstream never answers and takes one call, so the backlog grows and nothing but submitting is measured."""
    folder, options = setting.folder, setting.options
    with (
        processes.upstream(folder, hold=True) as upstream,
        processes.server(folder, upstream, folder / "submits.db", max_concurrency=1) as server,
        processes.load(folder) as load,
    ):
        reply = server.ask("POST", "/v1/chat/completions", DEFERRED)
        with processes.echo(folder, posted=reply, got=b"") as echo:

            def measured(port: int, seconds: float) -> float:
                job = {"requests": [SUBMIT.decode()], "connections": CONNECTIONS, "seconds": seconds}
                return load.run("repeat", port=port, **job)["per_second"]

            baseline, ours = alternate(
                options.rounds, options.seconds, partial(measured, echo.port), partial(measured, server.port)
            )
    row = Row(
        what="durable submits",
        unit="/s",
        against="bare echo",
        baseline=baseline,
        ours=ours,
        value=ratio(ours, baseline),
        floor=0.5,
        goal=0.6,
    )
    return [row]

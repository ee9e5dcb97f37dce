"""What a deferred call takes beyond a direct one when nothing else is going on: submit to result by long-poll."""

from bench import processes
from bench.setting import Setting
from bench.stats import Row, Samples, percentile

PAIRS = 200
"""Per round."""


def run(setting: Setting) -> list[Row]:
    folder = setting.folder
    direct: list[list[float]] = []
    deferred: list[list[float]] = []
    with (
        processes.upstream(folder) as upstream,
        processes.server(folder, upstream, folder / "latency.db") as server,
        processes.load(folder) as load,
    ):
        for _ in range(setting.options.rounds + 1):
            times = load.run("pairs", direct_port=upstream.port, port=server.port, count=PAIRS)
            direct.append(times["direct"])
            deferred.append(times["deferred"])
    return [
        _row(direct[1:], deferred[1:], 0.50, floor=8, goal=5),
        _row(direct[1:], deferred[1:], 0.99, floor=None, goal=20),
    ]


def _row(
    direct: list[list[float]], deferred: list[list[float]], share: float, *, floor: float | None, goal: float
) -> Row:
    added = [
        ours - baseline
        for one, other in zip(direct, deferred, strict=True)
        for baseline, ours in zip(one, other, strict=True)
    ]
    return Row(
        what=f"added latency, p{share * 100:.0f}",
        unit="ms",
        against="direct call",
        baseline=Samples(tuple(percentile(times, share) for times in direct)),
        ours=Samples(tuple(percentile(times, share) for times in deferred)),
        value=percentile(added, share),
        value_unit="ms more",
        better="less",
        floor=floor,
        goal=goal,
    )

"""What one idle long-poll costs the server in memory, its connection included."""

import msgspec

from bench import processes
from bench.calls import DEFERRED, get
from bench.setting import Setting
from bench.stats import Row, Samples

WAITERS = 2_000
REQUESTS = 50
KIB = 1 << 10


def run(setting: Setting) -> list[Row]:
    """They wait for requests that an upstream which never answers will not get to."""
    folder = setting.folder
    with (
        processes.upstream(folder, hold=True) as upstream,
        processes.server(folder, upstream, folder / "waiters.db", max_concurrency=1) as server,
        processes.load(folder) as load,
    ):
        replies = [server.ask("POST", "/v1/chat/completions", DEFERRED) for _ in range(REQUESTS)]
        ids = [msgspec.json.decode(reply)["id"] for reply in replies]
        for request_id in ids:
            server.ask("GET", f"/v1/requests/{request_id}?wait=0.01")
        before = server.resident()
        polls = [get(f"/v1/requests/{request_id}?wait=60").decode() for request_id in ids]
        held = load.run("hold", port=server.port, requests=polls, connections=WAITERS)["waiting"]
        if held != WAITERS:
            raise RuntimeError(f"only {held} of {WAITERS} long-polls were held open")
        after = server.resident()
    each = (after - before) / KIB / WAITERS
    row = Row(
        what=f"resident memory, {WAITERS:,} idle long-polls",
        unit="MiB",
        against="none open",
        baseline=Samples((before / KIB / KIB,)),
        ours=Samples((after / KIB / KIB,)),
        value=each,
        value_unit="KiB each",
        better="less",
        goal=20,
    )
    return [row]

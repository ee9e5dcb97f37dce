"""`raincheck workers`: which processes do the work, and how much each of them holds."""

import json
from typing import TYPE_CHECKING

import typer

from raincheck.cli.options import AsJson, Config, StoreUrl
from raincheck.cli.record import in_record
from raincheck.cli.show import moment, print_table
from raincheck.core.clock import now, seconds
from raincheck.core.units import show_duration

if TYPE_CHECKING:
    from raincheck.core.model import Worker
    from raincheck.store.protocol import Store

COLUMNS = ("name", "host", "pid", "version", "up since", "last seen", "running")


def workers(store: StoreUrl = None, config: Config = None, as_json: AsJson = False) -> None:
    """Show the workers that were seen of late or hold requests.

    A worker that was not seen for longer than a lease is dead or cut off: what it holds is taken over by the others.

    \b
    raincheck workers
    raincheck workers --store postgresql://raincheck@db/raincheck --json | jq '[.[].running] | add'
    """

    async def look(record: "Store") -> "list[Worker]":
        return await record.registry.workers()

    found = in_record(look, store, config, existing=True)
    if as_json:
        typer.echo(json.dumps([_as_dict(worker) for worker in found]))
    else:
        print_table(COLUMNS, [_row(worker) for worker in found], empty="no workers")


def _row(worker: "Worker") -> tuple[str, ...]:
    ago = show_duration(max(0, now() - worker.seen_at))
    since = moment(seconds(worker.started_at))
    # One that never said who it is has no process to be looked for.
    process = str(worker.pid) if worker.pid else ""
    return worker.name, worker.host, process, worker.version, since, f"{ago} ago", str(worker.running)


def _as_dict(worker: "Worker") -> dict[str, object]:
    return {
        "name": worker.name, "object": "worker", "host": worker.host or None, "pid": worker.pid or None,
        "version": worker.version or None, "started_at": seconds(worker.started_at),
        "seen_at": seconds(worker.seen_at), "running": worker.running,
    }  # fmt: skip

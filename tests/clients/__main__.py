"""Tries every version of every client against fresh servers: `python -m tests.clients`, or `make clients`.

Writes results.json, from which docs/print.py prints docs/reference/compatibility.md. The suite tries the pinned
versions; the others are fetched from the package indexes, into environments of their own. With names of scripts, such
as `python -m tests.clients xai_client`, only those are tried, and the rest of the results stays as it is.
"""

import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from tests.clients import results, webhook_clients
from tests.clients.desk import Desk, a_desk
from tests.clients.trying import PINNED, SCRIPTS, Outcome, tried

Run = Callable[[Desk], Awaitable[list[Outcome]]]


async def main(names: Sequence[str]) -> int:
    """The number of checks that did not work."""
    runs: dict[str, list[tuple[str, Run]]] = {
        script.module: [(column, partial(tried, script, column)) for column in script.columns] for script in SCRIPTS
    }
    runs["webhook_clients"] = [(PINNED, webhook_clients.tried)]
    failed = 0
    for module in names or runs:
        came = [(column, _told(column, await _against_a_fresh_server(run))) for column, run in runs[module]]
        results.write(results.read() | results.gathered(came))
        failed += sum(not outcome.works for _, outcomes in came for outcome in outcomes)
    return failed


async def _against_a_fresh_server(run: Run) -> list[Outcome]:
    with tempfile.TemporaryDirectory(prefix="raincheck-clients-") as folder:
        async with a_desk(Path(folder)) as desk:
            return await run(desk)


def _told(column: str, outcomes: list[Outcome]) -> list[Outcome]:
    """A line for each client, and one more for each check of it that did not work."""
    for client in dict.fromkeys((each.client, each.version) for each in outcomes):
        mine = [each for each in outcomes if (each.client, each.version) == client]
        counts = [sum(each.word.startswith(word) for each in mine) for word in ("works", "differs", "fails")]
        print(f"{client[0]:36} {client[1]:24} {column:8} {counts[0]:3} work {counts[1]:3} differ {counts[2]:3} fail")
        for each in mine:
            if not each.works:
                print(f"    FAILED  {each.call}: {each.error}")
    sys.stdout.flush()
    return outcomes


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main(sys.argv[1:])) else 0)

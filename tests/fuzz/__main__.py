"""`python -m tests.fuzz`: calls a real server with whatever its OpenAPI document allows and does not allow, follows the
document's links, and fails on a 5xx, on an answer the document does not have, on a call let in without a key, on what
the server's log complains of, and when it came to call too little."""

import argparse
import asyncio
import json
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

from tests.fuzz.engine import ALONG_LINKS, EACH, Budget, fuzz
from tests.fuzz.house import House, a_house
from tests.fuzz.judge import EXCUSED, Tally, complaints

SECONDS = 75
SEED = 7
TURNS = 4
"""A machine that is too slow to do enough gets more time, each turn twice as much as the one before."""
METHODS = frozenset({"get", "put", "post", "delete", "patch"})
ELSEWHERE = ("https://your-server.example", "https://raincheck.example")
"""Where the document's examples lead."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"how long, by default {SECONDS}")
    parser.add_argument("--seed", type=int, default=SEED, help="what makes the cases up, for the same ones again")
    options = parser.parse_args(arguments)
    began = monotonic()
    tally = asyncio.run(_run(options.seconds, options.seed))
    print(_summary(tally, monotonic() - began, options.seed))
    return 1 if tally.failures else 0


async def _run(seconds: int, seed: int) -> Tally:
    with tempfile.TemporaryDirectory() as folder:
        async with a_house(Path(folder)) as house:
            tally = await asyncio.to_thread(_fuzz, house, seconds // 2, seed)
            if not house.alive:
                tally.fail("the server", "Gone", house.log.read_text()[-4000:])
            for kind, line in complaints(house.log.read_text()):
                tally.fail("the server's log", kind, line)
            return tally


def _fuzz(house: House, half: int, seed: int) -> Tally:
    """Each operation by itself in one half of the time, along the links in the other; again until that was enough."""
    tally, document, lacks = Tally(), _document(house), list[str]()
    for turn in range(TURNS):
        for phases in (EACH, ALONG_LINKS):
            fuzz(document, house.url, house.key, Budget(half << turn, seed + turn), phases, tally)
        lacks = list(tally.too_little(_operations(document)))
        if not lacks or not house.alive:
            break
    for lack in lacks:
        tally.fail("the fuzz", lack, "So it says too little of the server.")
    return tally


def _operations(document: dict[str, Any]) -> list[str]:
    paths: dict[str, dict[str, Any]] = document["paths"]
    return [f"{method.upper()} {path}" for path, calls in paths.items() for method in calls if method in METHODS]


def _document(house: House) -> dict[str, Any]:
    """The document as this server serves it, which has a key and so is not open. Its examples lead somewhere."""
    with urllib.request.urlopen(f"{house.url}/schema/openapi.json") as response:
        text = response.read().decode()
    for elsewhere in ELSEWHERE:
        text = text.replace(elsewhere, house.outside)
    document = json.loads(text)
    document["security"].remove({})
    return document


def _summary(tally: Tally, seconds: float, seed: int) -> str:
    answered = {name for name, count in tally.accepted.items() if count}
    led = sum(1 for count in tally.led.values() if count)
    lines = [
        f"{tally.cases} cases in {seconds:.0f} s, seed {seed}",
        f"{len(tally.operations)} operations, of which {len(answered)} answered below 300",
        *(f"  never: {name}" for name in sorted(set(tally.operations) - answered)),
        f"{sum(tally.links.values())} links followed, of {len(tally.links)} kinds, of which {led} led somewhere",
        "answers: " + ", ".join(f"{status} {count}×" for status, count in sorted(tally.statuses.items())),
        f"slowest: {tally.slowest[0]:.1f} s, {tally.slowest[1]}",
        *(f"excused: {each.code} {count}×, {EXCUSED[each]}" for each, count in tally.excused.items()),
        f"{len(tally.failures)} failures",
    ]
    for failure in tally.failures.values():
        lines += ["", f"{failure.operation}: {failure.title}", failure.message, failure.curl]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

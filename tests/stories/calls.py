"""What an upstream saw, read from the log it wrote itself: the only witness that no worker can talk into anything."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the upstream saw it; moments are seconds of the machine's monotonic clock."""

    content: str
    began: float
    ended: float
    answered: bool


def read(log: Path) -> list[Call]:
    """The calls in the order in which they began; those that never ended have ended at infinity."""
    begun: dict[int, tuple[str, float]] = {}
    over: dict[int, tuple[float, bool]] = {}
    for text in log.read_bytes().splitlines():
        line = msgspec.json.decode(text)
        if line["event"] == "began":
            begun[line["number"]] = line["content"], line["at"]
        else:
            over[line["number"]] = line["at"], line["answered"]
    never = float("inf"), False
    return [Call(content, at, *over.get(number, never)) for number, (content, at) in begun.items()]


def most_at_once(calls: Sequence[Call]) -> int:
    """The highest number of calls under way at any moment."""
    steps = sorted([(call.began, 1) for call in calls] + [(call.ended, -1) for call in calls])
    running = highest = 0
    for _, step in steps:
        running += step
        highest = max(highest, running)
    return highest


def most_within(calls: Sequence[Call], seconds: float) -> int:
    """The highest number of calls that began within any stretch of so many seconds."""
    moments = sorted(call.began for call in calls)
    first = highest = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - seconds:
            first += 1
        highest = max(highest, last - first + 1)
    return highest


def taken_up_again(calls: Sequence[Call]) -> list[float]:
    """For each call that was cut off and made again: how long that took, in seconds."""
    by_content: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_content[call.content].append(call)
    return [
        later.began - earlier.ended
        for same in by_content.values()
        for earlier, later in pairwise(same)
        if not earlier.answered
    ]

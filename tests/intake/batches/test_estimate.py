"""How long a batch may take, by what was measured and by how many run at once."""

from collections.abc import Sequence
from typing import Any, Literal

import pytest

from raincheck.core.batches import Pace
from raincheck.core.clock import SECOND
from raincheck.core.model import Limits, Scope, Throttle
from raincheck.intake.batches.estimate import Demand, estimate
from raincheck.upstream.catalogue import Catalogue, Member
from raincheck.upstream.protocol import Takes


class Told:
    """A store that tells these paces and throttles, and an upstream that takes calls."""

    takes = frozenset({Takes.CALLS})
    name = "up"

    def __init__(self, pace: Pace, throttles: Sequence[Throttle] = ()) -> None:
        self._pace, self._throttles = pace, throttles

    async def paces(self, _: Sequence[str]) -> list[Pace]:
        return [self._pace]

    async def throttles(self, scope: Scope) -> list[Throttle]:
        return [each for each in self._throttles if each.scope == scope]


async def seconds(
    pace: Pace, *throttles: Throttle, places: int | Literal["auto"] = 32, requests: int = 600
) -> float | None:
    told: Any = Told(pace, throttles)
    catalogue = Catalogue([Member(told, ["m"], places)], lambda: 0)
    demand = Demand(model="m", requests=requests)
    [outlook] = await estimate([demand], batches=told, registry=told, catalogue=catalogue)
    return None if outlook.us is None else outlook.us / SECOND


@pytest.mark.parametrize("gap", [0.001, 0.5])
async def test_it_does_not_matter_whether_the_last_work_came_in_bursts_or_one_by_one(gap: float) -> None:
    assert await seconds(Pace("m", 0, 0.5 * SECOND, gap * SECOND)) == pytest.approx(600 / 32 * 0.5)


async def test_limits_bound_how_many_run_at_once() -> None:
    pace = Pace("m", 40, 0.5 * SECOND, 0.5 * SECOND)
    upstream = Throttle(scope="upstream", name="up", limits=Limits(max_concurrency=8))
    queue = Throttle(scope="queue", name="m", limits=Limits(max_concurrency=2))
    adaptive = Throttle(scope="upstream", name="up", limits=Limits(max_concurrency="auto"), level=16.0)
    assert await seconds(pace, upstream) == 640 / 8 * 0.5
    assert await seconds(pace, upstream, queue) == 640 / 2 * 0.5
    assert await seconds(pace, adaptive, places="auto") == 640 / 16 * 0.5


async def test_a_single_request_takes_as_long_as_one_and_none_takes_no_time() -> None:
    pace = Pace("m", 0, 0.5 * SECOND, 0.5 * SECOND)
    assert (await seconds(pace, requests=1), await seconds(pace, requests=0)) == (0.5, 0)


async def test_where_upstreams_run_elsewhere_the_time_between_ends_must_do() -> None:
    assert await seconds(Pace("m", 0, 0.5 * SECOND, 0.1 * SECOND), places=0) == 60
    assert await seconds(Pace("m", 0, None, None)) is None

"""The search for the width of an upstream, against upstreams made of arithmetic."""

import heapq
from random import Random

import pytest

from raincheck.core.adaptive import CEILING, FIRST_LEVEL, Level, Sample, step
from raincheck.core.clock import SECOND


class Crowded:
    """An upstream that bears so many at once, with all of a worker's places always taken.

    Beyond its capacity it refuses (429), or lets calls queue before their first token, or both.
    """

    def __init__(self, capacity: int, *, refuses: bool, delays: bool, seed: int = 1) -> None:
        self.capacity = capacity
        self.refuses = refuses
        self.delays = delays
        self.random = Random(seed)

    def levels(self, level: float, *, calls: int = 6_000) -> list[float]:
        """The level after each of so many calls."""
        known, now, levels = Level(level), 1, list[float]()
        at_work = list[tuple[int, int, bool, int | None]]()
        for _ in range(calls):
            while len(at_work) < int(known.level):
                heapq.heappush(at_work, self._call(now, len(at_work)))
            ended_at, claimed_at, congested, first_token = heapq.heappop(at_work)
            now = max(now + 1, ended_at)
            known = step(known, Sample(claimed_at, len(at_work) + 1, congested, first_token), now=now)
            levels.append(known.level)
        return levels

    def _call(self, now: int, beside: int) -> tuple[int, int, bool, int | None]:
        if self.refuses and beside >= self.capacity:
            return now + SECOND // 20, now, True, None
        waits = max(0, beside + 1 - self.capacity) / self.capacity * 4 * SECOND if self.delays else 0
        first = int(self.random.uniform(0.2, 0.3) * SECOND + waits)
        return now + first + int(self.random.uniform(0.5, 1.5) * SECOND), now, False, first


@pytest.mark.parametrize("start", [1.0, FIRST_LEVEL, 400.0])
@pytest.mark.parametrize("capacity", [3, 20, 100])
@pytest.mark.parametrize(("refuses", "delays"), [(True, False), (False, True), (True, True)])
def test_it_comes_near_what_the_upstream_bears_and_stays_there(
    start: float, capacity: int, refuses: bool, delays: bool
) -> None:
    levels = Crowded(capacity, refuses=refuses, delays=delays).levels(start)
    late = levels[len(levels) // 2 :]
    assert 0.7 * capacity <= sum(late) / len(late) <= 1.5 * capacity
    assert max(late) <= 1.8 * capacity + 2


def test_it_is_never_below_one() -> None:
    known = Level()
    for now in range(1, 100):
        known = step(known, Sample(now, 1, congested=True), now=now)
    assert known.level == 1.0


def test_it_is_never_above_the_ceiling() -> None:
    known = Level(CEILING - 0.001)
    for now in range(1, 10):
        known = step(known, Sample(now, CEILING, congested=False), now=now)
    assert known.level == CEILING


def test_it_is_not_raised_while_it_is_not_used() -> None:
    known = Level(8.9)
    for now in range(1, 100):
        known = step(known, Sample(now, 7, congested=False), now=now)
    assert known.level == 8.9
    assert step(known, Sample(1, 8, congested=False), now=100).level > 8.9


def test_a_full_round_that_goes_well_adds_about_one_place() -> None:
    known = Level(10.0)
    for _ in range(10):
        known = step(known, Sample(1, 10, congested=False), now=2)
    assert known.level == pytest.approx(11, abs=0.1)


def test_it_is_lowered_at_most_once_per_round() -> None:
    known = Level(40.0)
    for _ in range(40):
        known = step(known, Sample(10, 40, congested=True), now=20)
    assert known.level == 30.0
    # Those that started after it was lowered say something new.
    assert step(known, Sample(21, 30, congested=True), now=30).level == 22.5


def test_slow_first_tokens_of_one_round_lower_it_once() -> None:
    known = Level(40.0)
    for _ in range(20):
        known = step(known, Sample(1, 1, congested=False, first_token=SECOND), now=2)
    for _ in range(40):
        known = step(known, Sample(10, 1, congested=False, first_token=9 * SECOND), now=20)
    assert known.level == 30.0


def test_a_little_noise_in_quick_first_tokens_means_nothing() -> None:
    random, known = Random(3), Level(40.0)
    for now in range(1, 500):
        first_token = random.randint(20_000, 110_000)
        known = step(known, Sample(now, 1, congested=False, first_token=first_token), now=now)
    assert known.level == 40.0


def test_a_model_that_became_slower_is_not_taken_for_a_crowded_one_for_ever() -> None:
    known = Level(20.0)
    for now in range(1, 50):
        known = step(known, Sample(now, 1, congested=False, first_token=SECOND), now=now)
    for now in range(50, 2_000):
        known = step(known, Sample(now, int(known.level), congested=False, first_token=5 * SECOND), now=now)
    assert known.level > 10


def test_calls_without_a_first_token_change_nothing_of_what_is_known_of_them() -> None:
    known = Level(4.0, 0, 1.0, 1.0)
    after = step(known, Sample(1, 1, congested=False), now=2)
    assert (after.first_token, after.unhurried) == (1.0, 1.0)

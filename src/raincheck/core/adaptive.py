"""The level of an adaptive `max_concurrency`: how many requests an upstream bears at once, found by trying.

Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP finds the width of a line: while all places are
taken and calls go well, one more place per round; when the upstream says or shows that it has too much, three quarters
of the places. All workers share one level, kept in the store and moved in the finishing transactions.
"""

import msgspec

FIRST_LEVEL = 4.0
"""Where the search starts."""

CEILING = 512
"""No level is higher, so that nobody's process is asked to hold more calls than it can."""

_SHRINK = 0.75
_SLOWER = 2.0
"""A first token that takes this many times as long as without hurry shows that requests wait at the upstream."""

_FEWEST = 8
"""First tokens are averaged over a round, and over no fewer than these: prompts differ."""
_CREEP = 0.01
"""How much of what is usual now the quickest takes on in a round, lest a lucky hour counts for ever."""
_NOISE = 100_000
"""Microseconds by which first tokens may differ without meaning anything."""


class Level(msgspec.Struct, frozen=True):
    """What is known about one upstream or queue."""

    level: float = FIRST_LEVEL
    slowed_at: int = 0
    """When it was last lowered (microseconds)."""
    first_token: float | None = None
    """How long the first piece of an answer takes now: a moving average (microseconds)."""
    unhurried: float | None = None
    """The average when it was quickest."""


class Sample(msgspec.Struct, frozen=True):
    """What one attempt showed."""

    claimed_at: int
    running: int
    """How many ran, this one included, when it ended."""
    congested: bool
    first_token: int | None = None


def step(known: Level, sample: Sample, *, now: int) -> Level:
    """The level after one more attempt.

    What had started before the level was last lowered says nothing new, so it is lowered at most once per round. It is
    raised only while it is used, so that a quiet night does not lift it to the ceiling.
    """
    if sample.claimed_at <= known.slowed_at:
        return known
    recent, best = _averages(known, sample.first_token)
    crowded = recent is not None and best is not None and recent > _SLOWER * best + _NOISE
    if crowded and int(known.level) == 1:
        # One call alone is not crowded by others of ours: the model has become slower.
        best, crowded = recent, False
    if sample.congested or crowded:
        return Level(max(1.0, known.level * _SHRINK), now, best, best)
    level = known.level
    if sample.running >= int(level):
        level = min(float(CEILING), level + 1 / level)
    return Level(level, known.slowed_at, recent, best)


def _averages(known: Level, first_token: int | None) -> tuple[float | None, float | None]:
    if first_token is None:
        return known.first_token, known.unhurried
    if known.first_token is None or known.unhurried is None:
        return float(first_token), float(first_token)
    share = 1 / max(_FEWEST, known.level)
    recent = known.first_token + share * (first_token - known.first_token)
    return recent, min(recent, known.unhurried + _CREEP * share * (recent - known.unhurried))

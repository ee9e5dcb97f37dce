"""How much a limit still lets through: the arithmetic of one queue's or upstream's limits, the same for every store.

It takes what a claim has read under the limit's lock, and says what may start, and what holds the rest until when.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from raincheck.core.clock import SECOND
from raincheck.core.model import Scope

TOKENS = 1 << 48
"""More than anyone uses: what an upstream claims beyond is not believed."""

WINDOW = 61
"""Seconds for which a bucket counts: what was started at the end of its second leaves a sliding minute only then."""

NO_LIMIT = 1 << 31


class Throttled(NamedTuple):
    """A row of `throttle`; selected in this order."""

    scope: Scope
    name: str
    max_concurrency: int | None
    rpm: int | None
    tpm: int | None
    paused_until: int | None
    pause_reason: str | None
    level: float | None
    slowed_at: int | None
    first_token: float | None
    unhurried: float | None

    @property
    def concurrency(self) -> int | None:
        return self.max_concurrency if self.level is None else int(self.level)

    @property
    def per_minute(self) -> bool:
        return self.rpm is not None or self.tpm is not None


class Spent(NamedTuple):
    """What was started in one second."""

    second: int
    requests: int
    tokens: int


class Held(NamedTuple):
    """Until when nothing may start, and the words for it."""

    until: int
    reason: str


@dataclass(slots=True)
class Room:
    """What one queue or upstream has left, while a claim takes from it."""

    throttle: Throttled
    now: int
    running: int
    spent: Sequence[Spent]
    """The buckets that count, oldest first, as they were before this claim."""
    requests: int = 0
    """Taken by this claim, as are `tokens`."""
    tokens: int = 0

    @property
    def places(self) -> int:
        if self.paused:
            return 0
        cap, rpm = self.throttle.concurrency, self.throttle.rpm
        by_cap = NO_LIMIT if cap is None else cap - self.running
        by_rpm = NO_LIMIT if rpm is None else rpm - self._started(self.spent)
        return max(0, min(by_cap, by_rpm))

    @property
    def paused(self) -> bool:
        return (self.throttle.paused_until or 0) > self.now

    def bears(self, tokens: int) -> bool:
        """Whether so many tokens more may be spent; what is above the whole limit may when nothing else was."""
        return self._bears(tokens, self.spent)

    def take(self, tokens: int) -> None:
        self.running += 1
        self.requests += 1
        self.tokens += tokens

    def held(self, tokens: int) -> Held | None:
        """What keeps a request of so many tokens from starting, if it is something with a time.

        Pauses of the queue are told as such, and places come free at any moment.
        """
        throttle = self.throttle
        whose = f"for {throttle.scope} {throttle.name}"
        if self.paused:
            why = f" ({throttle.pause_reason})" if throttle.pause_reason else ""
            paused = Held(throttle.paused_until or 0, f"{throttle.scope} {throttle.name} is paused{why}")
            return paused if throttle.scope == "upstream" else None
        rpm = throttle.rpm
        if rpm is not None and self._started(self.spent) >= rpm:
            until = self._once(lambda left: self._started(left) < rpm)
            return Held(until, f"at most {rpm:,} requests a minute {whose}")
        if not self.bears(tokens):
            until = self._once(lambda left: self._bears(tokens, left))
            return Held(until, f"at most {throttle.tpm:,} tokens a minute {whose}")
        return None

    def _started(self, spent: Sequence[Spent]) -> int:
        return self.requests + sum(each.requests for each in spent)

    def _bears(self, tokens: int, spent: Sequence[Spent]) -> bool:
        tpm, before = self.throttle.tpm, self.tokens + sum(each.tokens for each in spent)
        return tpm is None or before <= 0 or (before < tpm and before + tokens <= tpm)

    def _once(self, open_again: Callable[[Sequence[Spent]], bool]) -> int:
        """When enough buckets have left for that; this claim's own leaves last."""
        for number, bucket in enumerate(self.spent, start=1):
            if open_again(self.spent[number:]):
                return (bucket.second + WINDOW) * SECOND
        return (self.now // SECOND + WINDOW) * SECOND

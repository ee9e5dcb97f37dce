"""The waiting logic, thought once: generators that yield calls and pauses and return the request at its end.

No network and no clock in here; `drivers` run a flow, blocking or awaiting.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from time import monotonic

from openai import APIError

from raincheck.client.dialect import AskAgain, Dialect, NotRaincheck, question, request_path, understand
from raincheck.client.errors import RaincheckClientError, WaitStopped, WaitTimeout
from raincheck.client.models import Request
from raincheck.client.steps import Call, Flow, Pause, Reply, Stopped, Submit, send

LONGEST_POLL = 50.0
"""Seconds one read may be held: below the minute at which common proxies cut, and what the server allows."""

Observer = Callable[[Request], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How to wait. A Raincheck server says at once when something happened; `polling_interval` is for other servers.
    With an `observer`, who wants to see the position move, a Raincheck server is read at least every second."""

    timeout: float | None = 600.0
    polling_interval: float = 5.0
    observer: Observer | None = None
    cancel_on_timeout: bool = False
    longest_poll: float = LONGEST_POLL
    waited: float = 0.0
    """Seconds of the timeout that the submit has used already."""


def read(request_id: str, dialect: Dialect) -> Flow[tuple[Request, Dialect]]:
    """One look, no waiting. Raises openai's error, a transient one included."""
    while True:
        reply = yield from send(question(dialect, Request(id=request_id), 0, timeout=30.0))
        try:
            return understand(dialect, request_id, reply), _learned(dialect, reply)
        except NotRaincheck:
            dialect = Dialect.DEFERRED
        except AskAgain as again:
            if again.error is None:
                raise RaincheckClientError(
                    f"The answer about {request_id} is no record: {reply.body[:200]!r}"
                ) from None
            raise again.error from None


def submit(
    submit_for: Callable[[float], Submit],
    *,
    timeout: float | None,
    retries: int,
    clock: Callable[[], float] = monotonic,
    jitter: Callable[[], float] = random.random,
) -> Flow[Reply]:
    """The good reply to a submit that the server may hold. `submit_for` makes it, given the seconds that are left.

    When the connection breaks meanwhile, the request may have been recorded, its id unheard. A Raincheck server knows
    the submit by its idempotency key, so it is asked again until the time is over; any other `retries` times, as openai
    does it. Raises openai's error.
    """
    give_up = clock() + (inf if timeout is None else timeout)
    failures, known = 0, False
    while True:
        reply = yield from send(submit_for(max(0.0, give_up - clock())))
        if reply.error is None:
            return reply
        if not reply.transient:
            raise reply.error
        if reply.lost and not known and (known := (yield from _comes_back(give_up, clock, jitter))):
            continue
        left = give_up - clock()
        if left <= reply.retry_after or (not known and failures >= retries):
            raise reply.error
        yield Pause(min(max(_backoff(failures, jitter), reply.retry_after), left))
        failures += 1


def _comes_back(give_up: float, clock: Callable[[], float], jitter: Callable[[], float]) -> Flow[bool]:
    """Ask for what can be asked for without harm until someone answers. True when it is a Raincheck server."""
    failures = 0
    while True:
        reply = yield from send(Call("GET", "/models", timeout=10.0))
        if reply.version or not reply.transient:
            return reply.version is not None
        if (left := give_up - clock()) <= 0:
            return False
        yield Pause(min(max(_backoff(failures, jitter), reply.retry_after), left))
        failures += 1


def _backoff(failures: int, jitter: Callable[[], float]) -> float:
    """Jitter keeps a thousand waiting clients from coming back to a restarted server in step."""
    return min(0.25 * 2.0 ** min(failures, 10), 5.0) * (0.5 + 0.5 * jitter())


def wait(
    seen: Request,
    dialect: Dialect,
    patience: Patience,
    *,
    clock: Callable[[], float] = monotonic,
    jitter: Callable[[], float] = random.random,
) -> Flow[Request]:
    """Until the request has ended, however. `seen` is what is known of it: its id will do."""
    waiting = _Waiting(seen, dialect, patience, clock, jitter)
    try:
        return (yield from waiting.flow())
    except Stopped:
        raise WaitStopped(waiting.seen, clock() - waiting.began) from None


class _Waiting:
    """One wait: what was seen last, how often in a row there was no answer, and when to give up."""

    def __init__(
        self,
        seen: Request,
        dialect: Dialect,
        patience: Patience,
        clock: Callable[[], float],
        jitter: Callable[[], float],
    ) -> None:
        self.seen, self.dialect, self.patience = seen, dialect, patience
        self.clock, self.jitter = clock, jitter
        self.began = clock() - patience.waited
        self.give_up = self.began + (inf if patience.timeout is None else patience.timeout)
        self.failures = 0
        self.trouble: APIError | None = None

    def flow(self) -> Flow[Request]:
        if self.seen.position is not None or self.seen.ended:
            self._tell(self.seen)
        # The original has the result no sooner than it says, and counts each look against a rate limit.
        if self.dialect is Dialect.DEFERRED and not self.seen.ended:
            yield from self._rest(self.patience.polling_interval)
        in_time = True
        while in_time and not self.seen.ended:
            in_time = yield from self._look()
        return self.seen if self.seen.ended else (yield from self._too_late())

    def _look(self) -> Flow[bool]:
        """Read the status once and rest as long as it asks for. False: no time is left for another look."""
        asked, before, call = self.clock(), self.seen, self._question()
        reply = yield from send(call)
        try:
            now = understand(self.dialect, self.seen.id, reply)
        except NotRaincheck:
            self.dialect = Dialect.DEFERRED
            return True
        except AskAgain as again:
            return (yield from self._endure(again))
        self.dialect, self.failures, self.trouble, self.seen = _learned(self.dialect, reply), 0, None, now
        self._tell(now)
        if now.ended:
            return True
        if self.dialect is Dialect.DEFERRED:
            return (yield from self._rest(self.patience.polling_interval, reply.retry_after))
        if now.status == before.status and self.clock() - asked < min(0.25, float(call.query.get("wait", 0)) / 2):
            # It came back early with no news: a server that is stopping, or a proxy. Do not ask in a tight loop.
            return (yield from self._rest(0.5))
        return self.clock() < self.give_up

    def _question(self) -> Call:
        remaining = max(0.0, self.give_up - self.clock())
        held = min(self.patience.longest_poll, remaining)
        if self.patience.observer is not None:
            held = min(held, 1.0)
        return question(self.dialect, self.seen, held, timeout=min(held + 10.0, remaining + 2.0))

    def _endure(self, again: AskAgain) -> Flow[bool]:
        self.trouble = again.error
        backoff = _backoff(self.failures, self.jitter)
        self.failures += 1
        return (yield from self._rest(backoff, again.retry_after))

    def _rest(self, seconds: float, at_least: float = 0.0) -> Flow[bool]:
        """Pause. When the time runs out first, a last look is due then, unless the server asked to stay away longer."""
        remaining = self.give_up - self.clock()
        if remaining <= 0:
            return False
        yield Pause(min(max(seconds, at_least), remaining))
        return at_least <= remaining

    def _too_late(self) -> Flow[Request]:
        cancelled: bool | None = None
        if self.patience.cancel_on_timeout:
            reply = yield from send(Call("POST", request_path(self.seen.id, "/cancel"), timeout=10.0))
            cancelled = self._cancelled(reply)
            if self.seen.status not in ("pending", "processing", "cancelled"):
                return self.seen  # it ended just before the cancel came
        raise WaitTimeout(self.seen, self.clock() - self.began, cancelled=cancelled) from self.trouble

    def _cancelled(self, reply: Reply) -> bool:
        record = reply.json() or {}
        if reply.error is not None or "status" not in record:
            return False
        self.seen = Request.construct(**record)
        return True

    def _tell(self, request: Request) -> None:
        if self.patience.observer is not None:
            self.patience.observer(request)


def _learned(dialect: Dialect, reply: Reply) -> Dialect:
    return Dialect.RAINCHECK if dialect is not Dialect.DEFERRED and reply.version else dialect

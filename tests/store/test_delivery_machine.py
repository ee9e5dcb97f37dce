"""Any order at all: random lives of deliveries, with G2 and G6 as invariants: whatever is parked, put off, lost with a
lease or held by a disabled endpoint, nothing that is pending is ever stuck.

`HYPOTHESIS_PROFILE=nightly` runs five hundred lives instead of thirty.
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any, Literal, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from raincheck.core.clock import DAY, HOUR, MINUTE, SECOND
from raincheck.core.errors import NotFound
from raincheck.core.webhooks import (
    Delivery,
    DeliveryLease,
    DeliveryStatus,
    Endpoint,
    EndpointChange,
    Receiver,
    Redelivery,
    Sent,
)
from tests.store.builders import (
    DEAD_AFTER,
    LEASE,
    Home,
    arrived,
    bounced,
    ended,
    given_up,
    listening,
    posted,
    told,
)

EXAMPLES = 500 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 30
PLACES = 3
URLS = ("https://one.example.com/a", "https://two.example.com/b")
TENANTS = ("urls", "endpoint")
"""One names URLs in its requests, the other has an endpoint."""

T = TypeVar("T")
Outcome = Literal["arrived", "bounced", "paused", "ours", "given up", "gone"]


class Post(RuleBasedStateMachine):
    """Each rule does one thing to the store; the invariants are asked of its log."""

    leases: Bundle[DeliveryLease] = Bundle("leases")
    """Every lease that was ever handed out: most are zombies."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.exits = AsyncExitStack()
        self.clock = home.clock
        self.store = self.do(self.exits.enter_async_context(home.open()))
        self.endpoint: Endpoint = self.do(listening(self.store, tenant="endpoint"))
        self.fences = dict[str, int]()
        """The newest claim of each delivery."""

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        # Not `runner.run`, which sets up signals each time and would take half of the time of this test.
        return self.runner.get_loop().run_until_complete(work)

    def log(self) -> list[Delivery]:
        return [delivery for tenant in TENANTS for delivery in self.do(told(self.store, tenant))]

    # --- what can happen

    @rule(count=st.integers(1, 4), url=st.sampled_from([*URLS, None]))
    def something_ends(self, count: int, url: str | None) -> None:
        for _ in range(count):
            self.do(ended(self.store, url, tenant="urls" if url else "endpoint"))

    @rule(target=leases, limit=st.integers(1, 9))
    def claim(self, limit: int) -> Any:
        claimed = self.do(posted(self.store, limit, places=PLACES))
        self.fences.update({lease.fence.request_id: lease.fence.number for lease in claimed})
        return multiple(*claimed)

    @rule(lease=leases, how=st.sampled_from(["arrived", "bounced", "bounced", "paused", "ours", "given up", "gone"]))
    def finish(self, lease: DeliveryLease, how: Outcome) -> None:
        """G2: only the newest claim writes, and only once."""
        now = self.do(self._at(lease))
        counts = now is not None and now.sending and self.fences[now.id] == lease.fence.number
        finished = self.do(
            self.store.deliveries.finish([self._sent(lease, how)], places=PLACES, disable_after=DEAD_AFTER)
        )
        assert finished.lost == ([] if counts else [lease.fence])
        if now is not None and not counts:
            assert self.do(self._at(lease)) == now

    def _sent(self, lease: DeliveryLease, how: Outcome) -> Sent:
        now = self.clock.now()
        match how:
            case "arrived":
                return arrived(lease)
            case "bounced":
                return bounced(lease, now + MINUTE)
            case "paused":
                return bounced(lease, now + MINUTE, pause_until=now + HOUR)
            case "ours":
                return bounced(lease, now + MINUTE, blame=False)
            case "given up":
                return given_up(lease)
            case "gone":
                return given_up(lease, gone=True)

    async def _at(self, lease: DeliveryLease) -> Delivery | None:
        try:
            return await self.store.deliveries.get(lease.delivery.tenant, lease.delivery.id)
        except NotFound:
            return None

    @rule(paused=st.booleans())
    def everything_fails(self, paused: bool) -> None:
        """Often enough for breakers to open."""
        for _ in range(Receiver.BREAK_AFTER):
            claimed = self.do(posted(self.store, 4, places=PLACES))
            self.fences.update({lease.fence.request_id: lease.fence.number for lease in claimed})
            failed = [self._sent(lease, "paused" if paused else "bounced") for lease in claimed]
            self.do(self.store.deliveries.finish(failed, places=PLACES, disable_after=DEAD_AFTER))

    @rule(enabled=st.booleans())
    def switch(self, enabled: bool) -> None:
        self.do(self.store.endpoints.update("endpoint", self.endpoint.id, EndpointChange(enabled=enabled)))

    @rule(number=st.integers(1, 9))
    def move(self, number: int) -> None:
        change = EndpointChange(url=f"https://number{number}.example.com/")
        self.do(self.store.endpoints.update("endpoint", self.endpoint.id, change))

    @rule()
    def remove(self) -> None:
        """With all that waits for it; another takes its place."""
        self.do(self.store.endpoints.delete("endpoint", self.endpoint.id))
        self.endpoint = self.do(listening(self.store, tenant="endpoint"))

    @rule(lease=leases)
    def send_again(self, lease: DeliveryLease) -> None:
        if self.do(self._at(lease)) is not None:
            self.do(self.store.deliveries.redeliver(lease.delivery.tenant, lease.delivery.id))

    @rule(tenant=st.sampled_from(TENANTS))
    def send_all_again(self, tenant: str) -> None:
        self.do(self.store.deliveries.redeliver_all(tenant, Redelivery(since=0), after=None, limit=5))

    @rule(passed=st.sampled_from([SECOND, 30 * SECOND, LEASE, 2 * MINUTE, HOUR, DAY]))
    def time_passes(self, passed: int) -> None:
        self.clock.advance(seconds=passed / SECOND)

    @rule()
    def keep(self) -> None:
        self.do(self.store.upkeep.purge(limit=4))
        self.do(self.store.upkeep.tidy(limit=4))

    # --- what must hold, always

    @invariant()
    def nothing_is_stuck(self) -> None:
        """G6: while a receiver has parked ones, one of its own is due or being sent, or its endpoint is disabled."""
        log = self.log()
        disabled = self.do(self.store.endpoints.get("endpoint", self.endpoint.id)).disabled_at is not None
        pending = [each for each in log if each.status is DeliveryStatus.PENDING]
        moving = {each.endpoint_id or each.url for each in pending if each.due_at is not None}
        for each in pending:
            held = disabled and each.endpoint_id is not None
            assert each.due_at is not None or held or (each.endpoint_id or each.url) in moving
        dues = [each.due_at for each in pending if each.due_at is not None]
        # What is left of an endpoint that was deleted is not listed, and is forgotten when its time comes.
        next_due = self.do(self.store.deliveries.next_due())
        assert next_due is not None if dues else True
        assert not dues or (next_due or 0) <= min(dues)

    @invariant()
    def no_receiver_has_more_than_its_places(self) -> None:
        now = self.clock.now()
        busy = Counter(each.endpoint_id or each.url for each in self.log() if each.sending and (each.due_at or 0) > now)
        assert all(count <= PLACES for count in busy.values())

    # --- the end of a life

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._drive_to_the_end()
        finally:
            self.do(self.exits.aclose())
            self.runner.close()

    def _drive_to_the_end(self) -> None:
        """Time and claims alone end everything, once receivers take what they are sent."""
        self.switch(enabled=True)
        turns = 0
        while (due := self.do(self.store.deliveries.next_due())) is not None:
            self.clock.advance_to(due)
            leases = self.do(posted(self.store, places=PLACES))
            self.do(self.store.deliveries.finish(list(map(arrived, leases)), places=PLACES, disable_after=DEAD_AFTER))
            turns += 1
            assert turns < 500
        assert [each for each in self.log() if each.status is DeliveryStatus.PENDING] == []


@pytest.mark.slow("thirty random lives of forty steps")
def test_whatever_the_order_no_delivery_is_stuck_and_every_receiver_keeps_to_its_places(
    homes: Callable[[], Home],
) -> None:
    """G2, G6."""
    run_state_machine_as_test(
        cast("type[Post]", lambda: Post(homes())),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

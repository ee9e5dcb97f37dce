"""Any order at all: random lives of requests against a plain model, with G2, G3, G6 and G7 as invariants.

`HYPOTHESIS_PROFILE=nightly` runs a thousand lives instead of sixty.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from msgspec import UNSET

from raincheck.core.clock import DAY, HOUR, SECOND
from raincheck.core.errors import AlreadyEnded, NotEnded, NotFound, NotRequeueable, RaincheckError, ResultGone
from raincheck.core.model import Attachment, Beat, Fence, Lease, Priority, Remote, Request, Tenant
from raincheck.core.status import MOVES, Status
from tests.store.builders import (
    LEASE,
    RETENTION,
    Home,
    a_request,
    capped,
    claimed,
    failure,
    release,
    retry,
    success,
)

EXAMPLES = 1_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 60
QUEUES = ("left", "right")
WEIGHTS = {"one": 1.0, "two": 2.0}
CAPPED = "two"
"""The tenant that may run only so many, now and then; its requests have no deadlines."""
SHARED = Attachment("input", "image.png", "uploads/shared", "image/png", 9, "ab" * 32)
"""What some requests are given; all of them share its body."""
ORDINARY = [Priority.DEFAULT, Priority.BATCH]

T = TypeVar("T")
some_time = st.sampled_from([None, None, None, 1, 30, 90]).map(lambda seconds: seconds and seconds * SECOND)


@dataclass(slots=True)
class Row:
    """What the model knows of one request."""

    id: str
    number: int
    tenant: str
    queue: str
    priority: Priority
    tag: float
    max_attempts: int
    due_at: int | None
    deadline: int | None
    given: bool = False
    """Whether it holds the shared body."""
    remote: Remote | None = None
    status: Status = Status.PENDING
    attempt: int = 0
    fence: int = 0
    result: bytes | None = None
    purge_at: int | None = None
    purged: bool = False
    final: Request | None = None
    """The record as it was first read after the end."""

    @property
    def place(self) -> tuple[int, float, int]:
        return self.priority, self.tag, self.number


@dataclass(slots=True)
class Model:
    """Raincheck's record in plain Python: the rules of `store/protocol.py`, without any care for speed or crashes."""

    rows: dict[str, Row] = field(default_factory=dict[str, Row])
    last_tag: dict[tuple[str, Priority, str], float] = field(default_factory=dict[tuple[str, Priority, str], float])
    virtual_time: dict[tuple[str, Priority], float] = field(default_factory=dict[tuple[str, Priority], float])
    paused_until: dict[str, int] = field(default_factory=dict[str, int])
    queue_cap: dict[str, int | None] = field(default_factory=dict[str, int | None])
    tenant_cap: int | None = None
    passed_over: set[str] = field(default_factory=set[str])
    """Queues in which requests of the tenant at its cap were set aside."""
    arrivals: int = 0
    strays: int = 0
    """How many remote jobs were left behind."""

    def submit(self, new_id: str, tenant: str, queue: str, priority: Priority, **rest: Any) -> None:
        share, flow = 1 / WEIGHTS[tenant], (queue, priority, tenant)
        behind = self.virtual_time.get((queue, priority), 0.0)
        tag = self.last_tag[flow] = max(self.last_tag.get(flow, behind), behind) + share
        self.arrivals += 1
        self.rows[new_id] = Row(new_id, self.arrivals, tenant, queue, priority, tag, **rest)

    def claim(self, queue: str, places: int, now: int) -> list[Row]:
        for row in self.rows.values():
            if row.due_at is not None and row.due_at <= now:
                self._wake(row, now)
        if self.paused_until.get(queue, 0) > now:
            return []
        claimed, passed_over = list[Row](), True
        ready = sorted((row for row in self.of(queue, Status.PENDING) if row.due_at is None), key=lambda row: row.place)
        while passed_over and (room := min(places, self._left_in(queue))) > 0:
            head, ready, passed_over = ready[:room], ready[room:], False
            for row in head:
                if row.tenant == CAPPED and self._left(self.tenant_cap, self.running(CAPPED)) <= 0:
                    passed_over = True
                    self.passed_over.add(queue)
                    continue
                places -= 1
                if row.deadline is not None and row.deadline <= now:
                    self.end(row, Status.EXPIRED, now)
                else:
                    self._take(row, now)
                    claimed.append(row)
            ready = [row for row in ready if row.tenant != CAPPED] if passed_over else ready
        return claimed

    def _take(self, row: Row, now: int) -> None:
        row.status, row.attempt, row.due_at = Status.PROCESSING, row.attempt + 1, now + LEASE
        lane = (row.queue, row.priority)
        self.virtual_time[lane] = max(self.virtual_time.get(lane, 0.0), row.tag)

    def _left_in(self, queue: str) -> int:
        return self._left(self.queue_cap.get(queue), self.of(queue, Status.PROCESSING))

    def _left(self, cap: int | None, running: list[Row]) -> int:
        return 1 << 31 if cap is None else cap - len(running)

    def _wake(self, row: Row, now: int) -> None:
        if row.status is Status.PENDING:
            row.due_at = None
        elif row.deadline is not None and row.deadline <= now:
            self.end(row, Status.EXPIRED, now)
        elif row.attempt >= row.max_attempts:
            self.end(row, Status.FAILED, now)
        else:
            self.back(row, None, now)

    def back(self, row: Row, due_at: int | None, now: int) -> None:
        row.status = Status.PENDING
        row.due_at = due_at if due_at is not None and due_at > now else None

    def end(self, row: Row, status: Status, now: int, result: bytes | None = None) -> None:
        row.status, row.result, row.due_at, row.purge_at = status, result, None, now + RETENTION
        self.strays += row.remote is not None and status is not Status.COMPLETED
        row.remote = None

    def holds(self, fence: Fence) -> bool:
        row = self.rows.get(fence.request_id)
        return row is not None and row.status is Status.PROCESSING and row.fence == fence.number

    def of(self, queue: str, status: Status) -> list[Row]:
        return [row for row in self.rows.values() if row.queue == queue and row.status is status]

    def running(self, tenant: str) -> list[Row]:
        return [row for row in self.rows.values() if row.tenant == tenant and row.status is Status.PROCESSING]

    def next_due(self, now: int) -> int | None:
        moments = [row.due_at for row in self.rows.values() if row.due_at is not None]
        return min(moments + [until for until in self.paused_until.values() if until > now], default=None)


class Lives(RuleBasedStateMachine):
    """Each rule does one thing to the store and to the model, and compares the answers."""

    requests: Bundle[str] = Bundle("requests")
    leases: Bundle[Lease] = Bundle("leases")
    """Every lease that was ever handed out: most are zombies."""

    def __init__(self, home: Home) -> None:
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self.exits = AsyncExitStack()
        self.clock = home.clock
        self.store = self.do(self.exits.enter_async_context(home.open()))
        self.model = Model()
        self.handed_out = list[Lease]()
        self.shared = False
        """Whether the shared body was ever held."""

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        # Not `runner.run`, which sets up signals each time and would take half of the time of this test.
        return self.runner.get_loop().run_until_complete(work)

    def refusal(self, work: Coroutine[Any, Any, object]) -> type[RaincheckError] | None:
        try:
            self.do(work)
        except RaincheckError as error:
            return type(error)
        return None

    @property
    def now(self) -> int:
        return self.clock.now()

    def holders(self) -> list[Row]:
        return [row for row in self.model.rows.values() if row.given and not row.purged]

    # --- what may happen

    @rule(
        target=requests,
        queue=st.sampled_from(QUEUES),
        tenant=st.sampled_from(sorted(WEIGHTS)),
        priority=st.sampled_from(ORDINARY),
        not_before=some_time,
        deadline=some_time,
        max_attempts=st.sampled_from([1, 3, 9]),
        given=st.booleans(),
    )
    def submit(
        self,
        queue: str,
        tenant: str,
        priority: Priority,
        not_before: int | None,
        deadline: int | None,
        max_attempts: int,
        given: bool,
    ) -> str:
        due_at = None if not_before is None else self.now + not_before
        ends_at = None if deadline is None or tenant == CAPPED else self.now + deadline
        limits = {"deadline": ends_at, "max_attempts": max_attempts}
        inputs = (SHARED,) if given else ()
        new = a_request(
            queue=queue,
            tenant=tenant,
            priority=priority,
            weight=WEIGHTS[tenant],
            not_before=due_at,
            attachments=inputs,
            **limits,
        )
        if given:
            self.shared = True
            self.do(self.store.blobs.expect(SHARED.blob, keep_for=DAY))
        self.do(self.store.requests.submit([new]))
        self.model.submit(new.id, tenant, queue, priority, due_at=due_at, given=given, **limits)
        return new.id

    @rule(target=leases, queue=st.sampled_from(QUEUES), places=st.integers(1, 3))
    def claim(self, queue: str, places: int) -> Any:
        return multiple(*self._claim(queue, places))

    @rule(target=leases, queue=st.sampled_from(QUEUES))
    def lapse_and_claim(self, queue: str) -> Any:
        """What makes zombies: the likeliest way to break a store, so it is a step of its own."""
        self.clock.advance(seconds=LEASE / SECOND)
        return multiple(*self._claim(queue, 3))

    def _claim(self, queue: str, places: int) -> list[Lease]:
        leases = self.do(claimed(self.store, places, queue=queue))
        expected = self.model.claim(queue, places, self.now)
        assert [(lease.fence.request_id, lease.attempt) for lease in leases] == [
            (row.id, row.attempt) for row in expected
        ]
        for row, lease in zip(expected, leases, strict=True):
            row.fence = lease.fence.number
            assert lease.remote == row.remote
        self.handed_out += leases
        fences = [lease.fence for lease in self.handed_out]
        assert len(set(fences)) == len(fences), "a fence was handed out twice"
        return leases

    @rule(
        lease=leases,
        progress=st.none() | st.sampled_from([0.25, 0.75]),
        remote=st.sampled_from([UNSET, None, Remote("up", "job-1"), Remote("up", "job-2")]),
    )
    def extend(self, lease: Lease, progress: float | None, remote: Any) -> None:
        beat = Beat(lease.fence, progress, remote=remote)
        held = self.do(self.store.leases.extend([beat], lease_for=LEASE))
        assert held == ({lease.fence} if self.model.holds(lease.fence) else set())
        if held:
            row = self.model.rows[lease.fence.request_id]
            row.due_at = self.now + LEASE
            row.remote = row.remote if remote is UNSET else remote

    @rule(lease=leases)
    def succeed(self, lease: Lease) -> None:
        body = b'{"fence":%d}' % lease.fence.number
        if self._finished(lease, success(lease, body)):
            self.model.end(self.model.rows[lease.fence.request_id], Status.COMPLETED, self.now, body)

    @rule(lease=leases, status=st.sampled_from([Status.FAILED, Status.EXPIRED, Status.CANCELLED]))
    def end_without_result(self, lease: Lease, status: Any) -> None:
        if self._finished(lease, failure(lease, status)):
            self.model.end(self.model.rows[lease.fence.request_id], status, self.now)

    @rule(lease=leases, wait=some_time)
    def retry(self, lease: Lease, wait: int | None) -> None:
        due_at = self.now + (wait or 0)
        if self._finished(lease, retry(lease, due_at)):
            self.model.back(self.model.rows[lease.fence.request_id], due_at, self.now)

    @rule(lease=leases, wait=some_time, pause=some_time)
    def release(self, lease: Lease, wait: int | None, pause: int | None) -> None:
        due_at = None if wait is None else self.now + wait
        pause_until = None if pause is None else self.now + pause
        if self._finished(lease, release(lease, due_at=due_at, pause_until=pause_until)):
            row = self.model.rows[lease.fence.request_id]
            row.attempt -= 1
            self.model.back(row, due_at, self.now)
            until = self.model.paused_until
            until[row.queue] = max(until.get(row.queue, 0), pause_until or 0)

    def _finished(self, lease: Lease, finish: Any) -> bool:
        lost = self.do(self.store.leases.finish([finish]))
        assert lost == ([] if self.model.holds(lease.fence) else [lease.fence])
        return not lost

    @rule()
    def every_zombie_writes(self) -> None:
        """G2: of all leases that were ever handed out and do not hold now, none does anything."""
        zombies = [lease for lease in self.handed_out if not self.model.holds(lease.fence)]
        writes = [
            write
            for lease in zombies
            for write in (success(lease, b"late"), failure(lease), retry(lease, self.now), release(lease))
        ]
        assert self.do(self.store.leases.finish(writes)) == [write.fence for write in writes]
        beats = [Beat(lease.fence, 0.5, remote=Remote("up", "late")) for lease in zombies]
        assert self.do(self.store.leases.extend(beats, lease_for=LEASE)) == set()

    @rule(queue=st.sampled_from(QUEUES), cap=st.sampled_from([None, 1, 2]))
    def cap_queue(self, queue: str, cap: int | None) -> None:
        self.do(capped(self.store, cap, name=queue))
        self.model.queue_cap[queue] = cap

    @rule(cap=st.sampled_from([None, 1, 2]))
    def cap_tenant(self, cap: int | None) -> None:
        self.do(self.store.registry.put_tenant(Tenant(CAPPED, max_running=cap)))
        self.model.tenant_cap = cap

    @rule(queue=st.sampled_from(QUEUES), pause=some_time)
    def pause_or_resume(self, queue: str, pause: int | None) -> None:
        until = None if pause is None else self.now + pause
        self.do(self.store.registry.pause("queue", queue, until=until))
        self.model.paused_until[queue] = until or 0

    @rule(request_id=requests)
    def cancel(self, request_id: str) -> None:
        row = self.model.rows.get(request_id)
        refused = self.refusal(self.store.requests.cancel(row.tenant if row else "one", request_id))
        if row is None:
            assert refused is NotFound
        elif not row.status.final:
            assert refused is None
            self.model.end(row, Status.CANCELLED, self.now)
        else:
            assert refused is (None if row.status is Status.CANCELLED else AlreadyEnded)

    @rule(target=requests, request_id=requests)
    def requeue(self, request_id: str) -> Any:
        row, new_id = self.model.rows.get(request_id), a_request().id
        refused = self.refusal(self.store.requests.requeue(row.tenant if row else "one", request_id, new_id=new_id))
        if row is None:
            assert refused is NotFound
        elif row.status not in {Status.FAILED, Status.CANCELLED, Status.EXPIRED}:
            assert refused is NotRequeueable
        elif row.purged:
            assert refused is ResultGone
        else:
            assert refused is None
            limits = {"due_at": None, "deadline": None, "max_attempts": row.max_attempts, "given": row.given}
            self.model.submit(new_id, row.tenant, row.queue, row.priority, **limits)
            return new_id
        return multiple(*list[str]())

    @rule(target=requests, request_id=consumes(requests))
    def delete(self, request_id: str) -> Any:
        row = self.model.rows.pop(request_id, None)
        refused = self.refusal(self.store.requests.delete(row.tenant if row else "one", request_id))
        if row is not None and not row.status.final:
            assert refused is NotEnded
            self.model.rows[request_id] = row
            return request_id
        assert refused is (None if row else NotFound)
        return multiple(*list[str]())

    @rule(passed=st.sampled_from([SECOND, 30 * SECOND, LEASE, HOUR]))
    def time_passes(self, passed: int) -> None:
        self.clock.advance(seconds=passed / SECOND)

    @rule()
    def expire(self) -> None:
        late = [
            row
            for row in self.model.rows.values()
            if row.status is Status.PENDING and row.deadline is not None and row.deadline <= self.now
        ]
        assert self.do(self.store.upkeep.expire(limit=1_000)) == len(late)
        for row in late:
            self.model.end(row, Status.EXPIRED, self.now)

    @rule()
    def purge(self) -> None:
        self.clock.advance(seconds=RETENTION / SECOND)
        due = [row for row in self.model.rows.values() if row.purge_at is not None and row.purge_at <= self.now]
        assert self.do(self.store.upkeep.purge(limit=1_000)) == len(due)
        for row in due:
            if row.purged:
                del self.model.rows[row.id]
            else:
                row.purged, row.purge_at, row.final, row.result = True, self.now + RETENTION, None, None

    # --- what must hold, always

    @invariant()
    def every_record_is_as_the_model_says(self) -> None:
        self.do(self._compare())

    async def _compare(self) -> None:
        for row in list(self.model.rows.values()):
            record = await self.store.requests.get(row.tenant, row.id)
            assert (record.status, record.attempt, record.due_at) == (row.status, row.attempt, row.due_at)
            # G6: one event per end, none before.
            events = [event.type for event in await self.store.upkeep.events(row.tenant, row.id)]
            assert events == ([f"chat.completion.{row.status}"] if row.status.final else [])
            # G2: what has ended stays as it is, its result too.
            if row.status.final:
                row.final = row.final or record
                assert record == row.final
                if not row.purged:
                    result = await self.store.requests.result(row.tenant, row.id)
                    assert (result and result.body) == row.result

    @invariant()
    def nothing_sticks(self) -> None:
        """G3: what has not ended can be claimed now or has a time at which it will be, and the store knows it."""
        ready = {row.queue for row in self.model.rows.values() if row.status is Status.PENDING and row.due_at is None}
        assert ready <= self.do(self.store.leases.ready()) <= ready | self.model.passed_over
        assert self.do(self.store.leases.next_due()) == self.model.next_due(self.now)

    @invariant()
    def the_counters_are_true(self) -> None:
        for queue in self.do(self.store.registry.queues()):
            pending, processing = (self.model.of(queue.name, status) for status in MOVES)
            assert (queue.pending, queue.processing) == (len(pending), len(processing))

    @invariant()
    def no_more_run_than_may(self) -> None:
        """G7: beyond a cap runs only what ran when the cap was lowered, so nothing is claimed then."""
        for throttle in self.do(self.store.registry.throttles("queue")):
            assert throttle.running == len(self.model.of(throttle.name, Status.PROCESSING))
            assert throttle.limits.max_concurrency == self.model.queue_cap.get(throttle.name)

    @invariant()
    def a_body_is_there_as_long_as_anyone_holds_it(self) -> None:
        """G12: and not a moment longer."""
        unheld = self.shared and not self.holders()
        assert self.do(self.store.blobs.doomed(limit=9)) == ([SHARED.blob] if unheld else [])

    @invariant()
    def every_remote_job_that_was_left_behind_is_known(self) -> None:
        """G5."""
        assert len(self.do(self.store.strays.due(["up"], limit=1_000))) == self.model.strays

    # --- the end of a life

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._drive_to_the_end()
        finally:
            self.do(self.exits.aclose())
            self.runner.close()

    def _drive_to_the_end(self) -> None:
        """G3: time and claims alone end everything; the model says how, and both must agree."""
        open_rows = [row for row in self.model.rows.values() if not row.status.final]
        for _ in range(10 * len(open_rows) + 10):
            if all(row.status.final for row in open_rows):
                break
            for queue in QUEUES:
                for lease in self._claim(queue, 100):
                    self.succeed(lease)
            due_at = self.model.next_due(self.now)
            if due_at is not None:
                self.clock.advance_to(due_at)
        assert all(row.status.final for row in open_rows)
        for row in self.holders():
            assert self.do(self.store.requests.attachments(row.tenant, row.id)) == [SHARED]
        self.every_record_is_as_the_model_says()


@pytest.mark.slow("sixty random lives of thirty steps")
def test_whatever_the_order_an_end_is_final_nothing_sticks_and_each_end_has_one_event(
    homes: Callable[[], Home],
) -> None:
    """G2, G3, G6, G7."""
    run_state_machine_as_test(
        cast("type[Lives]", lambda: Lives(homes())),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=30,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )

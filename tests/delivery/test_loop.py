"""The postman: takes what is due, sends it, notes how it went, and comes back when that is due (G6)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from raincheck.core.clock import SECOND, now
from raincheck.core.errors import StoreUnavailable
from raincheck.core.webhooks import (
    ClaimedDeliveries,
    Delivery,
    DeliveryLease,
    DeliveryStatus,
    FinishedDeliveries,
    Sent,
    Strangers,
)
from raincheck.delivery import loop
from raincheck.delivery.loop import LOOK_EVERY, SOONEST, TRY_STORE_EVERY, Carry
from raincheck.store.outbox import Deliveries
from raincheck.store.protocol import NOTHING
from tests.delivery.office import Office, an_office
from tests.receivers import Receiver, held, never, status


def all_ended(count: int) -> Callable[[list[Delivery]], bool]:
    return lambda log: len(log) == count and all(each.status is not DeliveryStatus.PENDING for each in log)


async def test_an_end_is_told_to_its_url_and_to_endpoints_under_one_id(tmp_path: Path) -> None:
    """G6: one event, whoever is told of it."""
    async with an_office(tmp_path) as office, Receiver() as receiver:
        endpoint = await office.endpoint(receiver.at("/all"))
        await office.endpoint(receiver.at("/others"), "batch.completed")
        request_id = await office.end(receiver.at("/own"))
        await office.postman.turn()
        came = await receiver.wait(2)
        assert sorted(each.path for each in came) == ["/all", "/own"]
        assert {each.id for each in came} == {each.json["id"] for each in came}
        assert {each.data["id"] for each in came} == {request_id}
        log = await office.until(all_ended(2))
        assert {each.status for each in log} == {DeliveryStatus.DELIVERED}
        assert {each.endpoint_id for each in log} == {endpoint.id, None}


async def test_what_was_never_signed_before_is_signed_with_a_key_that_stays(tmp_path: Path) -> None:
    async with an_office(tmp_path) as office, Receiver() as receiver:
        assert await office.store.endpoints.signing_key("t") is None
        for _ in range(2):
            await office.end(receiver.at())
        await office.postman.turn()
        first, second = await receiver.wait(2)
        key = await office.store.endpoints.signing_key("t")
        assert key is not None
        assert key.secret.startswith("whsec_")
        assert {"webhook-signature", "webhook-timestamp"} <= first.headers.keys() & second.headers.keys()


async def test_a_commits_hint_wakes_the_postman(tmp_path: Path) -> None:
    async with an_office(tmp_path) as office, Receiver() as receiver:
        running = asyncio.create_task(office.postman.run())
        await asyncio.sleep(0)
        await office.end(receiver.at())
        await receiver.wait(timeout=LOOK_EVERY / 2)
        await office.noted()
        await office.postman.close(1)
        await running


async def test_what_no_hint_told_of_is_found(tmp_path: Path) -> None:
    """Hints may be lost."""
    async with an_office(tmp_path, hints=False) as office, Receiver() as receiver:
        assert await office.postman.turn() == LOOK_EVERY
        await office.end(receiver.at())
        await office.postman.turn()
        await receiver.wait()


async def test_other_commits_do_not_make_it_claim(tmp_path: Path) -> None:
    claims = list[int]()

    async with an_office(tmp_path, outbox=lambda inner: Counted(inner, claims)) as office:
        await office.postman.turn()
        before = len(claims)
        office.postman.on_change(NOTHING)
        await office.postman.turn()
        assert len(claims) == before == 1


class Passing:
    """An outbox before the real one."""

    def __init__(self, inner: Deliveries) -> None:
        self.inner = inner
        self.list, self.get, self.attempts = inner.list, inner.get, inner.attempts
        self.redeliver, self.redeliver_all, self.note = inner.redeliver, inner.redeliver_all, inner.note
        self.next_due = inner.next_due

    async def claim(
        self, *, worker: str, lease_for: int, limit: int, places: int, strangers: Strangers
    ) -> ClaimedDeliveries:
        return await self.inner.claim(
            worker=worker, lease_for=lease_for, limit=limit, places=places, strangers=strangers
        )

    async def finish(self, sent: Sequence[Sent], *, places: int, disable_after: int) -> FinishedDeliveries:
        return await self.inner.finish(sent, places=places, disable_after=disable_after)


class Counted(Passing):
    def __init__(self, inner: Deliveries, limits: list[int]) -> None:
        super().__init__(inner)
        self._limits = limits

    async def claim(
        self, *, worker: str, lease_for: int, limit: int, places: int, strangers: Strangers
    ) -> ClaimedDeliveries:
        self._limits.append(limit)
        return await super().claim(worker=worker, lease_for=lease_for, limit=limit, places=places, strangers=strangers)


async def test_a_failed_attempt_is_made_again_when_it_is_due_under_the_same_id(tmp_path: Path) -> None:
    async with an_office(tmp_path) as office, Receiver() as receiver:
        receiver.script("/hook", status(500))
        await office.end(receiver.at())
        await office.postman.turn()
        failed = await office.noted()
        assert (failed.status, failed.status_code) == (DeliveryStatus.PENDING, 500)
        # The first delay of the schedule, which the postman sleeps through.
        assert await office.postman.turn() == pytest.approx(5, abs=0.5)
        assert len(receiver.received) == 1
        office.clock.advance(seconds=6)
        await office.postman.turn()
        assert (await office.noted(2)).status is DeliveryStatus.DELIVERED
        first, second = receiver.received
        assert first.id == second.id
        assert [each.headers["raincheck-attempt"] for each in (first, second)] == ["1", "2"]


async def test_a_receiver_that_never_answers_is_left_after_the_timeout_and_holds_up_nobody(tmp_path: Path) -> None:
    """G6: a dead receiver slows nobody else."""
    async with an_office(tmp_path, timeout=0.2) as office, Receiver() as receiver:
        receiver.always("/dead", never)
        await office.endpoint(receiver.at("/dead"))
        await office.endpoint(receiver.at("/healthy"))
        for _ in range(10):
            await office.end()
        running = asyncio.create_task(office.postman.run())
        await receiver.wait(10, path="/healthy")
        [first, *_] = await office.until(lambda log: any(each.status_code is None and each.error for each in log))
        assert first.created_at < now()
        assert len(receiver.on("/dead")) < 10
        await office.postman.close(0)
        await running


async def test_no_more_is_in_hand_than_there_are_hands_and_the_next_comes_when_one_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G12: what waits, waits in the store."""
    monkeypatch.setattr(loop, "AT_ONCE", 2)
    limits, let_go = list[int](), asyncio.Event()
    async with (
        an_office(tmp_path, outbox=lambda inner: Counted(inner, limits)) as office,
        Receiver() as receiver,
    ):
        receiver.always("/hook", held(let_go))
        for _ in range(4):
            await office.endpoint(receiver.at())
        await office.end()
        running = asyncio.create_task(office.postman.run())
        await receiver.wait(2)
        assert (len(receiver.received), limits) == (2, [2])
        let_go.set()
        await receiver.wait(4)
        assert max(limits) == 2
        await office.until(all_ended(4))
        await office.postman.close(1)
        await running


# --- when things go wrong


class Flaky(Passing):
    """Cannot be written the first few times."""

    def __init__(self, inner: Deliveries, *, claims: int = 0, finishes: int = 0) -> None:
        super().__init__(inner)
        self._claims, self._finishes = claims, finishes

    async def claim(self, **what: Any) -> ClaimedDeliveries:
        self._claims -= 1
        if self._claims >= 0:
            raise StoreUnavailable
        return await super().claim(**what)

    async def finish(self, sent: Sequence[Sent], **what: Any) -> FinishedDeliveries:
        self._finishes -= 1
        if self._finishes >= 0:
            raise StoreUnavailable
        return await super().finish(sent, **what)


async def test_a_store_that_is_down_is_asked_again_after_a_while(tmp_path: Path) -> None:
    async with an_office(tmp_path, outbox=lambda inner: Flaky(inner, claims=1)) as office, Receiver() as receiver:
        await office.end(receiver.at())
        assert await office.postman.turn() == TRY_STORE_EVERY
        await office.postman.turn()
        await receiver.wait()


@pytest.mark.slow("waits out a pause of 0.5 s")
async def test_an_outcome_is_kept_until_the_store_is_back(tmp_path: Path) -> None:
    async with an_office(tmp_path, outbox=lambda inner: Flaky(inner, finishes=1)) as office, Receiver() as receiver:
        await office.end(receiver.at())
        await office.postman.turn()
        assert (await office.noted()).status is DeliveryStatus.DELIVERED
        assert len(receiver.received) == 1


def stumbling(times: int, error: Exception) -> Callable[[Carry], Carry]:
    """Raise this instead of carrying, so many times."""
    left = [error] * times

    def before(carry: Carry) -> Carry:
        def stumble(lease: DeliveryLease) -> Awaitable[Sent]:
            if left:
                raise left.pop()
            return carry(lease)

        return stumble

    return before


async def test_a_fault_of_ours_is_told_and_tried_again_without_blame(tmp_path: Path) -> None:
    async with an_office(tmp_path, carry=stumbling(1, KeyError("a bug"))) as office, Receiver() as receiver:
        endpoint = await office.endpoint(receiver.at())
        for _ in range(2):
            await office.end()
        await office.postman.turn()
        await receiver.wait(1)
        log = await office.until(
            lambda log: [each.attempt for each in log] == [1, 1] and not any(e.sending for e in log)
        )
        assert [str(each) for each in office.crashes] == ["'a bug'"]
        [stumbled] = [each for each in log if each.status is DeliveryStatus.PENDING]
        [attempt] = await office.store.deliveries.attempts("t", stumbled.id)
        assert attempt.error_code == "delivery_error"
        assert (await office.store.endpoints.get("t", endpoint.id)).failures == 0
        office.clock.advance(seconds=6)
        await office.postman.turn()
        await office.until(all_ended(2))


@pytest.mark.slow("waits out a pause of 0.5 s")
async def test_what_cannot_be_read_just_now_is_waited_for(tmp_path: Path) -> None:
    async with an_office(tmp_path, carry=stumbling(1, StoreUnavailable())) as office, Receiver() as receiver:
        await office.end(receiver.at())
        await office.postman.turn()
        assert (await office.noted()).status is DeliveryStatus.DELIVERED
        assert office.crashes == []


class Broken(Passing):
    """Has a bug of its own where outcomes are noted."""

    async def finish(self, sent: Sequence[Sent], *, places: int, disable_after: int) -> FinishedDeliveries:
        raise ZeroDivisionError


async def test_what_could_not_be_noted_lapses_and_is_sent_again(tmp_path: Path) -> None:
    """G6: at least once, and the receiver can tell."""
    async with an_office(tmp_path, outbox=Broken) as office, Receiver() as receiver:
        await office.end(receiver.at())
        await office.postman.turn()
        await receiver.wait()
        while not office.crashes:
            await asyncio.sleep(0.005)
        office.clock.advance(seconds=(office.postman.timeout + loop.PATIENCE) / SECOND + 1)
        assert await office.postman.turn() >= SOONEST
        first, second = await receiver.wait(2)
        assert first.id == second.id


# --- stopping


async def sending(office: Office, receiver: Receiver) -> None:
    """One delivery is on the wire."""
    await office.end(receiver.at())
    await office.postman.turn()
    await receiver.wait()


async def test_closing_lets_what_is_being_sent_arrive_and_takes_nothing_new(tmp_path: Path) -> None:
    let_go = asyncio.Event()
    async with an_office(tmp_path) as office, Receiver() as receiver:
        receiver.always("/hook", held(let_go))
        await sending(office, receiver)
        closing = asyncio.create_task(office.postman.close(10))
        await asyncio.sleep(0)
        await office.end(receiver.at("/late"))
        let_go.set()
        await closing
        await office.postman.turn()
        [taken, late] = await office.log()
        assert (taken.status, late.attempt) == (DeliveryStatus.DELIVERED, 0)
        assert receiver.on("/late") == []


async def test_closing_without_grace_breaks_off_what_is_being_sent(tmp_path: Path) -> None:
    async with an_office(tmp_path) as office, Receiver() as receiver:
        receiver.always("/hook", never)
        await sending(office, receiver)
        await office.postman.close(0)
        async with asyncio.timeout(5):
            await receiver.received[0].left.wait()
        [delivery] = await office.log()
        assert (delivery.status, delivery.sending) == (DeliveryStatus.PENDING, True)


async def test_a_second_signal_cuts_the_grace_short(tmp_path: Path) -> None:
    async with an_office(tmp_path) as office, Receiver() as receiver:
        receiver.always("/hook", never)
        await sending(office, receiver)
        closing = asyncio.create_task(office.postman.close(60))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        office.postman.give_up()
        async with asyncio.timeout(5):
            await closing

"""Lines on their way into the queues: each becomes one request, once, and never too many at a time."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from raincheck.core.batches import Batch, BatchStatus
from raincheck.core.clock import DAY, MINUTE
from raincheck.core.errors import AttachmentGone, FenceLost
from raincheck.core.model import Priority, Query, Request, Tenant
from raincheck.intake.batches.appetite import IDLE_LATEST, LOW, SOONEST
from raincheck.intake.batches.feed import LINES
from raincheck.intake.batches.line import OURS, made_up_name
from raincheck.intake.batches.supply import Supply
from tests.intake.batches.house import House, a_house
from tests.intake.batches.inputs import a_call, a_line, some_lines
from tests.store.builders import submitted


async def requests(house: House) -> list[Request]:
    """All that was fed, in order."""
    found, after = list[Request](), None
    while True:
        page = await house.store.requests.search("t", Query(oldest_first=True, limit=100, after=after))
        found += page.requests
        if not page.has_more:
            return found
        after = page.requests[-1].id


async def accepted(house: House, text: bytes) -> Batch:
    """A batch whose lines have been checked."""
    batch = await house.batch(text)
    await house.step()
    return batch


async def test_a_line_becomes_a_request_like_any_other(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await house.store.registry.put_tenant(Tenant("t", weight=2.0))
        batch = await accepted(house, a_line(body=a_call(service_tier="priority", temperature=1)))
        await house.step()
        [request] = await requests(house)
        [payload] = (await house.store.requests.payloads("t", [request.id])).values()
    assert request.id.startswith("batch_req_")
    assert (request.batch, request.queue, request.path) == (batch.id, "small", "/chat/completions")
    assert (request.priority, request.deadline) == (Priority.BATCH, batch.expires_at)
    assert (request.max_attempts, request.webhook_url) == (3, None)
    assert msgspec.json.decode(payload) == a_call(temperature=1)


async def test_ids_say_where_a_request_is_read(tmp_path: Path) -> None:
    lines = [
        a_line("a", url="/v1/responses", body={"model": "small", "input": "Hi."}),
        a_line("b", url="/v1/videos", body={"model": "small", "prompt": "a dog"}),
        a_line("c", url="/v1/embeddings", body={"model": "small", "input": "Hi."}),
    ]
    async with a_house(tmp_path) as house:
        await house.open_batch(lines)
        await house.step()
        made = await requests(house)
    assert [request.id.rpartition("_")[0] for request in made] == ["resp", "video", "batch_req"]
    assert [request.operation for request in made] == ["response", "video.generation", "embedding"]


async def test_no_more_is_fed_than_a_queue_has_use_for(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await accepted(house, some_lines(2 * LOW + 50))
        await house.step()
        assert (await house.get(batch)).counts.fed == LOW
        house.clock.advance(seconds=1)
        await house.answer(LINES)
        await house.step()
        assert (await house.get(batch)).counts.fed == LOW + LINES


@pytest.mark.parametrize("cap", [1, 100, 1_000])
async def test_a_tenants_cap_leaves_room_for_what_it_submits_itself(tmp_path: Path, cap: int) -> None:
    """Whatever queues the lines are for."""
    half, other = max(1, cap // 2), a_line("last", body=a_call("other"))
    async with a_house(tmp_path) as house:
        await house.store.registry.put_tenant(Tenant("t", max_pending=cap))
        batch = await accepted(house, some_lines(3 * LINES) + other)
        due_at = await house.step()
        assert (await house.get(batch)).counts.fed == half
        assert due_at is not None
        await submitted(house.store, cap - half, max_pending=cap)
        # What has ended makes room, and what the tenant has waiting itself takes none of it.
        house.clock.advance_to(due_at)
        assert await house.answer(half, queue="small") == half
        fed = (await house.get(batch)).counts.fed
        await house.step()
        now = await house.get(batch)
        assert (now.counts.fed - fed) == now.counts.completed


async def test_a_line_that_has_become_too_long_is_told_of_by_a_name_that_no_other_has(tmp_path: Path) -> None:
    long = a_line("b", body=a_call(user="x" * 2_000))
    async with a_house(tmp_path) as house:
        batch = await accepted(house, a_line("line 2") + b"\n" + long + b"\n" + a_line(f"{OURS}x"[1:]) + b"\n")
        feeder = dataclasses.replace(house.steps.feeder, longest=1_000)  # The limit was lowered meanwhile.
        house.steps = dataclasses.replace(house.steps, feeder=feeder)
        await house.step()
        rows = await house.store.batches.rows("t", batch.id, limit=9)
        names = [row.custom_id for row in rows]
        refused = await house.batch(a_line(names[1]))
        house.clock.advance(seconds=1)
        await house.step()
        assert [error.code for error in (await house.get(refused)).errors] == ["invalid_custom_id"]
    assert names == ["line 2", made_up_name(2), "aincheck:x"]
    assert rows[1].error is not None
    assert rows[1].error.code == "line_too_long"


async def test_every_line_is_fed_once_whoever_goes_on(tmp_path: Path) -> None:
    """G2: a feeder that lost its lease feeds nothing, and the next one goes on where it was."""
    async with a_house(tmp_path) as house:
        batch = await accepted(house, some_lines(LINES + 7))
        stale = await house.lease()
        tenant = await house.store.registry.tenant("t")
        feeder = house.steps.feeder
        supply = Supply(stale.batch, stale.cursor, house.store.batches, house.objects, longest=feeder.longest)
        assert await feeder.feed(stale, tenant, supply) is not None
        house.clock.advance(seconds=61)
        await house.step()
        with pytest.raises(FenceLost):
            await feeder.feed(stale, tenant, supply)
        await supply.aclose()
        rows = await house.store.batches.rows("t", batch.id, limit=1_000)
    assert [row.custom_id for row in rows] == [f"request-{number}" for number in range(1, LINES + 8)]
    assert len({row.request.id for row in rows if row.request is not None}) == LINES + 7


async def test_a_line_that_will_not_do_after_all_fails_alone(tmp_path: Path) -> None:
    lines = [
        a_line("a", url="/v1/videos", body={"model": "small", "prompt": "bad"}),
        a_line("b", url="/v1/videos", body={"model": "small", "prompt": "good"}),
    ]
    async with a_house(tmp_path) as house:
        batch = await house.open_batch(lines)
        await house.step()
        bad, good = await house.store.batches.rows("t", batch.id, limit=10)
        assert bad.request is None
        assert bad.error is not None
        assert (bad.error.code, bad.error.message) == ("invalid_request", "This prompt will not do.")
        assert good.request is not None
        assert (await house.get(batch)).counts.failed == 1
        # What it had put into the object store is let go of at once.
        assert await house.store.blobs.doomed(limit=10) == ["inputs/1"]


async def test_lines_are_fed_as_they_are_added(tmp_path: Path) -> None:
    names = [[f"{part}.{line}" for line in range(3)] for part in range(11)]
    async with a_house(tmp_path) as house:
        batch = await house.open_batch(*([a_line(name) for name in part] for part in names[:10]))
        await house.step()
        assert (await house.get(batch)).counts.fed == 30
        await house.add(batch, [a_line(name) for name in names[10]])
        await house.step()
        rows = await house.store.batches.rows("t", batch.id, limit=100)
    assert [row.custom_id for row in rows] == [name for part in names for name in part]
    assert [row.line for row in rows] == list(range(1, 34))


async def test_what_waits_rises_with_the_batch(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await accepted(house, some_lines(LINES + 7))
        await house.step()
        house.clock.advance_to(batch.created_at + DAY * 3 // 4)
        assert await house.step() == batch.created_at + DAY * 9 // 10
        assert {request.priority for request in await requests(house)} == {Priority.FLEX}
        house.clock.advance_to(batch.created_at + DAY * 9 // 10)
        assert await house.step() == batch.expires_at
        assert {request.priority for request in await requests(house)} == {Priority.DEFAULT}


async def test_a_rise_that_was_cut_off_is_taken_up_again(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await accepted(house, some_lines(LINES + 7))
        await house.step()
        house.clock.advance_to(batch.created_at + DAY * 3 // 4)
        lease = await house.lease()
        await house.store.batches.rise(lease.fence, Priority.FLEX, limit=LINES)
        house.clock.advance(seconds=61)
        await house.step()
        assert {request.priority for request in await requests(house)} == {Priority.FLEX}


async def test_a_queue_that_stands_still_is_looked_at_ever_more_rarely(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await accepted(house, some_lines(LOW + 1))
        waits = list[int]()
        for _ in range(8):
            due_at = await house.step()
            assert due_at is not None
            waits.append(due_at - house.clock.now())
            house.clock.advance_to(due_at)
    assert waits == sorted(waits)
    assert waits[-1] == IDLE_LATEST


async def test_a_batch_that_is_not_hungry_is_looked_at_again_soon(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await accepted(house, some_lines(LOW + 1))
        due_at = await house.step()
    assert due_at is not None
    assert house.clock.now() + SOONEST <= due_at <= house.clock.now() + MINUTE


async def test_an_input_that_has_gone_feeds_nothing(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await accepted(house, some_lines(3))
        [part] = await house.store.batches.parts("t", batch.id, limit=99)
        assert part.body.blob is not None
        await house.objects.delete([part.body.blob])
        with pytest.raises(AttachmentGone):
            await house.steps.take(await house.lease())
        now = await house.get(batch)
    assert (now.status, now.counts.fed) == (BatchStatus.IN_PROGRESS, 0)

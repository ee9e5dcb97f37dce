"""When a queue wants more of a batch, how soon to look again, and when the batch is in more of a hurry."""

from msgspec import structs

from raincheck.core.batches import Appetite, Batch, BatchDialect, BatchStatus, Counts, Crowd, Usage
from raincheck.core.clock import DAY, HOUR, SECOND
from raincheck.core.model import Priority
from raincheck.intake.batches.appetite import (
    IDLE_KEPT,
    IDLE_LATEST,
    LATEST,
    LOW,
    PER_IDLE,
    SOONEST,
    UNMEASURED,
    Appetites,
    Patience,
    next_rise,
    priority_at,
    room,
)

BATCH = Batch(
    id="batch_1",
    tenant="t",
    dialect=BatchDialect.OPENAI,
    name=None,
    endpoint=None,
    model=None,
    status=BatchStatus.IN_PROGRESS,
    ends_as=None,
    completion_window="24h",
    metadata={},
    webhook_url=None,
    webhook_events=(),
    input_file_id=None,
    output_file_id=None,
    error_file_id=None,
    output_expires_after=None,
    errors=(),
    counts=Counts(),
    usage=Usage(),
    priority=Priority.BATCH,
    created_at=DAY,
    in_progress_at=None,
    finalizing_at=None,
    ended_at=None,
    expires_at=2 * DAY,
)


def some(*appetites: Appetite, room: int | None = None) -> Appetites:
    return Appetites(appetites, room)


def test_a_queue_with_few_pending_is_hungry_until_it_has_enough() -> None:
    appetites = some(Appetite("small", 5_000, LOW - 200, None))
    assert appetites.hungry
    appetites.fed({"small": 200})
    assert not appetites.hungry


def test_one_hungry_queue_is_enough() -> None:
    assert some(Appetite("small", 1, LOW, None), Appetite("large", 1, 0, None)).hungry


def test_what_has_nothing_left_is_not_hungry() -> None:
    appetites = some(Appetite("small", 200, 0, None))
    appetites.fed({"small": 200})
    assert not appetites.hungry
    assert appetites.look_again_in() is None
    assert some(Appetite("small", 0, 0, None)).look_again_in() is None


def test_the_batches_of_a_tenant_with_a_cap_share_half_of_it() -> None:
    assert room(None, None) is None
    assert room(Crowd(1, 0), 100) == 50
    assert room(Crowd(1, 49), 100) == 1
    assert room(Crowd(1, 50), 100) == 0
    assert room(Crowd(1, 70), 100) == 0
    assert room(Crowd(3, 10), 100) == 14
    assert room(Crowd(1, 0), 1) == 1


def test_bites_are_as_large_as_there_is_room_for_and_end_with_it() -> None:
    appetites = some(Appetite("small", 5_000, 0, None), Appetite("other", 1, 0, None), room=250)
    assert (appetites.hungry, appetites.bite(200)) == (True, 200)
    appetites.fed({"small": 200})
    assert (appetites.hungry, appetites.bite(200)) == (True, 50)
    appetites.fed({"small": 50})
    assert not appetites.hungry
    assert appetites.look_again_in() == UNMEASURED
    assert some(Appetite("small", 5_000, 0, None)).bite(200) == 200


def test_what_has_nothing_to_do_is_looked_at_ever_more_rarely() -> None:
    patience = Patience()
    waits = [patience.idle("a", UNMEASURED, number) for number in range(7)]
    assert waits == [min(UNMEASURED << number, IDLE_LATEST) for number in range(7)]
    patience.busy("a")
    assert patience.idle("a", UNMEASURED, 9) == UNMEASURED


def test_the_more_have_nothing_to_do_the_more_rarely_each_is_looked_at() -> None:
    """G11: with thousands of open batches, looking at them is work."""
    patience = Patience()
    for number in range(1_000):
        patience.idle(f"batch-{number}", SOONEST, number)
    assert patience.idle("batch-0", SOONEST, SECOND) == 1_000 * PER_IDLE
    # Those that have gone count no more.
    assert patience.idle("batch-0", SOONEST, SECOND + 2 * IDLE_KEPT) <= IDLE_LATEST


def test_a_queue_is_looked_at_again_when_half_of_it_is_likely_to_be_done() -> None:
    pace = SECOND / LOW
    assert some(Appetite("small", 9, LOW, pace)).look_again_in() == SECOND // 2


def test_it_is_never_looked_at_all_the_time_nor_left_alone_for_long() -> None:
    assert some(Appetite("small", 9, LOW, 1.0)).look_again_in() == SOONEST
    assert some(Appetite("small", 9, 0, 1.0)).look_again_in() == SOONEST
    assert some(Appetite("small", 9, LOW, float(HOUR))).look_again_in() == LATEST
    assert some(Appetite("small", 9, LOW, None)).look_again_in() == UNMEASURED


def test_the_fastest_queue_says_when() -> None:
    slow, fast = Appetite("slow", 9, LOW, float(HOUR)), Appetite("fast", 9, LOW, SECOND / LOW)
    assert some(slow, fast).look_again_in() == SECOND // 2


def test_a_batch_is_in_more_of_a_hurry_as_its_window_closes() -> None:
    at = [0.0, 0.7, 0.75, 0.89, 0.9, 1.0]
    assert [priority_at(BATCH, DAY + round(DAY * share)) for share in at] == [
        Priority.BATCH,
        Priority.BATCH,
        Priority.FLEX,
        Priority.FLEX,
        Priority.DEFAULT,
        Priority.DEFAULT,
    ]


def test_a_batch_never_falls_back() -> None:
    assert priority_at(structs.replace(BATCH, priority=Priority.FLEX), DAY) is Priority.FLEX


def test_it_is_looked_at_when_it_rises_and_when_its_window_is_over() -> None:
    assert next_rise(BATCH, DAY) == DAY + DAY * 3 // 4
    assert next_rise(BATCH, DAY + DAY * 3 // 4) == DAY + DAY * 9 // 10
    assert next_rise(BATCH, DAY + DAY * 9 // 10) == 2 * DAY

"""What the server says of batches: once each, in numbers, never a line of theirs."""

from pathlib import Path

from raincheck import telemetry
from raincheck.core.clock import DAY
from raincheck.core.errors import AttachmentGone
from raincheck.core.outcome import RequestError
from raincheck.telemetry import Metrics, observe
from tests.intake.batches.house import a_house
from tests.intake.batches.inputs import a_line, some_lines
from tests.logs import logged


async def test_a_batch_is_spoken_of_as_it_begins_and_ends(tmp_path: Path) -> None:
    metrics = Metrics()
    with logged() as events:
        async with a_house(tmp_path, change=lambda store: observe(store, metrics)) as house:
            batch = await house.batch(some_lines(3))
            for _ in range(2):
                await house.step()
            await house.answer(1)
            await house.fail(RequestError("The secret line.", code="upstream_failed"))
            house.clock.advance(seconds=DAY / 1_000_000)
            await house.step()
    told = [each for each in events if each["event"].startswith("batch.")]
    assert [each["event"] for each in told] == ["batch.accepted", "batch.ended"]
    assert {each["id"] for each in told} == {batch.id}
    assert (told[0]["lines"], told[0]["queues"]) == (3, 1)
    assert (told[1]["status"], told[1]["seconds"]) == ("expired", 86_400.0)
    assert [told[1][way] for way in ("completed", "failed", "cancelled", "expired")] == [1, 1, 0, 1]
    # That its lines are pending is no lapse.
    assert not [each for each in events if each["event"] == "request.lapsed"]
    assert "secret" not in str(events)
    page = metrics.page().decode()
    assert 'raincheck_batch_lines_total{status="expired"} 1.0' in page
    assert 'raincheck_submitted_total{queue="other"} 3.0' in page


async def test_a_refused_batch_is_spoken_of_by_its_codes(tmp_path: Path) -> None:
    with logged() as events:
        async with a_house(tmp_path, change=lambda store: observe(store, Metrics())) as house:
            await house.batch(a_line("secret") + b"\n" + a_line("secret") + b"\n{\n")
            await house.step()
    [told] = [each for each in events if each["event"] == "batch.refused"]
    assert (told["errors"], told["codes"]) == (2, ["duplicate_custom_id", "invalid_json_line"])
    assert "secret" not in str(events)


async def test_a_cancel_is_spoken_of(tmp_path: Path) -> None:
    with logged() as events:
        async with a_house(tmp_path) as house:
            batch = await house.batch(some_lines(1))
            batches = observe(house.store, Metrics()).batches
            await batches.cancel("t", batch.id, limit=1)
            await batches.cancel("t", batch.id, limit=1)  # It is already: that is no news.
    assert [each["id"] for each in events if each["event"] == "batch.cancelling"] == [batch.id]


def test_a_batch_that_cannot_go_on_is_spoken_of() -> None:
    with logged() as events:
        telemetry.batch_held_up(AttachmentGone(), "batch_1")
        telemetry.batch_held_up(KeyError("a bug"), "batch_2")
    assert [(each["event"], each["id"], each["log_level"]) for each in events] == [
        ("batch.held_up", "batch_1", "warning"),
        ("batch.crashed", "batch_2", "error"),
    ]

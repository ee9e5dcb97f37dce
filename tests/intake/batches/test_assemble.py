"""The files in which batches end: lines in are lines out, in input order, whatever became of them."""

import base64
import gc
import tracemalloc
from pathlib import Path

import msgspec
import pytest

from raincheck.core.batches import BATCH_KEPT, Batch, BatchStatus
from raincheck.core.clock import DAY, HOUR
from raincheck.core.errors import NoObjectStore, StoreUnavailable
from raincheck.core.model import Lease
from raincheck.core.outcome import Reply, RequestError, UpstreamError
from raincheck.intake.batches.appetite import LOW
from raincheck.intake.batches.assemble import PAGE
from raincheck.intake.batches.line import made_up_name
from raincheck.store.blobs import MARK
from tests.intake.batches.house import ANSWER, House, Json, a_house
from tests.intake.batches.inputs import MIB, a_line, some_lines
from tests.store.builders import success

REFUSED = RequestError(
    "It was too long.",
    "invalid_request_error",
    "context_length_exceeded",
    upstream=UpstreamError("up", 400, msgspec.Raw(b'{"error":{"message":"too long"}}')),
)
BROKEN = RequestError("The upstream hung up.", code="upstream_failed")


async def fed(house: House, text: bytes, **changes: object) -> Batch:
    """A batch that has been checked and fed."""
    batch = await house.batch(text, **changes)
    await house.step()
    await house.step()
    return batch


async def ended(house: House, batch: Batch) -> Batch:
    """The batch, once its files are written."""
    assert await house.step() is None
    return await house.get(batch)


async def outputs(house: House, body: bytes, content_type: str) -> Json:
    """The one output line of a batch that was answered like this."""
    batch = await fed(house, some_lines(1))
    await house.answer(reply=lambda _: Reply(body, content_type=content_type))
    await ended(house, batch)
    [line], errors = await house.files(batch)
    assert errors == []
    return line


async def test_answers_stand_in_the_order_of_the_input(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(PAGE + 3))
        leases = await house.claimed(2 * PAGE)
        for some in (leases[100:], leases[:100]):
            await finish(house, some)
        batch = await ended(house, batch)
        output, errors = await house.files(batch)
    assert [line["custom_id"] for line in output] == [f"request-{number}" for number in range(1, PAGE + 4)]
    assert errors == []
    assert batch.error_file_id is None
    assert output[0] == {
        "id": "batch_req_" + leases[0].fence.request_id.removeprefix("batch_req_"),
        "custom_id": "request-1",
        "response": {
            "status_code": 200,
            "request_id": leases[0].fence.request_id,
            "body": msgspec.json.decode(ANSWER),
        },
        "error": None,
    }


async def test_failures_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(3))
        await house.fail(REFUSED)
        await house.answer(1)
        await house.fail(BROKEN)
        await ended(house, batch)
        output, [refused, broken] = await house.files(batch)
    assert [line["custom_id"] for line in output] == ["request-2"]
    assert (refused["custom_id"], refused["error"]) == ("request-1", None)
    assert refused["response"]["status_code"] == 400
    told = refused["response"]["body"]["error"]
    assert (told["code"], told["message"]) == ("context_length_exceeded", "It was too long.")
    assert (broken["custom_id"], broken["response"]) == ("request-3", None)
    assert broken["error"] == {"code": "upstream_failed", "message": "The upstream hung up."}


async def test_without_a_success_there_is_no_output_file(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(1))
        await house.fail(BROKEN)
        batch = await ended(house, batch)
        assert batch.output_file_id is None
        assert len(house.blobs()) == 1


async def test_files_say_what_they_are(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(2))
        await house.fail(BROKEN)
        await house.answer()
        batch = await ended(house, batch)
        files = [await house.store.files.get("t", id_ or "") for id_ in (batch.output_file_id, batch.error_file_id)]
    assert [file.filename for file in files] == [f"{batch.id}_output.jsonl", f"{batch.id}_error.jsonl"]
    assert {(file.purpose, file.content_type) for file in files} == {("batch_output", "application/jsonl")}
    assert {file.expires_at for file in files} == {house.clock.now() + BATCH_KEPT}


async def test_files_are_kept_as_long_as_was_asked_for(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(1), output_expires_after=HOUR)
        await house.answer()
        batch = await ended(house, batch)
        file = await house.store.files.get("t", batch.output_file_id or "")
    assert file.expires_at == house.clock.now() + HOUR


@pytest.mark.parametrize("way", [BatchStatus.CANCELLED, BatchStatus.EXPIRED])
async def test_an_end_at_half_adds_up(tmp_path: Path, way: BatchStatus) -> None:
    """Lines in are lines out: completed, open and never fed alike."""
    total = LOW + 500
    async with a_house(tmp_path) as house:
        batch = await fed(house, b"\xef\xbb\xbf\n" + some_lines(total).replace(b"\n", b"\r\n\n"))
        await house.answer(400)
        running = await house.claimed(5)
        if way is BatchStatus.CANCELLED:
            await house.store.batches.cancel("t", batch.id, limit=10)
        else:
            house.clock.advance(seconds=DAY / 1_000_000)
        batch = await ended(house, batch)
        await finish(house, running)  # Too late: they were ended.
        output, errors = await house.files(batch)
    lost = total - 400
    assert batch.status is way
    assert (batch.counts.total, batch.counts.completed) == (total, 400)
    assert (batch.counts.cancelled, batch.counts.expired) == ((lost, 0) if way is BatchStatus.CANCELLED else (0, lost))
    names = [line["custom_id"] for line in [*output, *errors]]
    assert names == [f"request-{number}" for number in range(1, total + 1)]
    assert {line["error"]["code"] for line in errors} == {f"batch_{way}"}
    assert len({line["id"] for line in [*output, *errors]}) == total


async def test_a_batch_that_is_cancelled_before_it_was_checked_has_no_files(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await house.batch(some_lines(3))
        await house.store.batches.cancel("t", batch.id, limit=10)
        batch = await ended(house, batch)
        assert (batch.status, house.blobs()) == (BatchStatus.CANCELLED, [])
        assert await house.files(batch) == ([], [])


async def test_an_open_batch_ends_without_files(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await house.open_batch([a_line("a"), a_line("b")])
        await house.step()
        await house.answer(1)
        await house.store.batches.cancel("t", batch.id, limit=10)
        batch = await ended(house, batch)
        assert (batch.counts.completed, batch.counts.cancelled, house.blobs()) == (1, 1, [])


async def test_videos_are_told_of_as_reading_them_would(tmp_path: Path) -> None:
    line = a_line("clip", url="/v1/videos", body={"model": "small", "prompt": "a dog"})
    async with a_house(tmp_path) as house:
        batch = await fed(house, line, endpoint="/v1/videos")
        await house.answer(queue="small/video")
        await ended(house, batch)
        [told], _ = await house.files(batch)
    assert told["response"]["request_id"].startswith("video_")
    assert told["response"]["body"] == {
        "id": told["response"]["request_id"],
        "url": "/v1/videos",
        "prompt": "a dog",
        "status": "completed",
    }


async def test_a_text_is_told_as_a_string(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        line = await outputs(house, b"1\n00:00", "text/vtt")
    assert line["response"]["body"] == "1\n00:00"


@pytest.mark.parametrize(
    ("content_type", "body", "told"),
    [
        ("application/json", b'{\n"a": "' + b"x" * 3 * MIB + b'"\r\n}', {"a": "x" * 3 * MIB}),
        ("text/plain", "é\n".encode() * MIB, "é\n" * MIB),
        ("audio/mpeg", b"\xff" * (2 * MIB + 1), None),
    ],
)
async def test_big_answers_are_copied_out_of_the_object_store(
    tmp_path: Path, content_type: str, body: bytes, told: object
) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(3))
        await house.objects.put("results/big", body)
        await house.store.blobs.expect("results/big", keep_for=HOUR)
        await house.answer(1)
        big = Reply(b"", content_type=content_type, blob="results/big", size=len(body))
        await house.answer(1, reply=lambda _: big)
        await house.answer(1)
        await ended(house, batch)
        output, _ = await house.files(batch)
    assert [line["custom_id"] for line in output] == ["request-1", "request-2", "request-3"]
    expected = told or f"data:{content_type};base64,{base64.b64encode(body).decode()}"
    assert output[1]["response"]["body"] == expected


async def test_files_that_are_written_late_lack_nothing(tmp_path: Path) -> None:
    """Also when retention is shorter than what a batch takes."""
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(1))
        await house.answer()
        house.clock.advance(seconds=40 * DAY / 1_000_000)
        await house.store.upkeep.purge(limit=10)
        await ended(house, batch)
        output, errors = await house.files(batch)
    assert [line["response"]["status_code"] for line in output] == [200]
    assert errors == []


@pytest.mark.slow("writes 90 MiB")
async def test_large_answers_are_written_a_few_at_a_time(tmp_path: Path) -> None:
    """G12: what is held of them does not grow with how many they are."""
    big = b'{"a":"' + b"x" * (900 << 10) + b'"}'
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(100))
        while await house.answer(10, lambda _: Reply(big)):
            pass
        gc.collect()
        tracemalloc.start()
        await ended(house, batch)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 32 * MIB


async def test_an_answer_that_the_object_store_has_lost_keeps_no_batch_from_ending(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(3))
        await house.store.blobs.expect("results/lost", keep_for=HOUR)
        await house.answer(1)
        await house.answer(1, reply=lambda _: Reply(b"", blob="results/lost", size=5))
        await house.answer(1)
        await ended(house, batch)
        output, errors = await house.files(batch)
    assert [line["custom_id"] for line in output] == ["request-1", "request-3"]
    assert [(line["custom_id"], line["error"]["code"]) for line in errors] == [("request-2", "result_gone")]


async def test_an_input_that_the_object_store_has_lost_keeps_no_batch_from_ending(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(LOW + 3))
        [part] = await house.store.batches.parts("t", batch.id, limit=99)
        await house.objects.delete([part.body.blob or ""])
        await house.store.batches.cancel("t", batch.id, limit=10)
        await ended(house, batch)
        _, errors = await house.files(batch)
    assert len(errors) == LOW + 3
    assert [line["custom_id"] for line in errors[-3:]] == [made_up_name(LOW + number) for number in (1, 2, 3)]


async def test_nothing_is_left_of_files_that_could_not_be_written(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(3))
        await house.fail(BROKEN)
        await house.answer()
        mark = house.folder / "objects" / MARK
        mark.unlink()  # As when its disk has gone.
        lease = await house.lease()
        with pytest.raises(StoreUnavailable):
            await house.steps.take(lease)
        mark.touch()
        await house.store.batches.release(lease.fence, due_at=house.clock.now(), total=lease.batch.counts.total)
        house.clock.advance(seconds=11)
        doomed = await house.store.blobs.doomed(limit=10)
        assert doomed
        assert all(f".{lease.fence.number}." in blob for blob in doomed)
        output, errors = await house.files(await ended(house, batch))
    assert (len(output), len(errors)) == (2, 1)


async def test_files_of_a_lease_that_was_lost_go_again(tmp_path: Path) -> None:
    """G2: two may write, one concludes."""
    async with a_house(tmp_path) as house:
        batch = await fed(house, some_lines(3))
        await house.answer()
        stale = await house.lease()
        late = await house.steps.assembler.assemble(stale)
        house.clock.advance(seconds=61)
        await ended(house, batch)
        await house.steps.assembler.drop(late)
        assert late.output is not None
        assert await house.store.blobs.doomed(limit=10) == [late.output.blob]
        output, _ = await house.files(batch)
    assert len(output) == 3


async def test_without_an_object_store_there_can_be_no_files(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        await fed(house, some_lines(1))
        await house.answer()
        async with a_house(tmp_path / "other", with_objects=False) as poor:
            with pytest.raises(NoObjectStore):
                await poor.steps.assembler.assemble(await house.lease())


async def finish(house: House, leases: list[Lease]) -> None:
    await house.store.leases.finish([success(lease, ANSWER) for lease in leases])

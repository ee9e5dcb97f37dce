"""`client.batches` against a real server: requests in, results as they finish, files at the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from openai import NotFoundError
from openai.types.chat import ChatCompletion

from raincheck import AsyncRaincheck, BatchFailed, BatchResult, BatchTimeout, RaincheckClientError
from raincheck.client import AsyncOpenBatch
from tests.client.batch_desk import Gate, answering, awaiting, blocking
from tests.server import Running

Desk = tuple[Running, Gate]
CHAT = "/v1/chat/completions"

pytestmark = pytest.mark.slow("each runs a batch to its end")


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with answering(tmp_path) as running:
        yield running


def a_line(name: str, content: str, **changes: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    return {"custom_id": name, "method": "POST", "url": CHAT, "body": body, **changes}


def a_file(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def heard(results: list[BatchResult]) -> dict[str, str | None]:
    return {result.custom_id: result.text for result in results}


async def test_prompts_are_answered_and_the_results_are_typed(desk: Desk) -> None:
    def story() -> tuple[list[BatchResult], str, int]:
        with blocking(desk[0]) as client:
            run = client.batches.run((f"p{n}" for n in range(30)), model="m", metadata={"for": "test"}, progress=True)
            return list(run), str(run.batch.status), run.counts.completed

    results, status, completed = await asyncio.to_thread(story)
    assert heard(results) == {f"request-{n + 1}": f"heard p{n}" for n in range(30)}
    assert sorted(result.ended or 0 for result in results) == list(range(1, 31))
    assert isinstance(results[0].response, ChatCompletion)
    assert (status, completed) == ("completed", 30)


async def test_a_file_bodies_and_lines_will_do_and_a_failure_is_a_result_too(desk: Desk, tmp_path: Path) -> None:
    async with awaiting(desk[0]) as client:
        path = a_file(tmp_path, a_line("a", "one"), a_line("b", "bad"))
        from_file = [result async for result in await client.batches.run(path)]
        bodies: list[Any] = [{"messages": [{"role": "user", "content": "x"}]}, a_line("own", "y")]
        made = [result async for result in await client.batches.run(bodies, model="m", params={"temperature": 0})]
    [failed] = [result for result in from_file if not result.completed]
    assert heard(from_file) == {"a": "heard one", "b": None}
    assert (failed.custom_id, failed.status_code, failed.response) == ("b", 400, None)
    assert failed.error is not None
    assert "I do not like it" in (failed.error.message or "")
    assert heard(made) == {"request-1": "heard x", "own": "heard y"}
    assert desk[0].upstream.requests[-1].json["temperature"] == 0


async def test_results_come_as_they_finish_and_a_client_that_died_goes_on_after_the_last(desk: Desk) -> None:
    server, gate = desk
    async with awaiting(server) as client:
        run = await client.batches.run(["a", "b", "later", "c"], model="m")
        first = list[BatchResult]()
        async for result in run:
            first.append(result)
            if len(first) == 2:
                break
        gate.open.set()
        again = await client.batches.resume(run.id, after=run.last)
        rest = [result async for result in again]
        here = [result async for result in run]
    assert {result.custom_id for result in [*first, *rest]} == {f"request-{n}" for n in range(1, 5)}
    assert len(first) + len(rest) == 4
    assert heard(here) == heard(rest)


async def test_lines_that_never_ran_are_told_once_wherever_a_loop_was_left(desk: Desk) -> None:
    server, _ = desk
    async with awaiting(server) as client:
        run = await client.batches.run((f"later {n}" if n else "now" for n in range(2_500)), model="m")
        assert (await anext(aiter(await client.batches.resume(run.id)))).text == "heard now"
        await run.cancel()
        await client.batches.wait(run.id, polling_interval=0.2)
        seen, last = list[str](), list[int]()
        for end in (3, 2_300, 5_000):
            async for result in run:
                seen.append(result.custom_id)
                if len(seen) == end:
                    break
            last.append(run.last)
        behind = [result.custom_id async for result in await client.batches.resume(run.id, after=last[1])]
    assert sorted(seen) == sorted({f"request-{n}" for n in range(1, 2_501)})
    assert behind == seen[2_300:]


async def test_a_script_started_again_with_the_id_hands_in_nothing(desk: Desk) -> None:
    async with awaiting(desk[0]) as client:
        run = await client.batches.run(["a"], model="m")
        assert [result.text async for result in run] == ["heard a"]
        same = await client.batches.run(["a"], model="m", batch_id=run.id)
        assert (same.id, [result.text async for result in same]) == (run.id, ["heard a"])
        with pytest.raises(NotFoundError):
            await client.batches.resume("batch_" + "0" * 32)


async def test_a_refused_file_tells_its_lines(desk: Desk, tmp_path: Path) -> None:
    path = a_file(tmp_path, a_line("a", "x"), a_line("a", "y"))
    async with awaiting(desk[0]) as client:
        run = await client.batches.run(path)
        with pytest.raises(BatchFailed, match="line 2: ") as refused:
            [_ async for _ in run]
        assert [error.line for error in refused.value.errors] == [2]
        with pytest.raises(BatchFailed):
            await client.batches.create_and_wait(path)


async def test_what_is_there_can_be_read_and_a_cancel_ends_the_iteration(desk: Desk) -> None:
    async with awaiting(desk[0]) as client:
        run = await client.batches.run(["a", *["later"] * 20], model="m")
        first = await anext(aiter(run))
        assert first.text == "heard a"
        assert [result async for result in (await client.batches.resume(run.id)).ready()] == [first]
        await run.cancel()
        rest = [result async for result in run]
        await run.cancel()
    assert len(rest) == 20
    assert {(result.error and result.error.code) for result in rest} == {"batch_cancelled"}
    assert (run.batch.status, run.counts.completed, run.counts.cancelled) == ("cancelled", 1, 20)


async def test_waiting_returns_the_batch_and_its_files_are_in_the_order_of_the_input(
    desk: Desk, tmp_path: Path
) -> None:
    seen = list[str]()
    async with awaiting(desk[0]) as client:
        prompts = ["bad" if n % 5 == 0 else f"p{n}" for n in range(20)]
        batch = await client.batches.create_and_wait(
            prompts, model="m", custom_ids=map(str, range(20)), on_update=lambda batch: seen.append(batch.status)
        )
        files = await client.batches.download(batch, tmp_path / "out.jsonl")
        into = await client.batches.download(batch.id, tmp_path)
    assert (batch.status, batch.counts.completed, batch.counts.failed, seen[-1]) == ("completed", 16, 4, "completed")
    assert (files.output, files.errors) == (tmp_path / "out.jsonl", tmp_path / "out.errors.jsonl")
    assert (into.output, into.errors) == (tmp_path / f"{batch.id}_output.jsonl", tmp_path / f"{batch.id}_errors.jsonl")
    names = [json.loads(line)["custom_id"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert names == [str(n) for n in range(20) if n % 5]


async def test_a_wait_that_is_too_long_says_how_to_come_back(desk: Desk) -> None:
    server, gate = desk
    async with awaiting(server) as client:
        run = await client.batches.run(["later"], model="m")
        with pytest.raises(BatchTimeout, match=run.id) as late:
            await client.batches.wait(run.id, timeout=0.1)
        with pytest.raises(RaincheckClientError, match="still"):
            await client.batches.download(run.id)
        gate.open.set()
        ended = await client.batches.wait(late.value.batch_id, polling_interval=0.2)
    assert ended.status == "completed"


@pytest.mark.parametrize(("window", "shown"), [(5_400, "5400s"), (timedelta(hours=2), "7200s"), ("90m", "90m")])
async def test_a_window_may_be_a_number_or_a_length_of_time(desk: Desk, window: Any, shown: str) -> None:
    async with awaiting(desk[0]) as client:
        run = await client.batches.run(["a"], model="m", completion_window=window)
    assert run.batch.completion_window == shown


async def test_what_is_no_option_is_refused_and_where_it_goes_is_told(desk: Desk) -> None:
    typo: Any = {"max_tokens": 3}
    async with awaiting(desk[0]) as client:
        for call in (client.batches.run, client.batches.create_and_wait, client.batches.estimate):
            with pytest.raises(TypeError, match=r"'max_tokens'.*params="):
                await call(["a"], model="m", **typo)
    with blocking(desk[0]) as same:
        for call in (same.batches.run, same.batches.create_and_wait, same.batches.estimate):
            with pytest.raises(TypeError, match=r"'max_tokens'.*params="):
                call(["a"], model="m", **typo)


async def test_nothing_is_uploaded_of_nothing(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("\n\n")
    async with awaiting(desk[0]) as client:
        nothings: list[Any] = [[], tmp_path / "in.jsonl"]
        for nothing in nothings:
            with pytest.raises(ValueError, match="no requests"):
                await client.batches.run(nothing, model="m")
        assert [file async for file in client.files.list()] == []


async def test_openais_own_calls_are_unchanged(desk: Desk, tmp_path: Path) -> None:
    path = a_file(tmp_path, a_line("a", "x"))
    async with awaiting(desk[0]) as client:
        uploaded = await client.files.create(file=("in.jsonl", path.read_bytes()), purpose="batch")
        made = await client.batches.create(input_file_id=uploaded.id, endpoint=CHAT, completion_window="24h")
        waited = await client.batches.wait(made)
        again = await client.batches.create_and_wait(input_file_id=uploaded.id)
        assert (await client.batches.retrieve(made.id)).output_file_id == waited.output_file_id
        listed = [batch.id async for batch in client.batches.list()]
    assert listed == [again.id, made.id]


async def test_a_batch_in_xais_manner_is_opened_filled_and_listened_to(desk: Desk) -> None:
    server, _ = desk
    native = {"batch_request_id": "n", "batch_request": {"chat_get_completion": a_line("", "z")["body"]}}
    async with awaiting(server) as client:
        batch = await client.batches.open("night", model="m")
        await batch.add(["one", "bad"])
        await batch.add([a_line("own", "y"), native, "three"])
        ended = await batch.wait(polling_interval=0.2, timeout=30)
        results = [result async for result in batch.results()]
        assert (await batch.refresh()).state == ended.state
    assert heard(results) == {
        "request-1": "heard one",
        "request-2": None,
        "own": "heard y",
        "n": "heard z",
        "request-5": "heard three",
    }
    assert (ended.state.num_requests, ended.state.num_success, ended.state.num_error) == (5, 4, 1)
    [failed] = [result for result in results if result.error is not None]
    assert "I do not like it" in (failed.error.message or "") if failed.error else False


async def test_a_batch_in_xais_manner_is_not_taken_for_one_of_openais(desk: Desk) -> None:
    async with awaiting(desk[0]) as client:
        batch = await client.batches.open("night", model="m")
        for call in (client.batches.resume, client.batches.wait, client.batches.download):
            with pytest.raises(RaincheckClientError, match="xAI's manner"):
                await call(batch.id)


async def test_requests_are_numbered_on_with_a_key_that_may_not_read(desk: Desk) -> None:
    server, _ = desk
    key = await server.key("writer", "write")
    async with AsyncRaincheck(base_url=server.base_url, api_key=key, max_retries=0) as client:
        batch = await client.batches.open("night", model="m")
        await batch.add(["one"])
        await batch.add(["two", "three"])
    async with AsyncRaincheck(
        base_url=server.base_url, api_key=await server.key("writer", "read"), max_retries=0
    ) as client:
        again = AsyncOpenBatch(client, batch.batch)
        await again.wait(polling_interval=0.2, timeout=30)
        assert heard([result async for result in again.results()]) == {
            "request-1": "heard one",
            "request-2": "heard two",
            "request-3": "heard three",
        }


async def test_the_same_at_xais_own_base_url_and_blocking(desk: Desk) -> None:
    def story() -> tuple[int, set[str | None], int]:
        with blocking(desk[0]).with_options(base_url=f"{desk[0].url}/xai/v1") as client:
            batch = client.batches.open("night", model="m")
            batch.add(str(n) for n in range(250))
            batch.wait(polling_interval=0.2, timeout=30)
            texts = {result.text for result in batch.results()}
            batch.cancel()
            return batch.state.num_success, texts, batch.state.num_pending

    assert await asyncio.to_thread(story) == (250, {f"heard {n}" for n in range(250)}, 0)


async def test_an_estimate_counts_and_hands_in_nothing(desk: Desk, tmp_path: Path) -> None:
    path = a_file(tmp_path, a_line("a", "x" * 400), a_line("b", "y"))
    async with awaiting(desk[0]) as client:
        told = await client.batches.estimate(path)
        assert [batch async for batch in client.batches.list()] == []
    assert (told.requests, [model.model for model in told.models]) == (2, ["m"])
    assert 100 < told.input_tokens < 200

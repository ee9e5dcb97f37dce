# /// script
# requires-python = ">=3.11"
# dependencies = ["autobatcher==0.12.0", "batchwork-ai==0.3.0", "openai-batch==0.3.4"]
# ///
"""Batch clients from PyPI that know nothing of Raincheck, unmodified, against a running server.

`python -m tests.clients` starts a server and runs this in an environment of its own. By hand, against any server:

    uv run tests/clients/batch_clients.py http://127.0.0.1:8421/v1 smollm2-135m-instruct
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import autobatcher
import openai_batch
from batchwork import BatchEmbeddingRequest, BatchRequest, Batchwork
from openai_batch.providers import Provider

ROWS = 20
KEY = "none-needed"


async def openai_batch_runs_a_file(base_url: str, model: str) -> str:
    """openai-batch: writes a file, uploads, creates, polls, downloads."""

    def run(folder: Path) -> tuple[str, list[str]]:
        provider = Provider(name="own", base_url=base_url, api_key=KEY)
        given, output, errors = folder / "in.jsonl", folder / "out.jsonl", folder / "errors.jsonl"
        with given.open("w") as file, openai_batch.Batch(file, provider=provider) as lines:
            for number in range(ROWS):
                lines.add_to_batch(model=model, max_tokens=8, messages=[{"role": "user", "content": f"Say {number}"}])
        # Two steps: version 0.3.4 closes a file that it has written itself before it reads it.
        with openai_batch.Batch(str(given), output, errors, provider=provider) as batch:
            ended, written, _ = batch.submit_wait_download(interval=0.5)
        assert written == output, written
        return ended.status, [json.loads(line)["custom_id"] for line in output.read_text().splitlines()]

    with tempfile.TemporaryDirectory() as folder:
        status, ids = await asyncio.to_thread(run, Path(folder))
    assert status == "completed", status
    assert ids == [f"line-{number}" for number in range(1, ROWS + 1)], ids
    return f"{len(ids)} lines in the order of the input"


async def autobatcher_gathers_calls_into_a_batch(base_url: str, model: str) -> str:
    """autobatcher with completion_window="24h": AsyncOpenAI's calls become one batch file."""
    async with autobatcher.BatchOpenAI(
        api_key=KEY, base_url=base_url, completion_window="24h", batch_size=ROWS, poll_interval_seconds=0.5
    ) as client:
        answers = await asyncio.gather(*(_ask(client, model, number) for number in range(ROWS)))
    assert all(answers), answers
    return f"{len(answers)} chat completions"


async def autobatcher_polls_background_responses(base_url: str, model: str) -> str:
    """autobatcher as it comes: each chat completion is a background response of tier flex, polled."""
    async with autobatcher.BatchOpenAI(api_key=KEY, base_url=base_url, poll_interval_seconds=0.2) as client:
        answers = await asyncio.gather(*(_ask(client, model, number) for number in range(5)))
    assert all(answers), answers
    return f"{len(answers)} chat completions by way of background responses"


async def batchwork_runs_openai_batches(base_url: str, model: str) -> str:
    """batchwork-ai, provider openai."""
    return await _batchwork("openai", base_url, model)


async def batchwork_runs_xai_batches(base_url: str, model: str) -> str:
    """batchwork-ai, provider xai: its REST dialect, from a file, results by page."""
    return await _batchwork("xai", base_url, model)


async def batchwork_embeds(base_url: str, model: str) -> str:
    """batchwork-ai, provider openai, embeddings."""
    async with Batchwork(credentials={"openai": {"api_key": KEY, "base_url": base_url}}) as client:
        job = await client.batch_embeddings(
            model=f"openai/{model}", requests=[BatchEmbeddingRequest(custom_id="one", value="a text to embed")]
        )
        await job.wait(timeout=60, poll_interval=0.5)
        [result] = await job.collect()
    assert result.status == "succeeded", result
    return "1 embedding"


async def _ask(client: autobatcher.BatchOpenAI, model: str, number: int) -> str | None:
    completion = await client.chat.completions.create(
        model=model, max_tokens=8, messages=[{"role": "user", "content": f"Say {number}"}]
    )
    return completion.choices[0].message.content


async def _batchwork(provider: str, base_url: str, model: str) -> str:
    async with Batchwork(credentials={provider: {"api_key": KEY, "base_url": base_url}}) as client:
        requests = [BatchRequest(custom_id=f"row-{number}", prompt=f"Say {number}") for number in range(ROWS)]
        job = await client.batch(model=f"{provider}/{model}", requests=requests)
        await job.wait(timeout=120, poll_interval=0.5)
        results = await job.collect()
    found = {result.custom_id: result for result in results}
    assert sorted(found) == sorted(request.custom_id or "" for request in requests), sorted(found)
    assert all(result.status == "succeeded" and result.text for result in results), results
    return f"{len(results)} results with their texts"


CHECKS: tuple[Callable[[str, str], Awaitable[str]], ...] = (
    openai_batch_runs_a_file,
    autobatcher_gathers_calls_into_a_batch,
    autobatcher_polls_background_responses,
    batchwork_runs_openai_batches,
    batchwork_runs_xai_batches,
    batchwork_embeds,
)


async def main(base_url: str, model: str) -> int:
    """The number of checks that failed."""
    failed = 0
    for check in CHECKS:
        try:
            print(f"ok      {check.__name__}: {await check(base_url, model)}", flush=True)
        except Exception as error:  # noqa: BLE001 - every client gets its turn
            failed += 1
            print(f"FAILED  {check.__name__}: {type(error).__name__}: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:3])))

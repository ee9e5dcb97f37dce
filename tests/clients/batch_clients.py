"""Batch clients from PyPI that know nothing of Raincheck, unmodified: `python -m tests.clients.batch_clients URL …`."""

import asyncio
import importlib.metadata
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import autobatcher
import openai_batch
from batchwork import BatchEmbeddingRequest, BatchRequest, Batchwork
from openai_batch.providers import Provider

from tests.clients.checks import Checks, Given, no_client

ROWS = 20
MODEL = "m"
OPENAI_BATCH, AUTOBATCHER, BATCHWORK = (
    Checks(name, importlib.metadata.version(name)) for name in ("openai-batch", "autobatcher", "batchwork-ai")
)
Story = Callable[[str, str], Awaitable[None]]
"""Takes the base URL and the key."""


def check(checks: Checks, call: str) -> Callable[[Story], Story]:
    """Add an asynchronous check."""

    def add(story: Story) -> Story:
        checks(call)(lambda given: asyncio.run(_run(story, given)))
        return story

    return add


async def _run(story: Story, given: Given) -> None:
    await story(f"{given.url}/v1", given.key)


@check(OPENAI_BATCH, "Batch.submit_wait_download")
async def openai_batch_runs_a_file(base_url: str, key: str) -> None:
    """openai-batch: writes a file, uploads, creates, polls, downloads."""

    def run(folder: Path) -> tuple[str, list[str]]:
        provider = Provider(name="own", base_url=base_url, api_key=key)
        given, output, errors = folder / "in.jsonl", folder / "out.jsonl", folder / "errors.jsonl"
        with given.open("w") as file, openai_batch.Batch(file, provider=provider) as lines:
            for number in range(ROWS):
                lines.add_to_batch(model=MODEL, max_tokens=8, messages=[{"role": "user", "content": f"Say {number}"}])
        # Two steps: version 0.3.4 closes a file that it has written itself before it reads it.
        with openai_batch.Batch(str(given), output, errors, provider=provider) as batch:
            ended, written, _ = batch.submit_wait_download(interval=0.5)
        assert written == output, written
        return ended.status, [json.loads(line)["custom_id"] for line in output.read_text().splitlines()]

    with tempfile.TemporaryDirectory() as folder:
        status, ids = await asyncio.to_thread(run, Path(folder))
    assert status == "completed", status
    assert ids == [f"line-{number}" for number in range(1, ROWS + 1)], ids


@check(AUTOBATCHER, 'BatchOpenAI(completion_window="24h")')
async def autobatcher_gathers_calls_into_a_batch(base_url: str, key: str) -> None:
    """autobatcher with completion_window="24h": AsyncOpenAI's calls become one batch file."""
    async with autobatcher.BatchOpenAI(
        api_key=key, base_url=base_url, completion_window="24h", batch_size=ROWS, poll_interval_seconds=0.5
    ) as client:
        answers = await asyncio.gather(*(_ask(client, number) for number in range(ROWS)))
    assert all(answers), answers


@check(AUTOBATCHER, "BatchOpenAI()")
async def autobatcher_polls_background_responses(base_url: str, key: str) -> None:
    """autobatcher as it comes: each chat completion is a background response of tier flex, polled."""
    async with autobatcher.BatchOpenAI(api_key=key, base_url=base_url, poll_interval_seconds=0.2) as client:
        answers = await asyncio.gather(*(_ask(client, number) for number in range(5)))
    assert all(answers), answers


@check(BATCHWORK, "batch (openai)")
async def batchwork_runs_openai_batches(base_url: str, key: str) -> None:
    """batchwork-ai, provider openai."""
    await _batchwork("openai", base_url, key)


@check(BATCHWORK, "batch (xai)")
async def batchwork_runs_xai_batches(base_url: str, key: str) -> None:
    """batchwork-ai, provider xai: its REST dialect, from a file, results by page."""
    await _batchwork("xai", base_url, key)


@check(BATCHWORK, "batch_embeddings (openai)")
async def batchwork_embeds(base_url: str, key: str) -> None:
    """batchwork-ai, provider openai, embeddings."""
    async with Batchwork(credentials={"openai": {"api_key": key, "base_url": base_url}}) as client:
        job = await client.batch_embeddings(
            model=f"openai/{MODEL}", requests=[BatchEmbeddingRequest(custom_id="one", value="a text to embed")]
        )
        await job.wait(timeout=60, poll_interval=0.5)
        [result] = await job.collect()
    assert result.status == "succeeded", result


async def _ask(client: autobatcher.BatchOpenAI, number: int) -> str | None:
    completion = await client.chat.completions.create(
        model=MODEL, max_tokens=8, messages=[{"role": "user", "content": f"Say {number}"}]
    )
    return completion.choices[0].message.content


async def _batchwork(provider: str, base_url: str, key: str) -> None:
    async with Batchwork(credentials={provider: {"api_key": key, "base_url": base_url}}) as client:
        requests = [BatchRequest(custom_id=f"row-{number}", prompt=f"Say {number}") for number in range(ROWS)]
        job = await client.batch(model=f"{provider}/{MODEL}", requests=requests)
        await job.wait(timeout=120, poll_interval=0.5)
        results = await job.collect()
    found = {result.custom_id: result for result in results}
    assert sorted(found) == sorted(request.custom_id or "" for request in requests), sorted(found)
    assert all(result.status == "succeeded" and result.text for result in results), results


if __name__ == "__main__":
    failed = sum(checks.run(sys.argv[1:4], {"": no_client}) for checks in (OPENAI_BATCH, AUTOBATCHER, BATCHWORK))
    sys.exit(1 if failed else 0)

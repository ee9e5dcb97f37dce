"""The scripted upstream as a process of its own, as stories and benchmarks use it."""

import asyncio
import sys
from pathlib import Path

import aiohttp
import msgspec
import pytest

from tests.upstream.openai_calls import Told, calling, content_of, some_work


@pytest.mark.slow("starts a process")
async def test_the_process_answers_and_counts_what_it_was_asked(tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ["-m", "tests.scripted", "--port", "0", "--models", "a", "b", "--tokens", "3", "--json-log", str(log)]
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        base_url = (await process.stdout.readline()).decode().removeprefix("listening on ").strip()
        async with calling(base_url) as upstream:
            assert await upstream.probe() == {"a", "b"}
            for _ in range(2):
                assert content_of(await upstream.perform(some_work(), Told())) == "word0 word1 word2"
        url = base_url.removesuffix("/v1") + "/__log"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            assert await response.json() == {"requests": 2, "by_content": {"hi": 2}}
    finally:
        process.terminate()
        await process.wait()
    lines = [msgspec.json.decode(line) for line in log.read_bytes().splitlines()]
    assert [(line["event"], line["number"]) for line in lines] == [(e, n) for n in (1, 2) for e in ("began", "ended")]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)

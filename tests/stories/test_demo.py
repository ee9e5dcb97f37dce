"""`make demo`, as a newcomer sees it: real answers from a real model, through a kill of the server."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from tests.stories.processes import RAINCHECK


@pytest.mark.model
@pytest.mark.xdist_group("model")
@pytest.mark.slow("runs the whole demo on the embedded model")
async def test_the_demo_answers_every_question_through_a_kill(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        RAINCHECK,
        "demo",
        "--json",
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"RAINCHECK_BASE_URL": "http://127.0.0.1:9"},
    )
    async with asyncio.timeout(120):
        stdout, stderr = await demo.communicate()
    assert demo.returncode == 0, stderr.decode()
    summary = json.loads(stdout)
    assert summary["killed"]
    assert {each["status"] for each in summary["requests"]} == {"completed"}
    assert all(each["answer"] for each in summary["requests"])
    assert not list(tmp_path.iterdir())

"""What the contract fuzz has found, once each."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.http.videos import making_videos
from tests.server import Running


@pytest_asyncio.fixture
async def videos(tmp_path: Path) -> AsyncGenerator[Running]:
    async with making_videos(tmp_path) as running:
        yield running


async def test_nonsense_is_refused_and_says_nothing_in_the_log(
    videos: Running, caplog: pytest.LogCaptureFixture
) -> None:
    address = urlsplit(videos.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(b"\0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()
    assert not caplog.records


async def test_what_failed_for_its_own_input_is_no_fault_of_the_server(videos: Running) -> None:
    body = {"prompt": "It lands", "video": {"url": "http://127.0.0.1:9/waves.mp4"}}
    submitted = await videos.post("/v1/videos/extensions", body)
    ended = await videos.ended(submitted.json["id"])

    content = await videos.get(f"/v1/videos/{submitted.json['id']}/content")

    assert (ended["status"], ended["error"]["code"]) == ("failed", "media_refused")
    assert (content.status, content.error["code"]) == (400, "media_refused")
    assert content.headers["x-should-retry"] == "false"

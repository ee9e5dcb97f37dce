"""Twenty videos at once on the preview renderer, five called off: exactly fifteen files, and nothing is left over."""

import asyncio
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from raincheck import AsyncRaincheck, RequestCancelled, Video
from raincheck.upstream.media.probe import facts
from tests.stories.processes import Server, free_port

VIDEOS, CANCELLED = 20, 5
CONFIG = """
[[upstream]]
name = "preview"
kind = "preview"
"""

pytestmark = pytest.mark.slow("renders fifteen clips in child processes")


async def test_twenty_at_once_five_cancelled_fifteen_files_and_nothing_left(tmp_path: Path) -> None:
    """G5 and G3 for videos: what is cancelled leaves no file, what is not completes, deletion leaves nothing."""
    await story(tmp_path, size="320x180", seconds=1)


async def story(folder: Path, **wish: Any) -> None:
    (folder / "raincheck.toml").write_text(CONFIG)
    server = Server(folder, None, free_port())
    process = await server.start()
    async with AsyncRaincheck(base_url=server.base_url) as client:
        videos = await asyncio.gather(
            *(client.videos.generate(model="preview", prompt=f"Sunset number {n}", **wish) for n in range(VIDEOS))
        )
        waiting = [asyncio.create_task(client.videos.wait(video, timeout=300)) for video in videos]
        unlucky = random.Random(4).sample(range(VIDEOS), CANCELLED)
        await asyncio.gather(*(client.videos.cancel(videos[n]) for n in unlucky))
        ended = await asyncio.gather(*waiting, return_exceptions=True)

        assert [n for n, end in enumerate(ended) if isinstance(end, RequestCancelled)] == sorted(unlucky)
        made = [end for end in ended if isinstance(end, Video)]
        assert len(made) == VIDEOS - CANCELLED
        target = folder / "files"
        target.mkdir()
        for video in made:
            path = await client.videos.download(video, target)
            found = await facts(path)
            assert found is not None
            assert abs(found.seconds - wish["seconds"]) <= 1 / found.fps
        assert len(list(target.iterdir())) == VIDEOS - CANCELLED

        await asyncio.gather(*(client.videos.delete(video.id) for video in videos))
        await _emptied(folder / "raincheck-blobs")
    assert await process.terminate() == 0
    print(f"{VIDEOS} asked for, {CANCELLED} cancelled, {len(made)} files, nothing left")


async def _emptied(blobs: Path) -> None:
    """The caretaker has collected every body, and no folder is left but those for each kind."""
    async with asyncio.timeout(30):
        while left := list(blobs.glob("*/**/*")):
            await asyncio.sleep(0.2)
    assert not left


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(story(Path(name), resolution="480p", seconds=float((sys.argv[1:] or ["2"])[0])))

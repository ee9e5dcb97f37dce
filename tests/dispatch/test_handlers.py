"""The examples of python handlers with files, from submit to the files in the object store."""

import asyncio
import csv
import hashlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from raincheck.core.ids import new_id
from raincheck.core.model import Attachment
from raincheck.core.status import Status
from raincheck.upstream.media.probe import facts
from raincheck.upstream.python import PythonUpstream
from tests.dispatch.engine import Engine, an_engine
from tests.media import make_clip

EXAMPLES = Path(__file__).parents[2] / "examples"
SERIES = {"North": [12, 15, 9], "<South>": [7, 8.5, 11]}


@pytest.fixture(autouse=True)
def _in_the_examples_folder(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    monkeypatch.setattr(sys, "path", [str(EXAMPLES), *sys.path])


@asynccontextmanager
async def serving(folder: Path, name: str) -> AsyncGenerator[Engine]:
    """The engine with one of the upstreams of examples/report.toml."""
    upstream = await an_upstream(name)
    try:
        async with an_engine(folder, [upstream], keeps_files=True) as engine:
            yield engine
    finally:
        await upstream.close()


async def an_upstream(name: str) -> PythonUpstream:
    upstreams = msgspec.toml.decode((EXAMPLES / "report.toml").read_bytes())["upstream"]
    [each] = [each for each in upstreams if each["name"] == name]
    assert each.pop("kind") == "python"
    upstream = PythonUpstream(**each)
    await upstream.start()
    return upstream


async def kept(engine: Engine, request_id: str) -> dict[str, bytes]:
    """The files that a request made, by name."""
    assert engine.objects is not None
    return {
        each.name: b"".join([piece async for piece in engine.objects.read(each.blob)])
        for each in await engine.store.requests.attachments("t", request_id)
        if each.role == "output"
    }


def asked(**payload: Any) -> dict[str, Any]:
    return {"operation": "reports", "path": "/reports", "payload": msgspec.json.encode(payload)}


async def test_a_report_leaves_its_files_with_the_request(tmp_path: Path) -> None:
    async with serving(tmp_path, "reports") as engine:
        id_ = await engine.submit(queue="report", **asked(title="Sales & more", series=SERIES))
        request = await engine.ended(id_)
        assert (request.status, request.usage) == (Status.COMPLETED, b'{"charts":2}')
        result = await engine.store.requests.result("t", id_)
        assert result is not None
        assert msgspec.json.decode(result.body) == {
            "object": "report",
            "title": "Sales & more",
            "page": {"attachment": "report.html"},
            "table": {"attachment": "figures.csv"},
            "usage": {"charts": 2},
        }
        files = await kept(engine, id_)
        assert [list(row) for row in csv.reader(files["figures.csv"].decode().splitlines())] == [
            [name, *map(str, map(float, values))] for name, values in SERIES.items()
        ]
        page = files["report.html"].decode()
        assert page.count("<rect ") == 6
        assert "Sales &amp; more" in page
        assert "<South>" not in page


@pytest.mark.parametrize("series", [None, {}, [1], {"a": "b"}, {"a": 1}])
async def test_a_report_of_nothing_is_rejected(tmp_path: Path, series: object) -> None:
    async with serving(tmp_path, "reports") as engine:
        request = await engine.ended(await engine.submit(queue="report", **asked(series=series)))
        assert request.error is not None
        assert (request.status, request.attempt) == (Status.FAILED, 1)
        assert request.error.type == "invalid_request_error"


async def a_clip_to_edit(engine: Engine, clip: Path) -> str:
    assert engine.objects is not None
    blob, body = f"attachments/{new_id('req')}/video", clip.read_bytes()
    await engine.store.blobs.expect(blob, keep_for=10**12)
    await engine.objects.put(blob, body)
    return await engine.submit(
        queue="silver-screen/video",
        model="silver-screen",
        operation="video.edit",
        path="/videos/edits",
        payload=msgspec.json.encode({"model": "silver-screen", "video": {"attachment": "video"}}),
        attachments=(Attachment("input", "video", blob, "video/mp4", len(body), hashlib.sha256(body).hexdigest()),),
    )


@pytest.mark.slow("encodes a clip")
async def test_an_ffmpeg_job_is_a_model_that_edits_videos(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=1, size=(96, 64), fps=12)
    async with serving(tmp_path, "silver-screen") as engine:
        id_ = await a_clip_to_edit(engine, clip)
        request = await engine.ended(id_)
        assert request.status is Status.COMPLETED, request.error
        files = await kept(engine, id_)
        result = await engine.store.requests.result("t", id_)
    assert sorted(files) == ["silver-screen.mp4", "spritesheet.webp", "thumbnail.webp"]
    assert result is not None
    answer = msgspec.json.decode(result.body)
    assert (answer["width"], answer["height"], answer["seconds"]) == (96, 64, pytest.approx(1, abs=1 / 12))
    film = tmp_path / "film.mp4"
    film.write_bytes(files["silver-screen.mp4"])
    found = await facts(film)
    assert found is not None
    assert found.width == 96


@pytest.mark.slow("encodes a clip")
async def test_a_cancel_ends_the_ffmpeg_job_and_leaves_nothing_g5(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", seconds=15, size=(640, 480), fps=24)
    async with serving(tmp_path, "silver-screen") as engine:
        id_ = await a_clip_to_edit(engine, clip)
        with engine.live.follow(id_) as watch:
            while (notes := engine.live.notes(id_)) is None or notes.progress_message is None:
                await watch.news(1)
        async with asyncio.timeout(2):
            await engine.store.requests.cancel("t", id_)
            while engine.dispatcher.running or any((tmp_path / "scratch").glob("*/*/*")):
                await asyncio.sleep(0.01)
        assert await kept(engine, id_) == {}

"""What the renderer's tests are built from: attempts at videos, and looks at what came of them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from raincheck.core.outcome import Failure, Reply
from raincheck.core.videos import VideoAnswer
from raincheck.upstream.media.probe import Facts, facts
from raincheck.upstream.preview import PreviewUpstream
from raincheck.upstream.preview.editing.cutter import run
from raincheck.upstream.protocol import Work
from tests.upstream.bench import FolderBench
from tests.upstream.reports import KeptReport

SMALL = "160x96"


def video_work(folder: Path, doing: str, *, request_id: str = "req_1", **ask: Any) -> Work:
    """An attempt; members of the ask that are paths become inputs."""
    inputs = {value.name: (value, _type(value)) for value in _paths(ask)}
    payload = {"model": "preview", **{name: _sourced(name, value) for name, value in ask.items()}}
    path = {"video.generation": "generations", "video.edit": "edits", "video.extension": "extensions"}.get(doing, "x")
    return Work(
        request_id=request_id,
        operation=doing,
        path=f"/videos/{path}",
        model="preview",
        payload=msgspec.json.encode(payload),
        attempt=1,
        bench=FolderBench(folder, inputs),
    )


async def made(work: Work, report: KeptReport | None = None) -> tuple[Path, VideoAnswer]:
    """The video that comes of an attempt, and what is said of it."""
    reply = await PreviewUpstream().perform(work, report or KeptReport())
    assert isinstance(reply, Reply), reply
    return reply.made[0].path, msgspec.json.decode(reply.body, type=VideoAnswer)


async def refused(work: Work) -> Failure:
    failure = await PreviewUpstream().perform(work, KeptReport())
    assert isinstance(failure, Failure), failure
    return failure


async def measured(path: Path) -> Facts:
    found = await facts(path)
    assert found is not None
    return found


def decoded(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Every frame of a video: (frames, height, width, 3). Anything broken in it is an error."""
    raw = path.with_suffix(".rgb")
    as_it_is = ("-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24")
    run("-xerror", "-i", str(path), "-map", "0:V:0", *as_it_is, str(raw))
    return np.fromfile(raw, dtype=np.uint8).reshape(-1, size[1], size[0], 3)


def apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """How much two pictures differ, from 0 to 255."""
    return float(np.abs(one.astype(np.int16) - other.astype(np.int16)).mean())


def _paths(ask: dict[str, Any]) -> list[Path]:
    listed: list[Path] = ask.get("reference_images", [])
    return [*listed, *(value for value in ask.values() if isinstance(value, Path))]


def _sourced(name: str, value: Any) -> Any:
    if isinstance(value, Path):
        return {"attachment": value.name}
    return [{"attachment": path.name} for path in value] if name == "reference_images" else value


def _type(path: Path) -> str:
    kinds = {".mp4": "video/mp4", ".webm": "video/webm", ".gif": "image/gif", ".png": "image/png", ".txt": "text/plain"}
    return kinds[path.suffix]

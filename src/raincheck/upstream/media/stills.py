"""A video in, two small pictures of it out: one to show in its place, and a sheet of many for scrubbing."""

import asyncio
from contextlib import suppress
from pathlib import Path

from raincheck.core.errors import RaincheckError
from raincheck.core.outcome import Made
from raincheck.core.videos import SPRITESHEET, THUMBNAIL
from raincheck.upstream.media import ffmpeg
from raincheck.upstream.media.limits import MediaLimits
from raincheck.upstream.media.probe import facts

GRID = 5
"""Frames across and down a sheet, spread evenly over the video."""
_WIDEST = 512
_WIDEST_IN_SHEET = 160
_CHOICE = 24
"""Of how many first frames the most typical is taken: a fade from black is no thumbnail."""
_BOUNDS = ffmpeg.Bounds(memory=2 << 30, cpu_seconds=120, output=64 << 20, seconds=180)


async def stills(video: Path, folder: Path) -> tuple[Made, ...]:
    """`thumbnail.webp` and `spritesheet.webp`, made in the folder; none when there is no ffmpeg or it finds nothing to
    show: nobody's video fails for the want of them."""
    with suppress(RaincheckError, TimeoutError, OSError):
        found = await facts(video)
        if found is None:
            return ()
        thumbnail, sheet = folder / THUMBNAIL, folder / SPRITESHEET
        ran = await ffmpeg.run(
            *ffmpeg.reading(video, max_pixels=MediaLimits().max_pixels),
            *("-filter_complex", _drawing(found.frames)),
            *("-map", "[thumbnail]", *_webp(thumbnail), "-map", "[sheet]", *_webp(sheet)),
            bounds=_BOUNDS,
        )
        if ran.code == 0:
            made = (Made(THUMBNAIL, thumbnail, "image/webp"), Made(SPRITESHEET, sheet, "image/webp"))
            return await asyncio.to_thread(_there, made)
    return ()


def _drawing(frames: int) -> str:
    """The filters. Frames are made small before any are kept: 24 of the largest would fill the memory."""
    cells = GRID * GRID
    small, smaller = _narrowed(_WIDEST), _narrowed(_WIDEST_IN_SHEET)
    return (
        f"[0:V:0]{small},split[one][many];"
        f"[one]trim=end_frame={_CHOICE},thumbnail={_CHOICE}[thumbnail];"
        f"[many]select='lt(mod(n*{cells},{frames}),{cells})',{smaller},tile={GRID}x{GRID}[sheet]"
    )


def _narrowed(width: int) -> str:
    return f"scale='min({width},iw)':-2"


def _webp(path: Path) -> tuple[str, ...]:
    return ("-frames:v", "1", "-c:v", "libwebp", "-quality", "75", "-f", "webp", f"file:{path}")


def _there(made: tuple[Made, ...]) -> tuple[Made, ...]:
    return tuple(still for still in made if still.path.is_file() and still.path.stat().st_size)

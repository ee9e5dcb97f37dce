"""What the renderer's child process does: a job in, its file on disk and what it became out.

It reports real progress on the way: frames that are drawn and encoded, never a clock.
"""

import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import assert_never

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raincheck.upstream.media.ffmpeg import plain, reading
from raincheck.upstream.media.room import is_full
from raincheck.upstream.preview.drawing.film import frames
from raincheck.upstream.preview.drawing.storyboard import Plan, extended, plan
from raincheck.upstream.preview.editing.cutter import CutFailed, cut, last_frame
from raincheck.upstream.preview.editing.title_card import Undrawable, draw_title
from raincheck.upstream.preview.encode import Encoder, EncodingFailed, join
from raincheck.upstream.preview.ended import Overspent
from raincheck.upstream.preview.job import OVER_LIMIT, Cut, Done, Draw, End, Extend, Job, NoRoom, Progress, Refused
from raincheck.upstream.preview.mark import Mark, read_mark, sign

Tell = Callable[[Progress], None]

CROSS_FADE = 1.0
"""Seconds in which a stranger's last frame becomes the new scene."""
_DRAWN = 0.98
"""The share of the work that the frames are; the rest is finishing the file."""
_PICTURES = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MOST_PIXELS = 1 << 26


def make(job: Job, tell: Tell) -> End:
    """Do a job. Raises what it cannot help; a Refused says what is wrong with its input."""
    try:
        return _made(job, tell)
    except Overspent:
        return OVER_LIMIT
    except OSError as error:
        if not is_full(error):
            raise
        return NoRoom()


def _made(job: Job, tell: Tell) -> Done | Refused:
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the bound below is ours
    Image.MAX_IMAGE_PIXELS = _MOST_PIXELS // 2  # Pillow refuses at twice this number
    match job:
        case Draw():
            return _draw(job, tell)
        case Cut():
            return _cut(job, tell)
        case Extend():
            return _extend(job, tell)
        case _:
            assert_never(job)


# --- a new clip


def _draw(job: Draw, tell: Tell) -> Done | Refused:
    try:
        first = None if job.image is None else _picture(Path(job.image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Refused(f"The picture cannot be read: {plain(str(error))}.", "media_refused", "image")
    try:
        colours = _colours(job.references)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Refused(f"A reference picture cannot be read: {plain(str(error))}.", "media_refused", "reference_images")
    palette_of = None
    if colours is not None:
        colours.save(palette_of := Path("references.png"))
    board = plan(job.prompt, seed=job.seed, seconds=job.seconds, size=job.size, fps=job.fps, palette_of=palette_of)
    drawn = Path("drawn.mp4")
    _encode(board, drawn, tell, first=first)
    sign(drawn, Path(job.to), board)
    return Done(board.frames, board.seed)


def _encode(
    board: Plan, to: Path, tell: Tell, *, start: int = 0, first: NDArray[np.uint8] | None = None, share: float = 1.0
) -> None:
    """Draw a plan's frames from `start` on into a file; `share` is how much of the whole job that is."""
    encoder = Encoder(to, size=board.size, fps=board.fps)
    of = board.frames - start
    try:
        for done, frame in enumerate(frames(board, start=start, first=first), 1):
            encoder.write(frame)
            tell(Progress(_DRAWN * share * done / of, f"drawing frame {done} of {of}"))
        tell(Progress(_DRAWN * share, "encoding"))
        encoder.close()
    except BaseException:
        encoder.kill()
        raise


def _picture(path: Path) -> NDArray[np.uint8]:
    with Image.open(path, formats=_PICTURES) as picture:
        return np.asarray(picture.convert("RGB"))


def _colours(references: tuple[str, ...]) -> Image.Image | None:
    """One picture with the colours of all."""
    if not references:
        return None
    side = 64
    board = Image.new("RGB", (side * len(references), side))
    for at, reference in enumerate(references):
        with Image.open(reference, formats=_PICTURES) as picture:
            board.paste(picture.convert("RGB").resize((side, side)), (at * side, 0))
    return board


# --- an edited one


def _cut(job: Cut, tell: Tell) -> Done | Refused:
    pictures = list[str]()
    try:
        for n, cue in enumerate(job.cues):
            drawn = Path(f"caption-{n}.png")
            draw_title(cue, drawn)
            pictures += ["-i", str(drawn)]
    except Undrawable as error:
        return Refused(str(error), "caption_not_drawable", "prompt")
    try:
        cut(
            [*reading(Path(job.video), max_pixels=job.pixels), *pictures],
            job.graph,
            (job.video_out, job.sound_out),
            Path(job.to),
            frames=job.frames,
            hear=lambda n: tell(Progress(_DRAWN * min(n / job.frames, 1.0), f"encoding frame {n} of {job.frames}")),
        )
    except CutFailed as error:
        return Refused(f"The video could not be edited: {error}.", "media_refused", "video")
    return Done(job.frames, 0)


# --- a longer one


def _extend(job: Extend, tell: Tell) -> Done | Refused:
    mark = read_mark(Path(job.video))
    if mark is not None and _is_ours(mark, job):
        try:
            return _continue(mark, job, tell)
        except EncodingFailed:
            tell(Progress(0.0, "the clip cannot be continued in place; starting from its last frame"))
    try:
        return _go_on_from(job, tell)
    except CutFailed as error:
        return Refused(f"The video could not be extended: {error}.", "media_refused", "video")


def _is_ours(mark: Mark, job: Extend) -> bool:
    """Whether the file can really be what its mark says."""
    return (
        mark.plan.size == job.size
        and mark.plan.frames == job.frames
        and abs(mark.plan.fps - job.fps) < 0.01
        and not job.sound
        and job.codec == "h264"
    )


def _continue(mark: Mark, job: Extend, tell: Tell) -> Done:
    """Every frame it has stays as it is, bit by bit; the new ones follow in the same stream."""
    board = extended(mark.plan, job.seconds, job.prompt)
    added, whole = Path("added.mp4"), Path("whole.mp4")
    _encode(board, added, tell, start=mark.plan.frames)
    tell(Progress(_DRAWN, "joining"))
    join([Path(job.video), added], whole)
    sign(whole, Path(job.to), board)
    return Done(board.frames, board.seed)


def _go_on_from(job: Extend, tell: Tell) -> Done:
    """A stranger's clip: its last frame stands still and dissolves into a new scene of the same colours."""
    rate = Fraction(job.fps).limit_denominator(1001)
    last = Path("last.png")
    last_frame(Path(job.video), job.size, last, max_pixels=job.pixels)
    seconds = job.seconds + 0.5  # a spare that is cut off: rates like 29.97 make the drawn part a little shorter
    board = plan(job.prompt, seed=job.seed, seconds=seconds, size=job.size, fps=max(1, round(job.fps)), palette_of=last)
    scene = Path("scene.mp4")
    _encode(board, scene, tell, share=0.6)
    added = max(1, round(job.seconds * job.fps))
    whole = job.frames + added
    graph = _cross_faded(job, rate, added)
    sound = f";[0:a:0]aresample=48000:async=1:first_pts=0,apad=whole_dur={whole / job.fps:.6f}[s]" if job.sound else ""
    cut(
        [*reading(Path(job.video), max_pixels=job.pixels), *reading(scene)],
        graph + sound,
        ("v", "s" if job.sound else None),
        Path(job.to),
        frames=whole,
        hear=lambda n: tell(Progress(_DRAWN * (0.6 + 0.4 * min(n / whole, 1.0)), f"encoding frame {n} of {whole}")),
    )
    return Done(whole, board.seed)


def _cross_faded(job: Extend, rate: Fraction, added: int) -> str:
    width, height = job.size
    old = float(job.frames / rate)
    fade = min(CROSS_FADE, float(added / rate))
    alike = f"fps={rate},scale={width}:{height},setsar=1,format=yuv420p,settb=1/90000"
    return (
        f"[0:V:0]{alike},tpad=stop_duration=2:stop_mode=clone,trim=end={old + fade:.6f},setpts=PTS-STARTPTS[a];"
        f"[1:v:0]{alike},setpts=PTS-STARTPTS[b];"
        f"[a][b]xfade=transition=fade:duration={fade:.6f}:offset={old:.6f},tpad=stop=2:stop_mode=clone[v]"
    )

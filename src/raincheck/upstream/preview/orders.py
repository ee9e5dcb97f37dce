"""From what was asked for to a job for the renderer: inputs brought, limits checked, what was left open chosen."""

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from msgspec.structs import replace

from raincheck.core.errors import BadInput, MediaRefused
from raincheck.core.videos import VIDEO, Source, VideoAsk, dimensions
from raincheck.upstream.media.probe import Facts, facts
from raincheck.upstream.preview.editing.grammar import OutOfRange, parse
from raincheck.upstream.preview.editing.reel import LONGEST, CannotCut, Reel
from raincheck.upstream.preview.job import MOST_PIXELS, Cut, Draw, Extend, Job
from raincheck.upstream.protocol import Bench, Work

FPS = 24
FASTEST = 60
"""Frames a second of an input that are kept."""
SECONDS = (1.0, 60.0)
ADDED = (1.0, 30.0)
"""Seconds that an extension adds."""
DEFAULT_SECONDS = 5.0
SMALLEST, LARGEST = 64, 2560
"""Pixels of a side."""
LONGEST_PROMPT = 4000
MOST_REFERENCES = 8


class BeyondPreview(Exception):
    """The preview renderer cannot make that; the message says the range."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


@dataclass(frozen=True, slots=True)
class Order:
    """A job, and what its result will be."""

    job: Job
    width: int
    height: int
    fps: float


async def order(work: Work, ask: VideoAsk) -> Order:
    """The job that an attempt asks for.

    Raises BadInput for what is no call for a video, BeyondPreview, NotUnderstood, and what `Bench.bring` raises.
    """
    if len(ask.prompt) > LONGEST_PROMPT:
        words = f"The prompt has {len(ask.prompt)} characters; the preview renderer reads {LONGEST_PROMPT} at most."
        raise BeyondPreview(words, param="prompt")
    # A remix has the seed of the video that it is made from, also where nobody named one.
    named_by = (ask.of if work.operation == "video.generation" else None) or work.request_id
    seed = ask.seed if ask.seed is not None else seed_of(named_by)
    match work.operation:
        case "video.generation":
            return await _generation(ask, seed, work.bench)
        case "video.edit":
            return await _edit(ask, seed, work.bench)
        case "video.extension":
            return await _extension(ask, seed, work.bench)
        case _:
            raise BeyondPreview(f"The preview renderer makes, edits and extends videos; {work.operation} is neither.")


def seed_of(request_id: str) -> int:
    """The seed of a request that names none: the same in every attempt."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:4])


async def _generation(ask: VideoAsk, seed: int, bench: Bench) -> Order:
    if len(ask.reference_images) > MOST_REFERENCES:
        words = f"The preview renderer looks at {MOST_REFERENCES} reference images at most."
        raise BeyondPreview(words, param="reference_images")
    seconds = _seconds(ask.seconds, SECONDS)
    image = await _bring(ask.image, bench, "image", "image") if ask.image else None
    size = _checked(await _size(ask, image, bench))
    references = [await _bring(each, bench, "image", "reference_images") for each in ask.reference_images]
    job = Draw(
        to=VIDEO,
        prompt=ask.prompt,
        seed=seed,
        seconds=seconds,
        size=size,
        fps=FPS,
        image=str(image) if image else None,
        references=tuple(str(each) for each in references),
    )
    return Order(job, *size, FPS)


async def _size(ask: VideoAsk, image: Path | None, bench: Bench) -> tuple[int, int]:
    """A remix follows its video. Of a picture the ratio is taken, not its size, which nobody meant for a video."""
    if ask.video is not None:
        _, found = await _video(ask, bench)
        return dimensions(ask, shape=_fitted(found))
    with _about("image"):
        shape = await _shape(image) if image else None
    sized = replace(ask, resolution=ask.resolution or "480p") if ask.size is None else ask
    return dimensions(sized, shape=shape)


async def _edit(ask: VideoAsk, seed: int, bench: Bench) -> Order:
    if ask.seconds is not None:
        words = "An edit keeps the length of its video; say “trim to the first 2 seconds” in the prompt instead."
        raise BadInput(words, param="seconds")
    try:
        edits = parse(ask.prompt)
    except OutOfRange as error:
        raise BeyondPreview(str(error), param="prompt") from error
    path, found = await _video(ask, bench)
    fps = _rate(found)
    reel = Reel(*_fitted(found), fps=fps, frames=_frames(found, fps), sound=found.sound, seed=seed)
    reel.begin()
    try:
        for edit in edits:
            reel.cut(edit)
    except CannotCut as error:
        raise BeyondPreview(str(error), param="prompt") from error
    size = (reel.width, reel.height)
    if (wanted := dimensions(ask, shape=size)) != size:
        reel.fit(*_checked(wanted))
    reel.end()
    job = Cut(
        to=VIDEO,
        video=str(path),
        graph=reel.graph,
        video_out=reel.video_out,
        sound_out=reel.sound_out if reel.sound else None,
        frames=reel.frames,
        pixels=_most_pixels(found),
        cues=tuple(reel.cues),
    )
    return Order(job, reel.width, reel.height, float(fps))


async def _extension(ask: VideoAsk, seed: int, bench: Bench) -> Order:
    seconds = _seconds(ask.seconds, ADDED)
    path, found = await _video(ask, bench)
    fps, size = _rate(found), _fitted(found)
    if found.seconds + seconds > LONGEST:
        words = f"The whole would play {found.seconds + seconds:.0f} s; it may play {LONGEST} s at most."
        raise BeyondPreview(words, param="seconds")
    if dimensions(ask, shape=size) != size:
        words = f"An extension keeps the size of its video, {size[0]}x{size[1]}; leave size and resolution out."
        raise BadInput(words, param="size" if ask.size else "resolution")
    job = Extend(
        to=VIDEO,
        video=str(path),
        prompt=ask.prompt,
        seed=seed,
        seconds=seconds,
        size=size,
        fps=float(fps),
        frames=_frames(found, fps),
        sound=found.sound,
        codec=found.codec,
        pixels=_most_pixels(found),
    )
    return Order(job, *size, float(fps))


# --- inputs


async def _video(ask: VideoAsk, bench: Bench) -> tuple[Path, Facts]:
    if ask.video is None:
        raise BadInput("Say which video: by its id, a link, or an upload.", param="video")
    path = await _bring(ask.video, bench, "video", "video")
    with _about("video"):
        found = await facts(path)
    if found is None or found.seconds <= 0:
        raise MediaRefused("The video does not say how long it plays.", param="video")
    if found.seconds > LONGEST:
        words = f"The video plays {found.seconds:.0f} s; the preview renderer takes {LONGEST} s at most."
        raise BeyondPreview(words, param="video")
    return path, found


async def _bring(source: Source, bench: Bench, kind: str, param: str) -> Path:
    with _about(param):
        brought = await bench.bring(source)
    is_gif = brought.content_type == "image/gif"  # a picture that moves
    if not brought.content_type.startswith(f"{kind}/") and not is_gif:
        words = f"This must be {'an image' if kind == 'image' else 'a video'}, not {brought.content_type}."
        raise MediaRefused(words, param=param)
    return brought.path.absolute()


@contextmanager
def _about(param: str) -> Generator[None]:
    """Say which input it is that a refusal is about."""
    try:
        yield
    except BadInput as error:
        error.param = error.param or param
        raise


async def _shape(image: Path) -> tuple[int, int] | None:
    found = await facts(image)
    return (found.width, found.height) if found else None


def _rate(found: Facts) -> Fraction:
    """Its own frames a second where those are sane."""
    return Fraction(min(found.fps, FASTEST)).limit_denominator(1001) if found.fps >= 1 else Fraction(FPS)


def _frames(found: Facts, fps: Fraction) -> int:
    return max(1, round(found.seconds * fps))


def _most_pixels(found: Facts) -> int:
    """Of a frame of it. It was let in for its first one; others may honestly differ, as those of a call do."""
    return max(found.width * found.height, MOST_PIXELS)


def _fitted(found: Facts) -> tuple[int, int]:
    """Its size in even pixels, made smaller when it is more than can be worked on."""
    scale = min(1.0, (MOST_PIXELS / (found.width * found.height)) ** 0.5, LARGEST / max(found.width, found.height))
    return _even(found.width * scale), _even(found.height * scale)


def _even(length: float) -> int:
    return max(2, int((length + 0.01) / 2) * 2)


# --- limits


def _seconds(asked: float | None, between: tuple[float, float]) -> float:
    low, high = between
    seconds = DEFAULT_SECONDS if asked is None else asked
    if not low <= seconds <= high:
        words = f"The preview renderer makes from {low:g} to {high:g} seconds, not {seconds:g}."
        raise BeyondPreview(words, param="seconds")
    return seconds


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    width, height = size
    if min(size) < SMALLEST or max(size) > LARGEST or width * height > MOST_PIXELS:
        words = (
            f"The preview renderer makes sides from {SMALLEST} to {LARGEST} pixels, and no more pixels than 1920x1080 "
            f"has; not {width}x{height}."
        )
        raise BeyondPreview(words, param="size")
    return size

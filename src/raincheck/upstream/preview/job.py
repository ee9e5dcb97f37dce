"""What the renderer's child process is told to make, and what it says on the way: one JSON line each."""

import msgspec

MOST_PIXELS = 1920 * 1080
"""Of a frame."""


class Cue(msgspec.Struct, frozen=True):
    """A caption to be drawn before ffmpeg starts: a picture of the size that the video has by then."""

    text: str
    at_top: bool
    width: int
    height: int


class Draw(msgspec.Struct, frozen=True, kw_only=True, tag="draw"):
    """A new clip."""

    to: str
    prompt: str
    seed: int
    seconds: float
    size: tuple[int, int]
    fps: int
    image: str | None = None
    """The file with the first frame."""
    references: tuple[str, ...] = ()
    """Files whose colours it borrows."""


class Cut(msgspec.Struct, frozen=True, kw_only=True, tag="cut"):
    """An edited video: one run of ffmpeg."""

    to: str
    video: str
    graph: str
    """A filter graph of our own making, never with a word of the prompt in it."""
    video_out: str
    """Its last label for the picture."""
    sound_out: str | None
    """The same for the sound; None for silence."""
    frames: int
    pixels: int
    """No frame of the input that has many more is decoded."""
    cues: tuple[Cue, ...] = ()
    """Its inputs after the video."""


class Extend(msgspec.Struct, frozen=True, kw_only=True, tag="extend"):
    """A video and what comes after it."""

    to: str
    video: str
    prompt: str
    seed: int
    seconds: float
    """Of the part that is added."""
    size: tuple[int, int]
    """Of the whole."""
    fps: float
    frames: int
    """Of the video as it is."""
    sound: bool
    codec: str
    pixels: int
    """As in Cut."""


Job = Draw | Cut | Extend


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """How far it is, between 0 and 1."""

    fraction: float
    words: str


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The file is whole."""

    frames: int
    seed: int


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """It can never be made from this input."""

    message: str
    code: str
    param: str | None = None


class NoRoom(msgspec.Struct, frozen=True, tag="no_room"):
    """The disk is full."""


OVER_LIMIT = Refused(
    "The renderer had not finished within the processor time and the file size that one video may take; ask for a "
    "shorter or a smaller one.",
    "preview_limit",
)

End = Done | Refused | NoRoom
Line = Progress | End

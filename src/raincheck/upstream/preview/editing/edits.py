"""What the preview renderer can do to a video: one record per kind of edit, as the grammar makes them."""

from typing import Literal

import msgspec


class Reverse(msgspec.Struct, frozen=True):
    """Backwards, sound and all."""


class Boomerang(msgspec.Struct, frozen=True):
    """Forwards, then backwards."""


class Loop(msgspec.Struct, frozen=True):
    """Several times over."""

    times: int


class Speed(msgspec.Struct, frozen=True):
    """Faster (above 1) or slower."""

    factor: float


class Trim(msgspec.Struct, frozen=True):
    """Keep, or drop, so many seconds of one end."""

    end: Literal["first", "last"]
    seconds: float
    keep: bool


class Gray(msgspec.Struct, frozen=True):
    """No colours."""


class Sepia(msgspec.Struct, frozen=True):
    """The browns of old photographs."""


class Invert(msgspec.Struct, frozen=True):
    """A negative."""


class Tone(msgspec.Struct, frozen=True):
    """More of something (above 0) or less of it; 1 is what is meant when nobody says how much."""

    of: Literal["warmth", "brightness", "contrast", "saturation"]
    amount: float


class Blur(msgspec.Struct, frozen=True):
    """Out of focus."""

    amount: float


class Sharpen(msgspec.Struct, frozen=True):
    """Crisper edges."""

    amount: float


class Vignette(msgspec.Struct, frozen=True):
    """Dark corners."""


class Grain(msgspec.Struct, frozen=True):
    """The noise of film."""

    amount: float


class Crop(msgspec.Struct, frozen=True):
    """The middle of the picture, in this shape."""

    across: int
    down: int


class Turn(msgspec.Struct, frozen=True):
    """Quarter turns clockwise: 1, 2 or 3."""

    quarters: int


class Mirror(msgspec.Struct, frozen=True):
    """Left for right, or top for bottom."""

    axis: Literal["horizontal", "vertical"]


class Fade(msgspec.Struct, frozen=True):
    """From black at the start, or to black at the end."""

    way: Literal["in", "out"]
    seconds: float


class Caption(msgspec.Struct, frozen=True):
    """Words over the picture."""

    text: str
    place: Literal["top", "bottom"]


class Mute(msgspec.Struct, frozen=True):
    """No sound."""


Edit = (
    Reverse
    | Boomerang
    | Loop
    | Speed
    | Trim
    | Gray
    | Sepia
    | Invert
    | Tone
    | Blur
    | Sharpen
    | Vignette
    | Grain
    | Crop
    | Turn
    | Mirror
    | Fade
    | Caption
    | Mute
)

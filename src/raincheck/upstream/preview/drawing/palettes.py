"""The colours of a shot: takes its light and its place, or somebody's picture, hands on a Palette."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from PIL import Image

Level = Annotated[int, msgspec.Meta(ge=0, le=255)]
Colour = tuple[Level, Level, Level]
Light = Literal["day", "sunset", "sunrise", "night", "storm", "overcast"]


class Palette(msgspec.Struct, frozen=True, kw_only=True):
    """Every colour of a scene."""

    sky: tuple[Colour, Colour, Colour, Colour]
    """From the top down to the horizon."""
    sun: Colour
    """Or the moon."""
    glow: Colour
    cloud_light: Colour
    cloud_dark: Colour
    haze: Colour
    far: Colour
    near: Colour
    water: Colour


def palette_for(light: Light, place: str) -> Palette:
    """A place has colours of its own, which the light lets through by day and swallows by night."""
    palette = _LIGHTS[light]
    ground = _GROUNDS.get(place)
    if ground is None:
        return palette
    shown = _SHOWN[light] ** (0.5 if place == "snow" else 1.0)  # snow is bright even at night
    return msgspec.structs.replace(
        palette, far=mixed(palette.far, ground[0], shown), near=mixed(palette.near, ground[1], shown)
    )


def tinted(palette: Palette, picture: Path) -> Palette:
    """The palette moved towards the colours of a picture, each to the one nearest in brightness."""
    with Image.open(picture) as opened:
        small = opened.convert("RGB").resize((48, 48), Image.Resampling.BOX).quantize(8).convert("RGB")
    counted: Sequence[tuple[int, Colour]] = small.getcolors(48 * 48) or []  # pyright: ignore[reportAssignmentType]
    seen = sorted(colour for _, colour in counted)

    def moved(colour: Colour) -> Colour:
        nearest = min(seen, key=lambda other: abs(_brightness(other) - _brightness(colour)))
        return mixed(colour, nearest, 0.7)

    values = {
        name: tuple(map(moved, value)) if name == "sky" else moved(value)
        for name, value in msgspec.structs.asdict(palette).items()
    }
    return msgspec.convert(values, Palette)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other in the one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _brightness(colour: Colour) -> float:
    return 0.3 * colour[0] + 0.59 * colour[1] + 0.11 * colour[2]


def _hex(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour)
    return red, green, blue


def _light(sky: str, sun: str, clouds: str, *others: str) -> Palette:
    haze, ground, water = others
    top, high, low, horizon = map(_hex, sky.split())
    disc, glow = map(_hex, sun.split())
    bright, dark = map(_hex, clouds.split())
    far, near = map(_hex, ground.split())
    return Palette(
        sky=(top, high, low, horizon),
        sun=disc,
        glow=glow,
        cloud_light=bright,
        cloud_dark=dark,
        haze=_hex(haze),
        far=far,
        near=near,
        water=_hex(water),
    )


_LIGHTS: dict[Light, Palette] = {
    "day": _light("1f63b8 4b93d8 9cc9ee dceffa", "ffffff fff3d0", "ffffff a9bfd6", "cfe3f2", "7fa3c4 22402e", "15507c"),
    "sunset": _light(
        "1b2050 593a80 d8607a ffb56a", "fff3cf ff8a3d", "ffb083 573a6c", "f0906c", "875080 1a1130", "241c4a"
    ),
    "sunrise": _light(
        "3d6db0 8badd8 f6cbbd ffe2a6", "fffbe8 ffc176", "fff0e2 b090b0", "ffdabd", "8f9ec4 233552", "4b76a2"
    ),
    "night": _light(
        "03051a 091132 142252 2b3f7a", "f5f2e2 8aa2e2", "3a4a7c 0a0f2c", "24356a", "1f2d5b 04060f", "081534"
    ),
    "storm": _light(
        "12171f 242e3a 3f4b58 727d84", "d4dbe0 9fb2c0", "7d8992 161b23", "58646e", "3d4954 0b1015", "18262f"
    ),
    "overcast": _light(
        "8390a0 a1adb8 c0c9d0 dadfe1", "f4f6f6 eef0f0", "e3e7ea 8e9aa6", "cfd6da", "95a3ae 26323a", "5d7280"
    ),
}
_GROUNDS: dict[str, tuple[Colour, Colour]] = {
    "desert": (_hex("dba56b"), _hex("94522a")),
    "forest": (_hex("6f9a7c"), _hex("0f2a1c")),
    "snow": (_hex("c6d6e6"), _hex("eef4fa")),
    "garden": (_hex("9cc47a"), _hex("2c6a2e")),
    "city": (_hex("74859c"), _hex("161c2a")),
}
_SHOWN = {"day": 0.85, "sunrise": 0.6, "overcast": 0.6, "sunset": 0.35, "storm": 0.3, "night": 0.14}

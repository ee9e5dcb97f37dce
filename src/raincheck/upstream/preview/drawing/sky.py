"""The sky of a shot: gradient, sun or moon, stars, clouds, northern lights, lightning; the top of every picture."""

import math

import numpy as np
from PIL import Image, ImageDraw

from raincheck.upstream.preview.drawing.paint import (
    Array,
    Strip,
    chance_of,
    dots,
    glow,
    ink,
    noise,
    over,
    ramp,
    smooth,
    tint,
)
from raincheck.upstream.preview.drawing.storyboard import Shot

_COVER = {"day": 0.46, "sunset": 0.5, "sunrise": 0.5, "night": 0.36, "storm": 0.95, "overcast": 0.8}


class Sky:
    """Everything above the horizon, a row of the canvas."""

    def __init__(self, shot: Shot, rows: int, columns: int, horizon: int) -> None:
        self._shot = shot
        self.horizon = horizon
        self.columns = columns
        colours = np.stack([ink(colour) for colour in shot.palette.sky])
        above = ramp(colours, horizon)
        below = np.repeat(above[-1:], rows - horizon, axis=0)
        self._gradient = np.concatenate([above, below])
        self._starry = shot.light == "night"
        self._stars = _stars(shot, horizon, columns) if self._starry else []
        self._clouds = Clouds(shot, horizon, columns)
        self._aurora = Aurora(shot, horizon, columns) if "aurora" in shot.things else None
        self._lightning = Lightning(shot, horizon, columns) if "lightning" in shot.things else None
        self._side = float(chance_of(shot.key, "sun").uniform(0.3, 0.7))

    def sun(self, t: float) -> tuple[float, float, float]:
        """Where the sun or moon stands, and its radius. Out of sight in bad weather."""
        way = 1 - math.exp(-1.2 * t / self._shot.pace)
        unit = min(self.horizon * 1.7, self.columns)
        lift = 1.0 if self._shot.place == "ocean" else 0.8  # above what stands at the horizon
        height, radius = {
            "sunset": ((0.68 + 0.34 * way) * lift, 0.075),
            "sunrise": ((1.06 - 0.5 * way) * lift, 0.07),
            "night": (0.36 - 0.06 * way, 0.05),
            "day": (0.2 - 0.02 * way, 0.05),
        }.get(self._shot.light, (0.3, 0.0))
        return self._side * self.columns, height * self.horizon, radius * unit

    def flash(self, t: float) -> float:
        """How bright lightning lights the scene, from 0 to 1."""
        return self._lightning.flash(t)[0] if self._lightning else 0.0

    def paint(self, t: float) -> Array:
        """A new picture with the sky in it, and the horizon's colour below."""
        palette = self._shot.palette
        picture = np.repeat(self._gradient[:, None], self.columns, axis=1)
        above = picture[: self.horizon]
        for n, stars in enumerate(self._stars):
            above += (stars * np.float32(0.7 + 0.3 * math.sin(t * (1.3 + n) + n * 2)))[..., None]
        if self._aurora:
            self._aurora.paint(above, t)
        x, y, radius = self.sun(t)
        if radius:
            self._light(above, x, y, radius)
        self._clouds.paint(above, t, (x, y) if radius else None, self.flash(t))
        if radius and self._shot.light != "night":
            glow(above, x, y, radius=radius * 2.2, colour=ink(palette.sun), strength=0.2)
        if self._lightning:
            self._lightning.paint(above, t)
        return picture

    def _light(self, above: Array, x: float, y: float, radius: float) -> None:
        palette = self._shot.palette
        night = self._shot.light == "night"
        warm = ink(palette.glow) * np.float32(1.0 if self._shot.light == "sunset" else 0.62)
        glow(above, x, y, radius=radius * 9, colour=warm, strength=0.2 if night else 0.34)
        glow(above, x, y, radius=radius * 3.6, colour=warm, strength=0.26 if night else 0.4)
        axis_y = np.arange(above.shape[0], dtype=np.float32)[:, None] - y
        axis_x = np.arange(above.shape[1], dtype=np.float32)[None, :] - x
        disc = np.clip(radius - np.sqrt(axis_y**2 + axis_x**2) + 0.5, 0, 1)
        tint(above, ink(palette.sun), disc)
        if night:  # a few dark seas, so that it is the moon
            for dx, dy, size in ((-0.3, -0.2, 0.3), (0.25, 0.1, 0.24), (-0.05, 0.45, 0.2), (0.3, -0.45, 0.14)):
                glow(
                    above,
                    x + dx * radius,
                    y + dy * radius,
                    radius=radius * size,
                    colour=ink((60, 62, 70)),
                    strength=-0.5,
                )


def _stars(shot: Shot, rows: int, columns: int) -> list[Array]:
    chance = chance_of(shot.key, "stars")
    fade = np.linspace(1, 0.1, rows, dtype=np.float32)[:, None]
    planes: list[Array] = []
    for _ in range(3):
        count = max(20, rows * columns // 900)
        x, y = (chance.random(count, dtype=np.float32) * length for length in (columns, rows))
        bright = (chance.random(count, dtype=np.float32) ** 4) * 0.85 + 0.1
        planes.append(np.minimum(dots((rows, columns), x, y, 0.75, bright), 1) * fade)
    return planes


class Clouds:
    """Two layers of noise that drift apart, so that clouds change as they go; flat and thin near the horizon."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "clouds")
        self._palette = shot.palette
        self._stormy = shot.light == "storm"
        self._cover = _COVER[shot.light] + float(chance.uniform(-0.06, 0.06))
        self._speed = columns / (28 if self._stormy else 70)
        self._rise = max(1, rows // 40)
        up = 1 - np.arange(rows, dtype=np.float32) / rows
        seen = ((1 - up**0.5) * (rows * 1.5 - 1)).astype(np.intp)
        self._layers = [
            Strip(noise(chance, int(rows * 1.5), columns * 2, cells, 5)[seen], columns) for cells in ((7, 7), (9, 12))
        ]
        self._fade = smooth(np.minimum(up * 7, 1))[:, None] * np.float32(0.92)

    def paint(self, above: Array, t: float, sun: tuple[float, float] | None, flash: float) -> None:
        one, other = self._layers
        drift = t * self._speed
        field = one.at(drift) * 0.62 + other.at(-drift * 0.5 + 40) * 0.38
        density = smooth((field - (0.78 - 0.5 * self._cover)) * 4.5) * self._fade
        lower = np.empty_like(field)
        lower[: -self._rise] = field[self._rise :]
        lower[-self._rise :] = field[-self._rise :]
        lit = np.clip(0.5 + (lower - field) * (4 if self._stormy else 5), 0, 1)
        dark, light = ink(self._palette.cloud_dark), ink(self._palette.cloud_light)
        if sun:
            near = np.exp(-(((np.arange(above.shape[1], dtype=np.float32) - sun[0]) / (above.shape[1] * 0.35)) ** 2))
            lit = np.clip(lit * 0.75 + near[None, :] * 0.35, 0, 1)
        colour = dark + (light - dark) * lit[..., None]
        if flash:
            colour += np.float32(flash * 0.5) * density[..., None]
        above += (colour - above) * density[..., None]


class Aurora:
    """Curtains of light that wander."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "aurora")
        self._rows = np.arange(rows, dtype=np.float32)[:, None]
        self._height = rows
        self._waves = [Strip(noise(chance, 1, columns * 3, (1, 6), 3), columns) for _ in range(2)]
        self._rays = [Strip(noise(chance, 1, columns * 2, (1, 30), 3) ** 2, columns) for _ in range(2)]

    def paint(self, above: Array, t: float) -> None:
        for n, (wave, ray) in enumerate(zip(self._waves, self._rays, strict=True)):
            foot = (0.45 + 0.2 * n + 0.38 * (wave.at(t * 9 * (1 - 2 * n))[0] - 0.5)) * self._height
            bright = ray.at(t * 16 + 50 * n)[0] * (0.9 - 0.3 * n)
            rise = foot[None, :] - self._rows
            above_foot, below = np.exp(-np.maximum(rise, 0) / (0.3 * self._height)), np.exp(np.minimum(rise, 0) / 3)
            curtain = above_foot * below * bright[None, :]
            high = np.clip(rise / (0.45 * self._height), 0, 1)[..., None]
            colour = ink((60, 255, 150)) * (1 - high) + ink((150, 70, 255)) * high
            above += colour * curtain[..., None]


class Lightning:
    """A stroke at a chance moment of every slot of time, for as long as the scene lasts.

    It fades without a flicker, and the next one takes its time: more than three flashes a second do people harm.
    """

    _SLOT = 1.4

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        self._key = shot.key
        self._size = (columns, rows)

    def flash(self, t: float) -> tuple[float, int, float]:
        """Its strength now, and which slot, and for how long it has lasted."""
        slot = int(t / self._SLOT)
        since = t - slot * self._SLOT - float(chance_of(self._key, "bolt", str(slot)).uniform(0.1, 0.8))
        if not 0 <= since < 0.55:
            return 0.0, slot, since
        return math.exp(-since / 0.16), slot, since

    def paint(self, above: Array, t: float) -> None:
        strength, slot, since = self.flash(t)
        if strength <= 0 or since > 0.3:
            return
        columns, rows = self._size
        chance = chance_of(self._key, "path", str(slot))
        image = Image.new("L", (columns, rows))
        x = float(chance.uniform(0.15, 0.85)) * columns
        self._stroke(ImageDraw.Draw(image), chance, x, 0.12 * rows, 2)
        bolt = np.asarray(image, np.float32) / 255
        over(above, np.repeat((bolt * np.float32(min(1, strength * 1.6)))[..., None], 4, axis=2))
        glow(above, x, rows * 0.5, radius=rows * 0.45, colour=ink((190, 205, 255)), strength=0.5 * strength)

    def _stroke(self, draw: ImageDraw.ImageDraw, chance: np.random.Generator, x: float, y: float, width: int) -> None:
        rows = self._size[1]
        step = rows / 14
        while y < rows:
            onward = (x + float(chance.normal(0, step * 0.6)), y + step)
            draw.line([(x, y), onward], fill=255 if width > 1 else 150, width=width)
            x, y = onward
            if width > 1 and chance.random() < 0.25:
                self._stroke_branch(draw, chance, x, y, step)

    def _stroke_branch(
        self, draw: ImageDraw.ImageDraw, chance: np.random.Generator, x: float, y: float, step: float
    ) -> None:
        lean = float(chance.choice([-1, 1]))
        for _ in range(int(chance.integers(2, 5))):
            onward = (x + lean * step * float(chance.uniform(0.3, 1.0)), y + step * 0.7)
            draw.line([(x, y), onward], fill=130, width=1)
            x, y = onward

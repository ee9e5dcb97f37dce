"""Outer space: nebula, stars in three depths, a planet with its moon."""

import math

import numpy as np

from raincheck.upstream.preview.drawing.paint import (
    Array,
    Chance,
    Strip,
    chance_of,
    dots,
    glow,
    ink,
    noise,
    smooth,
    stamp,
)
from raincheck.upstream.preview.drawing.palettes import Colour
from raincheck.upstream.preview.drawing.storyboard import Shot

_NEBULAE = (((120, 40, 170), (30, 120, 200)), ((190, 50, 90), (60, 50, 170)), ((20, 130, 140), (110, 50, 160)))
_GLOBES = (((196, 120, 70), (238, 206, 160)), ((60, 110, 170), (220, 232, 240)), ((170, 150, 190), (110, 80, 150)))


class Space:
    """Slides by slowly; what is near slides faster."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "space")
        self._rows, self._columns = rows, columns
        self._clouds = Strip(_nebula(chance, rows, columns * 2), columns)
        self._stars = [chance.random((3, count), dtype=np.float32) for count in (360, 120, 26)]
        base, bands = _GLOBES[int(chance.integers(len(_GLOBES)))]
        size = min(rows, columns)
        self._planet = globe(chance, size * 0.62, base, bands, ringed=True)
        self._moon = globe(chance, size * 0.1, (150, 150, 156), (200, 200, 204))
        self._x = float(chance.uniform(0.38, 0.62))

    def paint(self, t: float) -> Array:
        picture = self._clouds.at(t * self._columns * 0.004).copy()
        shape = (self._rows, self._columns)
        for n, (x, y, bright) in enumerate(self._stars):
            across = (x - np.float32(t * 0.004 * (n + 1))) % 1 * self._columns
            shine = (bright**2 * 0.8 + 0.15) * (0.8 + 0.2 * np.sin(np.float32(t * 2) + bright * 40))
            picture += np.minimum(dots(shape, across, y * self._rows, 0.7 + 0.3 * n, shine), 1)[..., None]
        x, y = (self._x - 0.006 * t) * self._columns, self._rows * 0.5
        size = self._planet.shape[0]
        glow(picture, x - size * 0.1, y - size * 0.1, radius=size * 0.42, colour=ink((90, 130, 210)), strength=0.22)
        stamp(picture, self._planet, x, y)
        turn = t * 0.16 + 2.4
        stamp(picture, self._moon, x + math.cos(turn) * size * 0.7, y - size * 0.18 + math.sin(turn) * size * 0.2)
        return picture


def _nebula(chance: Chance, rows: int, columns: int) -> Array:
    one, other = (ink(colour) for colour in _NEBULAE[int(chance.integers(len(_NEBULAE)))])
    first, second, veil = (noise(chance, rows, columns, cells, 5) for cells in ((2, 4), (3, 5), (2, 3)))
    light = smooth(first * 1.9 - 0.7)[..., None] * one + smooth(second * 1.9 - 0.8)[..., None] * other
    return ink((4, 5, 16)) + light * (0.25 + 0.75 * veil[..., None]) * np.float32(0.75)


def globe(
    chance: Chance, size: float, base: Colour, bands: Colour, *, ringed: bool = False, shown: float = 1.0
) -> Array:
    """A lit ball with weather on it, thin bright air at its rim; `shown` is the upper share that is painted."""
    room = math.ceil(size * (1.9 if ringed else 1.06))
    axis = (np.arange(room, dtype=np.float32) - room / 2) / np.float32(size / 2)
    x, y = axis[None, :], axis[: math.ceil(room * shown), None]
    out = np.sqrt(x * x + y * y)
    z = np.sqrt(np.clip(1 - out * out, 0, 1))
    weather = noise(chance, len(y), room, (7, 2) if ringed else (6, 5), 5)
    ground = ink(base) + (ink(bands) - ink(base)) * smooth(weather * 2.4 - 0.75)[..., None]
    light = np.clip(-0.55 * x - 0.5 * y + 0.67 * z, 0, 1)
    alpha = np.clip((1 - out) * (size / 2) + 0.5, 0, 1)
    rim = np.exp(-((1 - out) * 16).clip(0)) * light * 0.7
    body = ground * (0.03 + light)[..., None] + ink((150, 200, 255)) * rim[..., None]
    ball = np.concatenate([np.minimum(body, 1) * alpha[..., None], alpha[..., None]], axis=2).astype(np.float32)
    return _ring(ball, x, y, bands) if ringed else ball


def _ring(ball: Array, x: Array, y: Array, colour: Colour) -> Array:
    tilted = x * 0.95 + y * 0.3, (y * 0.95 - x * 0.3) * 3.6
    out = np.sqrt(tilted[0] ** 2 + tilted[1] ** 2)
    alpha = smooth((out - 1.25) * 14) * smooth((1.82 - out) * 14) * (0.45 + 0.3 * np.sin(out * 34))
    alpha = (alpha * np.where((tilted[1] < 0) & (ball[..., 3] > 0), 1 - ball[..., 3], 1)).astype(np.float32)[..., None]
    return ball * (1 - alpha) + np.concatenate([ink(colour) * 0.85 * alpha, alpha], axis=2)

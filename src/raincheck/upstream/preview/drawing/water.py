"""Open water: takes what is painted above the horizon and lays its moving reflection below."""

import math

import numpy as np

from raincheck.upstream.preview.drawing.paint import Array, Strip, chance_of, ink, noise, smooth
from raincheck.upstream.preview.drawing.storyboard import Shot


class Water:
    """The rows from the horizon down. Waves grow towards the viewer."""

    def __init__(self, shot: Shot, rows: int, columns: int, horizon: int) -> None:
        self._palette = shot.palette
        self._horizon = horizon
        self._rough = 1.9 if shot.light == "storm" else 0.55 if shot.place == "city" else 1.0
        depth = rows - horizon
        down = np.arange(depth, dtype=np.float32)
        self._near = (down / depth)[:, None]
        self._mirror = (horizon - 1 - down)[:, None] * np.float32(1)
        self._columns = np.arange(columns, dtype=np.float32)[None, :]
        # The same texture rows lie far apart near the viewer and close together at the horizon.
        seen = ((1 / (0.06 + self._near[:, 0]) - 0.94) * 20 % (depth * 2)).astype(np.intp)
        self._swell = [
            Strip(noise(chance_of(shot.key, "water", str(n)), depth * 2, columns * 2, cells, 3)[seen], columns)
            for n, cells in enumerate(((30, 13), (44, 26)))
        ]

    def paint(self, picture: Array, t: float, sun: tuple[float, float, float], flash: float) -> None:
        one, other = self._swell
        pace = self._columns.shape[1] * 0.03
        wave = one.at(t * pace) + other.at(-t * pace * 0.7 + 31) - 1
        wave *= np.float32(1) + np.sin(self._near * 26 - np.float32(t * 1.5)) * np.float32(0.25)
        tall = (self._near * self._horizon * 0.3 + 2) * self._rough
        rows = np.clip(self._mirror + wave * tall, 0, self._horizon - 1).astype(np.intp)
        sway = wave * (self._near * 14 + 1) * self._rough
        columns = np.clip(self._columns + sway, 0, self._columns.shape[1] - 1).astype(np.intp)
        water = np.minimum(picture[rows, columns], 1)
        body = ink(self._palette.water)
        share = 0.34 + 0.5 * self._near - wave * 0.5
        water += (body - water) * np.clip(share, 0.12, 0.94)[..., None]
        self._glitter(water, wave, sun, flash)
        picture[self._horizon :] = water

    def _glitter(self, water: Array, wave: Array, sun: tuple[float, float, float], flash: float) -> None:
        """The broken path of light under the sun, and foam where the sea is rough."""
        x, y, radius = sun
        if radius:
            above = min(1.0, max(0.0, (self._horizon + radius - y) / (2 * radius)))
            wide = (0.035 + 0.2 * self._near) * self._columns.shape[1]
            path = np.exp(-(((self._columns - np.float32(x)) / wide) ** 2)) * np.float32(above)
            spark = smooth((wave - 0.02 + 0.12 * path) * 5)
            water += ink(self._palette.glow) * (path * (0.1 + 0.85 * spark) * (1 - 0.3 * self._near))[..., None]
        if self._rough > 1:
            foam = smooth((wave - 0.34) * 7) * (0.5 * (1 - self._near) ** 2)
            water += (ink((196, 208, 214)) - water) * foam[..., None]
        if flash:
            water += np.float32(flash * 0.12) * (1 + math.pi * np.maximum(wave, 0))[..., None]

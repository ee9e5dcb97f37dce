"""Under water: shafts of light, weeds that sway, a shoal, bubbles."""

import math

import numpy as np
from PIL import ImageDraw

from raincheck.upstream.preview.drawing.paint import (
    Array,
    Strip,
    chance_of,
    dots,
    drawn,
    ink,
    noise,
    over,
    ramp,
    smooth,
    stamp,
    tint,
)
from raincheck.upstream.preview.drawing.palettes import Colour, mixed
from raincheck.upstream.preview.drawing.storyboard import Shot

_FISHES: tuple[Colour, ...] = ((255, 150, 50), (250, 214, 70), (110, 190, 240), (240, 110, 130))
_CORALS: tuple[Colour, ...] = ((226, 92, 110), (238, 150, 70), (170, 90, 190), (220, 190, 90))


class UnderWater:
    """Brighter above, darker below; the light flickers with the waves."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "deep")
        self._dim = {"night": 0.4, "storm": 0.6, "sunset": 0.8}.get(shot.light, 1.0)
        sunny = [(150, 226, 224), (48, 160, 190), (18, 92, 146), (6, 42, 88)]
        self._water = ramp(np.stack([ink(c) for c in sunny]) * np.float32(self._dim), rows)
        y, x = np.arange(rows, dtype=np.float32)[:, None], np.arange(columns, dtype=np.float32)[None, :]
        self._ray_columns = ((x - y * 0.45) % (columns * 2)).astype(np.intp)
        self._rays = [Strip(noise(chance, 1, columns * 2, (1, cells), 3), columns * 2) for cells in (9, 14)]
        self._deepness = np.exp(-y / (rows * 0.5)) * np.float32(0.5 * self._dim)
        self._floor = _floor(chance, rows, columns, self._dim)
        colours = [mixed(_FISHES[int(chance.integers(4))], (10, 60, 100), 0.15 + 0.5 * (1 - self._dim)) for _ in (0, 1)]
        self._shoal: list[list[float]] = chance.random((18, 4)).tolist()
        self._fish: list[Array] = [
            _fish(rows * size, colour) for size, colour in zip((0.06, 0.1), colours, strict=True)
        ]
        self._bubbles = chance.random((3, 40), dtype=np.float32)

    def paint(self, t: float) -> Array:
        rows, columns = self._ray_columns.shape
        picture = np.repeat(self._water[:, None], columns, axis=1)
        one, other = self._rays
        rays = smooth(one.at(t * 9)[0] + other.at(-t * 13)[0] - 0.62) * 1.3
        picture += rays[self._ray_columns][..., None] * (self._deepness[..., None] * ink((200, 255, 240)))
        self._swim(picture, t)
        over(picture, self._floor.at(t * columns * 0.012))
        x, y, phase = self._bubbles
        up = (y - np.float32(t) * (0.07 + 0.1 * phase)) % 1.05
        sway = np.sin(np.float32(t * 2) + phase * 6) * 0.006
        plane = dots((rows, columns), (x + sway) * columns, up * rows, rows / 200, 0.4 + 0.4 * phase)
        tint(picture, ink((225, 255, 255)), np.minimum(plane, 0.8))
        return picture

    def _swim(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        for x, y, pace, kind in self._shoal:
            near = kind > 0.7
            across = ((x * 0.7 + t * (0.04 + 0.025 * pace) * (1.4 if near else 1)) % 1.3 - 0.15) * columns
            down = (0.22 + 0.45 * y + 0.015 * math.sin(t * 1.7 + x * 9)) * rows
            stamp(picture, self._fish[int(near)], across, down, 1 if near else 0.75)


def _floor(chance: np.random.Generator, rows: int, columns: int, dim: float) -> Strip:
    """Sand with weeds and corals, as one layer."""
    line = rows * 0.86 - noise(chance, 1, columns * 2, (1, 4), 3)[0] * rows * 0.1
    y = np.arange(rows, dtype=np.float32)[:, None]
    alpha = np.clip(y - line[None, :] + 0.5, 0, 1)[..., None]
    grain = noise(chance, rows, columns * 2, (30, 60), 2)[..., None]
    sand = ink((92, 140, 140)) * np.float32(dim) * (0.8 + 0.4 * grain)
    floor = np.concatenate([sand * alpha, alpha], axis=2).astype(np.float32)
    for x in np.arange(0.02, 1.98, 0.075):
        column = int((x + chance.uniform(-0.03, 0.03)) * columns) % (columns * 2)
        size = rows * float(chance.uniform(0.1, 0.3))
        plant = _weed(size, chance, dim) if chance.random() < 0.6 else _coral(size * 0.6, chance, dim)
        stamp(floor, plant, column, line[column] - plant.shape[0] * 0.42)
    return Strip(floor, columns)


def _weed(size: float, chance: np.random.Generator, dim: float) -> Array:
    bend, green = float(chance.uniform(-0.5, 0.5)), mixed((20, 70, 70), (70, 150, 80), float(chance.random()) * dim)

    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        for stalk in (-1, 0, 1):
            points = [
                (width * (0.5 + stalk * 0.12 * n / 9 + 0.2 * bend * math.sin(n / 2.2 + stalk)), height * (1 - n / 9.5))
                for n in range(9 - abs(stalk) * 2)
            ]
            pen.line(points, fill=green, width=max(3, int(width * 0.07)), joint="curve")

    return drawn(size * 0.6, size, draw)


def _coral(size: float, chance: np.random.Generator, dim: float) -> Array:
    colour = mixed((10, 50, 80), _CORALS[int(chance.integers(4))], 0.3 + 0.5 * dim)
    arms = chance.uniform(-1, 1, (9, 2)).tolist()

    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        for lean, reach in arms:
            end = (width * (0.5 + 0.42 * lean), height * (0.35 + 0.25 * reach))
            pen.line([(width / 2, height), end], fill=colour, width=max(4, int(width * 0.08)))
            knob = width * 0.075
            pen.ellipse(
                [end[0] - knob, end[1] - knob, end[0] + knob, end[1] + knob], fill=mixed(colour, (255, 255, 255), 0.2)
            )

    return drawn(size, size, draw)


def _fish(size: float, colour: Colour) -> Array:
    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        dark = mixed(colour, (20, 30, 60), 0.35)
        pen.polygon(
            [(width * 0.25, height * 0.5), (0, height * 0.12), (width * 0.06, height * 0.5), (0, height * 0.88)],
            fill=dark,
        )
        pen.polygon(
            [(width * 0.4, height * 0.3), (width * 0.55, height * 0.02), (width * 0.75, height * 0.3)], fill=dark
        )
        pen.ellipse([width * 0.18, height * 0.18, width * 0.98, height * 0.82], fill=colour)
        pen.ellipse([width * 0.3, height * 0.5, width * 0.9, height * 0.8], fill=mixed(colour, (255, 255, 255), 0.35))
        pen.ellipse([width * 0.8, height * 0.36, width * 0.87, height * 0.5], fill=(16, 20, 30))

    return drawn(size, size * 0.55, draw)

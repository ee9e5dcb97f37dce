"""What moves through the air: rain, snow, embers, fireflies, mist, birds. Each is a function of time alone."""

import math

import numpy as np
from PIL import Image, ImageDraw

from raincheck.upstream.preview.drawing.paint import (
    Array,
    Strip,
    chance_of,
    dots,
    drawn,
    ink,
    noise,
    smooth,
    stamp,
    tint,
)
from raincheck.upstream.preview.drawing.palettes import mixed
from raincheck.upstream.preview.drawing.storyboard import Shot


class Rain:
    """Two sheets of streaks that fall and come round again."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "rain")
        slant = -0.2
        self._sheets: list[Array] = []
        for length, bright, count in ((rows * 0.05, 70, columns // 3), (rows * 0.1, 120, columns // 7)):
            image = Image.new("L", (columns, rows))
            draw = ImageDraw.Draw(image)
            for x, y in chance.random((count, 2)) * (columns, rows):
                for dx in (-columns, 0, columns):
                    for dy in (-rows, 0):
                        head = (x + dx, y + dy)
                        draw.line([head, (head[0] + slant * length, head[1] + length)], fill=bright)
            self._sheets.append(np.asarray(image, np.float32)[..., None] / 255)
        self._slant = slant
        self._colour = ink(mixed(shot.palette.cloud_light, (255, 255, 255), 0.5))

    def paint(self, picture: Array, t: float) -> None:
        rows = picture.shape[0]
        for sheet, speed in zip(self._sheets, (1.9, 2.9), strict=True):
            fallen = t * speed * rows
            moved = np.roll(sheet, (int(fallen), int(fallen * self._slant)), axis=(0, 1))
            picture += (self._colour - picture) * (moved * np.float32(0.6))


class Snow:
    """Flakes of three sizes, near ones faster."""

    def __init__(self, shot: Shot, rows: int) -> None:
        chance = chance_of(shot.key, "snow")
        self._flakes = [chance.random((3, count), dtype=np.float32) for count in (190, 90, 30)]
        self._unit = rows / 270
        self._colour = ink((255, 255, 255)) * np.float32(0.7 if shot.light in {"night", "storm"} else 1)

    def paint(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        for n, (x, y, phase) in enumerate(self._flakes):
            fall = (0.06 + 0.05 * n) * (0.8 + 0.4 * phase)
            down = (y + fall * np.float32(t)) % 1.1 - 0.05
            sway = np.sin(np.float32(t * 0.9) + phase * 6.3) * 0.012 * (n + 1)
            across = (x - np.float32(t * 0.012 * (n + 1)) + sway) % 1.1 - 0.05
            plane = dots((rows, columns), across * columns, down * rows, (0.8 + 0.75 * n) * self._unit, 0.95)
            tint(picture, self._colour, np.minimum(plane, 0.95))


class Embers:
    """Sparks that rise from the lower middle and go out."""

    def __init__(self, shot: Shot, at: float = 0.5, spread: float = 0.45, count: int = 90) -> None:
        chance = chance_of(shot.key, "embers")
        self._sparks = chance.random((4, count), dtype=np.float32)
        self._at, self._spread = at, spread

    def paint(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        x, life, phase, size = self._sparks
        age = (phase + np.float32(t) / (2.2 + 2 * life)) % 1
        wander = np.sin(age * 9 + phase * 6.3) * 0.02 + (x - 0.5) * age * 0.3
        across = (self._at + (x - 0.5) * self._spread * 0.4 + wander) * columns
        down = (0.92 - age * (0.55 + 0.4 * life)) * rows
        fade = np.sin(np.minimum(age * 1.2, 1) * math.pi) * (0.4 + size)
        for radius, colour in ((rows / 210, (255, 150, 40)), (rows / 420, (255, 240, 190))):
            picture += dots((rows, columns), across, down, radius, fade)[..., None] * ink(colour)


class Fireflies:
    """Slow wandering lights that come and go."""

    def __init__(self, shot: Shot) -> None:
        self._flies = chance_of(shot.key, "fireflies").random((4, 46), dtype=np.float32)

    def paint(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        x, y, pace, phase = self._flies
        turn = phase * 6.3 + np.float32(t) * (0.3 + 0.5 * pace)
        across = (x + 0.04 * np.sin(turn) + 0.02 * np.sin(turn * 2.3)) * columns
        down = (0.45 + 0.5 * y + 0.04 * np.cos(turn * 1.3)) * rows
        shine = np.maximum(0, np.sin(turn * 3.1 + phase * 9)) ** 2
        for radius, strength in ((rows / 45, 0.28), (rows / 200, 1.0)):
            picture += dots((rows, columns), across, down, radius, shine * strength)[..., None] * ink((205, 255, 110))


class Mist:
    """Low bands of fog that drift."""

    def __init__(self, shot: Shot, rows: int, columns: int, horizon: int, thick: float) -> None:
        self._bands = Strip(noise(chance_of(shot.key, "mist"), rows, columns * 2, (5, 3), 3), columns)
        y = np.arange(rows, dtype=np.float32)[:, None]
        self._where = np.exp(-(((y - horizon - 0.1 * rows) / (0.2 * rows)) ** 2)) * np.float32(thick)
        self._colour = ink(shot.palette.haze)
        self._speed = columns / 50

    def paint(self, picture: Array, t: float) -> None:
        tint(picture, self._colour, smooth(self._bands.at(t * self._speed) * 1.5 - 0.25) * self._where)


class Birds:
    """A loose flock that crosses the sky, wings beating."""

    _BEATS = 8

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "birds")
        self._places = chance.random((9, 3))
        self._way = float(chance.choice([-1, 1]))
        colour = mixed(shot.palette.near, (20, 20, 28), 0.6)
        size = min(rows, columns) / 24
        self._beats = [_bird(size, colour, math.sin(n / self._BEATS * math.tau)) for n in range(self._BEATS)]

    def paint(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        for x, y, phase in self._places.tolist():
            across = (0.5 + self._way * ((x * 0.45 + t * 0.045 * (0.9 + 0.2 * phase)) % 1.2 - 0.6)) * columns
            down = (0.16 + 0.2 * y + 0.012 * math.sin(t * 1.3 + phase * 6)) * rows
            beat = int((t * (1.5 + phase) + phase * 7) * self._BEATS) % self._BEATS
            stamp(picture, self._beats[beat], across, down)


def _bird(size: float, colour: tuple[int, int, int], lift: float) -> Array:
    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        middle, tip = height * 0.55, height * (0.5 - 0.38 * lift)
        thick = max(2, round(height * 0.09))
        bend = (middle + tip) / 2 - height * 0.12
        for side in (-1, 1):
            x = width / 2
            wing = [(x, middle), (x + side * width * 0.22, bend), (x + side * width * 0.46, tip)]
            pen.line(wing, fill=colour, width=thick, joint="curve")

    return drawn(size, size * 0.6, draw)

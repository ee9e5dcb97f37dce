"""Things one can point at: sailing boat, balloon, lighthouse, camp fire. Simple shapes, each a function of time."""

import math

import numpy as np
from PIL import ImageDraw

from raincheck.upstream.preview.drawing.paint import Array, chance_of, drawn, glow, ink, noise, over, smooth, stamp
from raincheck.upstream.preview.drawing.palettes import Colour, mixed
from raincheck.upstream.preview.drawing.storyboard import Shot


class Boat:
    """Sails across the water, rocking."""

    def __init__(self, shot: Shot, rows: int, columns: int, horizon: int) -> None:
        chance = chance_of(shot.key, "boat")
        self._start = float(chance.uniform(0.3, 0.42))
        self._water = horizon + (rows - horizon) * 0.2
        size = min(rows * 0.3, columns * 0.24)
        dark = shot.light in {"sunset", "night", "storm"}
        sail = mixed((250, 246, 236), shot.palette.near, 0.45 if dark else 0.05)
        hull = mixed((120, 52, 40), shot.palette.near, 0.7 if dark else 0.1)
        self._size = size
        self._leans = [_boat(size, sail, hull, (n - 8) / 8 * 0.07) for n in range(17)]
        self._mirrored = [np.ascontiguousarray(sprite[::-1]) * np.float32(0.35) for sprite in self._leans]
        self._rough = 2.2 if shot.light == "storm" else 1.0

    def paint(self, picture: Array, t: float) -> None:
        columns = picture.shape[1]
        x = (self._start + 0.022 * t) % 1.3 * columns
        heave = math.sin(t * 1.1) * self._size * 0.018 * self._rough
        lean = round(8 + 7.9 * min(1, 0.45 * self._rough) * math.sin(t * 0.9 + 1))
        below = self._mirrored[lean][: round(self._size * 0.5)]
        stamp(picture, below, x, self._water + below.shape[0] / 2 + heave)
        stamp(picture, self._leans[lean], x, self._water - self._size * 0.48 + heave)


def _boat(size: float, sail: Colour, hull: Colour, lean: float) -> Array:
    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        def at(x: float, y: float) -> tuple[float, float]:
            angle = lean
            dx, dy = (x - 0.5) * width, (y - 0.95) * height
            turned = dx * math.cos(angle) - dy * math.sin(angle), dx * math.sin(angle) + dy * math.cos(angle)
            return width / 2 + turned[0], height * 0.95 + turned[1]

        shaded = mixed(sail, hull, 0.35)
        pen.polygon([at(0.47, 0.06), at(0.47, 0.8), at(0.14, 0.8), at(0.3, 0.45)], fill=sail)
        pen.polygon([at(0.51, 0.14), at(0.51, 0.8), at(0.82, 0.8), at(0.7, 0.5)], fill=shaded)
        pen.line([at(0.49, 0.03), at(0.49, 0.9)], fill=hull, width=max(2, int(width * 0.014)))
        deck = [at(0.1, 0.84), at(0.9, 0.84), at(0.8, 0.95), at(0.66, 0.98), at(0.34, 0.98), at(0.2, 0.95)]
        pen.polygon(deck, fill=hull)

    return drawn(size, size, draw)


class Balloon:
    """A striped hot-air balloon that rises slowly and sways, with two far away."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        chance = chance_of(shot.key, "balloon")
        dim = {"night": 0.6, "storm": 0.5, "sunset": 0.25}.get(shot.light, 0.05)
        self._sprites: list[tuple[Array, float, float, float]] = []
        for n, share in enumerate((0.09, 0.13, 0.34)):
            size = min(rows, columns) * share
            stripes = [mixed(tuple(c), shot.palette.near, dim) for c in chance.permutation(np.array(_STRIPES)).tolist()]
            x, y = float(chance.uniform(0.12, 0.88)), float(chance.uniform(0.25, 0.4))
            if n == 2:
                x, y = float(chance.uniform(0.38, 0.62)), 0.42
            self._sprites.append((_balloon(size, stripes), x, y, size))

    def paint(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        for n, (sprite, x, y, size) in enumerate(self._sprites):
            across = x * columns + math.sin(t * 0.5 + n * 2) * size * 0.08
            stamp(picture, sprite, across, y * rows - t * size * 0.035)


_STRIPES = [[226, 74, 51], [250, 176, 59], [247, 238, 220], [52, 120, 176], [70, 158, 120], [150, 74, 150]]


def _balloon(size: float, stripes: list[Colour]) -> Array:
    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        across, down = width / 2, height * 0.36
        for n in range(6):  # each stripe is an ellipse, narrower than the last
            half = across * (1 - n * 0.17)
            colour = mixed(stripes[n % 3], (0, 0, 0), 0.22 * (1 - n / 5))
            pen.ellipse([across - half, 0, across + half, height * 0.72], fill=colour)
            pen.polygon(
                [
                    (across - half * 0.86, down * 1.45),
                    (across + half * 0.86, down * 1.45),
                    (across + half * 0.16, height * 0.84),
                    (across - half * 0.16, height * 0.84),
                ],
                fill=colour,
            )
        rope = (70, 52, 40)
        for side in (-1, 1):
            ends = [(across + side * width * 0.09, height * 0.83), (across + side * width * 0.06, height * 0.92)]
            pen.line(ends, fill=rope, width=max(1, int(width / 60)))
        pen.rectangle([across - width * 0.08, height * 0.91, across + width * 0.08, height * 0.99], fill=(104, 70, 42))

    return drawn(size, size * 1.25, draw)


class Lighthouse:
    """On a rock at the side; its beam sweeps when it is dark."""

    def __init__(self, shot: Shot, rows: int, columns: int, horizon: int) -> None:
        self._dark = shot.light in {"night", "storm", "sunset", "overcast"}
        size = min(rows * 0.42, columns * 0.4)
        self._size = size
        self._x = columns * (0.2 if chance_of(shot.key, "lighthouse").random() < 0.5 else 0.8)
        self._foot = horizon + size * 0.1
        near = shot.palette.near
        shade = {"night": 0.7, "storm": 0.55, "sunset": 0.6}.get(shot.light, 0.1)
        self._sprite = _lighthouse(size, mixed((245, 242, 235), near, shade), mixed((200, 48, 44), near, shade), near)

    def paint(self, picture: Array, t: float) -> None:
        stamp(picture, self._sprite, self._x, self._foot - self._size / 2)
        if not self._dark:
            return
        lamp = self._foot - self._size * 0.9
        self._beam(picture, lamp, t * 0.9)
        glow(picture, self._x, lamp, radius=self._size * 0.14, colour=ink((255, 236, 180)), strength=0.8)

    def _beam(self, picture: Array, lamp: float, turn: float) -> None:
        rows, columns = picture.shape[:2]
        y = np.arange(rows, dtype=np.float32)[:, None] - np.float32(lamp)
        x = np.arange(columns, dtype=np.float32)[None, :] - np.float32(self._x)
        aim = math.cos(turn)
        along = x * np.float32(math.copysign(1, aim))
        wide = np.abs(along) * 0.1 + 2
        light = np.exp(-((y / wide) ** 2)) * (along > 0) * np.float32(0.42 * abs(aim))
        picture += (light * np.exp(-np.abs(along) / (columns * 0.5)))[..., None] * ink((255, 240, 200))


def _lighthouse(size: float, white: Colour, red: Colour, rock: Colour) -> Array:
    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        middle = width / 2

        def half(y: float) -> float:
            return width * (0.075 + 0.055 * (y - 0.16) / 0.7)

        for n in range(6):
            top, bottom = 0.16 + n * 0.12, 0.16 + (n + 1) * 0.12
            quad = [(middle - half(top), top), (middle + half(top), top), (middle + half(bottom), bottom)]
            quad.append((middle - half(bottom), bottom))
            pen.polygon([(x, y * height) for x, y in quad], fill=red if n % 2 else white)
        pen.rectangle([middle - width * 0.1, height * 0.145, middle + width * 0.1, height * 0.165], fill=rock)
        pen.rectangle(
            [middle - width * 0.05, height * 0.07, middle + width * 0.05, height * 0.145], fill=(255, 236, 170)
        )
        roof = [
            (middle - width * 0.075, height * 0.075),
            (middle, height * 0.02),
            (middle + width * 0.075, height * 0.075),
        ]
        pen.polygon(roof, fill=red)
        stones = [
            (0.02, 1),
            (0.12, 0.91),
            (0.26, 0.87),
            (0.42, 0.84),
            (0.6, 0.85),
            (0.76, 0.89),
            (0.9, 0.94),
            (0.98, 1),
        ]
        pen.polygon([(x * width, y * height) for x, y in stones], fill=rock)

    return drawn(size, size, draw)


class Fire:
    """Flames: noise that streams upwards through a flame's outline, coloured by heat; and what it lights."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        self._high, self._wide = round(rows * 0.42), round(min(columns * 0.3, rows * 0.4))
        chance = chance_of(shot.key, "fire")
        self._fields = [noise(chance, self._high * 3, self._wide, cells, 3) for cells in ((14, 4), (22, 7))]
        up = np.linspace(1, 0, self._high, dtype=np.float32)[:, None]
        x = np.linspace(-1, 1, self._wide, dtype=np.float32)[None, :]
        self._outline = 1.15 - np.abs(x) / (0.9 - 0.55 * up + 0.02) * 0.8 - up * 0.95
        self._up = up
        self._x = x
        self._logs = _logs(self._wide * 1.15)

    def paint(self, picture: Array, t: float) -> None:
        rows, columns = picture.shape[:2]
        foot, middle = round(rows * 0.86), columns / 2
        beat = 0.85 + 0.1 * math.sin(t * 9) + 0.05 * math.sin(t * 23)
        for radius, strength in ((rows * 0.75, 0.2), (rows * 0.35, 0.3)):
            glow(
                picture,
                middle,
                foot - self._high * 0.3,
                radius=radius,
                colour=ink((255, 120, 30)),
                strength=strength * beat,
            )
        slow, fast = (
            np.roll(field, -int(t * self._high * speed), axis=0)[: self._high]
            for field, speed in zip(self._fields, (0.9, 1.5), strict=True)
        )
        heat = np.clip(self._outline + (slow - 0.5) * (0.5 + self._up) + (fast - 0.5) * (0.35 + 0.5 * self._up), 0, 1)
        heat *= smooth((1 - np.abs(self._x)) * 4) * smooth(self._up * 9 + 0.15)
        colour = np.stack(
            [np.minimum(heat * 2.6, 1), np.clip(heat * 2.2 - 0.3, 0, 1), np.clip(heat * 2.4 - 1.3, 0, 1)], 2
        )
        layer = np.concatenate([colour, np.minimum(heat * 2.4, 1)[..., None]], axis=2).astype(np.float32)
        layer[..., :3] *= layer[..., 3:]
        left, top = round(middle - self._wide / 2), foot - self._high
        over(picture[top:foot, left : left + self._wide], layer)
        stamp(picture, self._logs, middle, foot)


def _logs(width: float) -> Array:
    def draw(pen: ImageDraw.ImageDraw, wide: float, high: float) -> None:
        thick = int(high * 0.3)
        pen.line([(wide * 0.1, high * 0.8), (wide * 0.85, high * 0.3)], fill=(46, 26, 18), width=thick)
        pen.line([(wide * 0.15, high * 0.3), (wide * 0.9, high * 0.8)], fill=(64, 36, 22), width=thick)

    return drawn(width, width * 0.3, draw)

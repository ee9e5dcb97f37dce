"""A rocket's way from the pad into space: ground sinks, sky darkens, stars come out, the earth turns round."""

import math

import numpy as np
from PIL import ImageDraw

from raincheck.upstream.preview.drawing.land import layers_of
from raincheck.upstream.preview.drawing.paint import Array, chance_of, dots, drawn, eased, glow, ink, puff, ramp, stamp
from raincheck.upstream.preview.drawing.palettes import mixed
from raincheck.upstream.preview.drawing.sky import Clouds
from raincheck.upstream.preview.drawing.space import globe
from raincheck.upstream.preview.drawing.storyboard import Shot


class Launch:
    """The camera follows the rocket, so all else moves down past it."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        self._shot = shot
        self._rows, self._columns = rows, columns
        self._horizon = round(rows * 0.8)
        self._day = ramp(np.stack([ink(colour) for colour in shot.palette.sky]), rows)
        self._ground = layers_of(shot, rows, columns, self._horizon)[:3]
        self._clouds = Clouds(shot, rows, columns)
        chance = chance_of(shot.key, "launch")
        self._stars = chance.random((3, 260), dtype=np.float32)
        self._smoke = chance.random((4, 150))
        self._size = min(rows * 0.36, columns * 0.5)
        self._rocket = _rocket(self._size)
        lit = mixed((255, 255, 255), shot.palette.glow, 0.35)
        shade = mixed(shot.palette.cloud_dark, (190, 186, 190), 0.5)
        self._puffs = [puff(self._size * (0.12 + 0.075 * n), ink(mixed(shade, lit, 1 - n / 5)), 0.9) for n in range(6)]
        self._earth = globe(chance, columns * 2.2, (40, 96, 160), (214, 226, 236), shown=0.2)

    def paint(self, t: float) -> Array:
        way = t / self._shot.pace
        height = self._height(t)
        dark = eased((height - 0.7) / 2.4)
        picture = np.repeat((self._day * np.float32(1 - dark))[:, None], self._columns, axis=1)
        picture += ink((3, 5, 16)) * np.float32(dark)
        if dark > 0.05:
            self._starlight(picture, t, dark)
        if dark < 0.7:
            self._clouds.paint(picture, t + height * 2, None, 0.0)
            self._land(picture, t, height)
        if way > 0.55:
            rise = 1 - math.exp(-(way - 0.55) * 2.2)
            stamp(picture, self._earth, self._columns * 0.5, self._rows * (0.9 - 0.3 * rise) + self._earth.shape[0] / 2)
        self._flight(picture, t, height, dark)
        return picture

    def _height(self, t: float) -> float:
        """In pictures above the pad."""
        way = max(0.0, t / self._shot.pace - 0.1)
        return 3.4 * way * way + 0.5 * way

    def _starlight(self, picture: Array, t: float, dark: float) -> None:
        x, y, bright = self._stars
        down = (y + np.float32(0.06 * self._height(t))) % 1
        plane = dots((self._rows, self._columns), x * self._columns, down * self._rows, 0.8, bright**3 + 0.06)
        picture += np.minimum(plane, 1)[..., None] * np.float32(dark)

    def _land(self, picture: Array, t: float, height: float) -> None:
        sunk = int(height * self._rows * 0.55)
        if sunk >= self._rows // 2:
            return
        shown = np.empty_like(picture)
        shown[: self._rows - sunk] = picture[sunk:] if sunk else picture
        for layer in self._ground:
            layer.paint(shown, t, 0.25)
        if sunk:
            picture[sunk:] = shown[: self._rows - sunk]
        else:
            picture[:] = shown

    def _flight(self, picture: Array, t: float, height: float, dark: float) -> None:
        shake = math.sin(t * 47) * self._size * 0.006 * (1 - dark)
        x = self._columns * 0.5 + shake
        away = 1 - 0.3 * eased((t / self._shot.pace - 0.5) / 0.8)
        pad = self._horizon - self._size * 0.4
        y = pad + (self._rows * 0.42 - pad) * eased(height / 0.9)
        nozzle = y + self._size * 0.46
        self._trail(picture, t, x, nozzle, dark)
        self._flame(picture, t, x, nozzle, away)
        stamp(picture, self._rocket, x, y)
        glow(
            picture,
            x,
            nozzle + self._size * 0.1,
            radius=self._size * 0.9,
            colour=ink((255, 150, 60)),
            strength=(0.34 - 0.24 * dark) * away,
        )

    def _trail(self, picture: Array, t: float, x: float, nozzle: float, dark: float) -> None:
        """Smoke: each puff leaves the nozzle at its own moment, stays where it was and spreads."""
        lean, _, _, phase = self._smoke
        count = self._smoke.shape[1]
        life = 2.3
        for n in range(count):
            born = (math.floor((t / life) - n / count) + n / count) * life
            age = t - born
            if born < 0.02 or not 0 < age < life:
                continue
            risen = (self._height(t) - self._height(born)) * self._rows * 0.55
            ground = self._horizon + self._height(t) * self._rows * 0.55 + 4
            down = nozzle + self._size * 0.12 + risen + age * self._size * 0.5
            side = (lean[n] - 0.5) * (0.12 + age * 0.3) * self._size
            if down > ground:  # on the ground it spreads sideways
                side *= 1 + min(3.5, (down - ground) / self._size * 3 + age)
                down = ground - abs(lean[n] - 0.5) * self._size * 0.2
            sprite = self._puffs[min(5, int(age / life * 5 + phase[n]))]
            stamp(picture, sprite, x + side, down, (1 - age / life) * (1 - 0.7 * dark))

    def _flame(self, picture: Array, t: float, x: float, nozzle: float, away: float) -> None:
        length = self._size * (0.62 + 0.05 * math.sin(t * 31)) * away
        for n in range(16):
            share = n / 15
            wobble = math.sin(t * 40 + n * 1.7) * self._size * 0.008 * share
            radius = self._size * (0.075 - 0.045 * share) * away
            colour = ink(mixed((255, 244, 205), (255, 96, 20), min(1.0, share * 1.35)))
            glow(
                picture,
                x + wobble,
                nozzle + share * length,
                radius=radius,
                colour=colour,
                strength=0.75 * (1 - share) ** 0.7,
            )


def _rocket(size: float) -> Array:
    def draw(pen: ImageDraw.ImageDraw, width: float, height: float) -> None:
        middle, half = width / 2, width * 0.17
        for side in (-1, 1):
            fin = [(middle + side * half * 0.8, height * 0.66), (middle + side * width * 0.42, height * 0.9)]
            fin += [(middle + side * width * 0.42, height * 0.97), (middle + side * half * 0.8, height * 0.88)]
            pen.polygon(fin, fill=(186, 44, 38) if side < 0 else (146, 28, 28))
        outline = [(math.sin(n / 24 * math.pi / 2) ** 0.75 * half, height * (0.02 + 0.26 * n / 24)) for n in range(25)]
        outline.append((half * 0.86, height * 0.9))
        for share, colour in ((1.0, (226, 229, 234)), (0.45, (247, 248, 250)), (-0.35, (176, 182, 192))):
            left = [(middle - dx, y) for dx, y in outline]
            right = [(middle + dx * (1 if share == 1.0 else share), y) for dx, y in outline]
            if share < 0:  # the side away from the light
                left = [(middle - dx * share, y) for dx, y in outline]
                right = [(middle + dx, y) for dx, y in outline]
            pen.polygon([*left, *reversed(right)], fill=colour)
        nose = [(middle + side * dx, y) for side in (-1, 1) for dx, y in outline[:13][::side]]
        pen.polygon(nose, fill=(206, 52, 44))
        for y in (0.36, 0.47):
            pen.ellipse(
                [middle - half * 0.42, height * y, middle + half * 0.42, height * y + half * 0.84], fill=(60, 72, 92)
            )
            inner = [middle - half * 0.26, height * y + half * 0.16, middle + half * 0.26, height * y + half * 0.68]
            pen.ellipse(inner, fill=(128, 190, 230))
        pen.rectangle([middle - half * 0.93, height * 0.62, middle + half * 0.93, height * 0.65], fill=(206, 52, 44))
        bell = [(middle - half * 0.5, height * 0.9), (middle + half * 0.5, height * 0.9)]
        pen.polygon(
            [*bell, (middle + half * 0.75, height * 0.97), (middle - half * 0.75, height * 0.97)], fill=(70, 74, 84)
        )

    return drawn(size * 0.42, size, draw)

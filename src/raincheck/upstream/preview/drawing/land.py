"""The ground of a shot: mountains, dunes, woods, meadows, painted once as layers that slide past each other."""

from dataclasses import dataclass

import numpy as np

from raincheck.upstream.preview.drawing.ground import Ground, on, shade
from raincheck.upstream.preview.drawing.paint import Array, Strip, ink, noise, over
from raincheck.upstream.preview.drawing.palettes import Colour, mixed
from raincheck.upstream.preview.drawing.plants import conifers, flowers, round_trees
from raincheck.upstream.preview.drawing.storyboard import Shot
from raincheck.upstream.preview.drawing.town import town


@dataclass(frozen=True, slots=True)
class Layer:
    """Premultiplied RGBA of the rows from `top` on."""

    strip: Strip
    top: int
    bottom: int
    """The first row that a nearer layer hides everywhere."""
    speed: float
    """Columns a second."""

    def paint(self, picture: Array, t: float, drift: float) -> None:
        rows = picture[self.top : self.bottom]
        over(rows, self.strip.at(t * self.speed * drift, slice(0, self.bottom - self.top)))


def layers_of(shot: Shot, rows: int, columns: int, horizon: int) -> list[Layer]:
    """From the farthest to the nearest."""
    paint = {
        "launch": _plains,
        "desert": _dunes,
        "forest": _woods,
        "garden": _meadows,
        "city": town,
        "snow": _snowfields,
    }
    textures = paint.get(shot.place, _mountains)(Ground(shot, rows, columns * 2, horizon))
    tops = [int(np.argmax(texture[..., 3].max(axis=1) > 0)) for texture in textures]
    solid = [int(np.argmax(texture[..., 3].min(axis=1) >= 1)) or rows for texture in textures]
    layers: list[Layer] = []
    for n, (texture, top) in enumerate(zip(textures, tops, strict=True)):
        bottom = max(top + 1, min(solid[n + 1 :], default=rows))
        speed = columns * 0.012 * 1.75**n
        layers.append(Layer(Strip(np.ascontiguousarray(texture[top:bottom]), columns), top, bottom, speed))
    return layers


def _mountains(ground: Ground) -> list[Array]:
    textures: list[Array] = []
    chance = ground.chance(99)
    lean = float(chance.choice([-1, 1])) * 0.7
    capped = ground.shot.light in {"day", "overcast"} or "snow" in ground.shot.things
    for n in range(5):
        depth = n / 4
        crest = 1 - np.abs(ground.crest(n, 4 + 3 * n, 5) * 2 - 1)  # folded, which makes peaks of saddles
        reach = min(ground.rows, ground.columns * 0.35) * (0.33, 0.27, 0.21, 0.16, 0.1)[n]
        line = ground.horizon + ground.rows * (0.05 + 0.1 * n) - crest**1.2 * reach
        colour = ink(mixed(ground.colour(depth**1.3), ground.palette.haze, 0.5 * (1 - depth)))
        texture = ground.solid(line, colour, 0.85 * (1 - depth))
        relief = ground.relief(line, lean, 0.26 - 0.14 * depth, 7)
        rock = noise(ground.chance(90 + n), ground.rows, ground.columns, (16, 40), 4)
        relief += (rock - 0.5) * np.float32(0.3 - 0.15 * depth)
        shade(texture, relief)
        if capped and n < 2:
            _snowcap(ground, texture, line, relief)
        textures.append(texture)
    return [*textures[:-1], _wooded(ground, textures[-1], ground.colour(1.0), 0.5)]


def _plains(ground: Ground) -> list[Array]:
    """Low and wide, for what stands on it to look tall."""
    textures: list[Array] = []
    for n in range(3):
        crest = ground.crest(n, 7 - 2 * n, 5 - n)
        line = ground.horizon + ground.rows * (-0.02 + 0.035 * n) - crest * ground.rows * (0.1 - 0.03 * n)
        colour = ink(mixed(ground.colour(0.25 + 0.35 * n), ground.palette.haze, 0.3 - 0.15 * n))
        textures.append(ground.solid(line, colour, 0.3))
    return textures


def _snowcap(ground: Ground, texture: Array, line: Array, relief: Array) -> None:
    ragged = noise(ground.chance(7), ground.rows, ground.columns, (24, 60), 3)
    limit = float(np.quantile(line, 0.3)) + (ragged - 0.5) * ground.rows * 0.16
    share = np.clip((limit - ground.y) / 3, 0, 1) * texture[..., 3] * np.clip(0.8 + relief, 0.25, 1)
    bright = ink(mixed((246, 249, 255), ground.palette.haze, 0.3))
    texture[..., :3] += (bright * texture[..., 3:] - texture[..., :3]) * share[..., None]


def _dunes(ground: Ground) -> list[Array]:
    textures: list[Array] = []
    for n in range(5):
        depth = n / 4
        crest = 1 - np.abs(ground.crest(n, 2 + n // 2, 2) * 2 - 1) ** 1.3
        line = ground.horizon + ground.rows * (0.01 + 0.1 * n) - crest * ground.rows * (0.09 + 0.05 * n)
        colour = ink(mixed(ground.colour(depth), ground.palette.haze, 0.4 * (1 - depth)))
        texture = ground.solid(line, colour, 0.45 * (1 - depth))
        shade(texture, ground.relief(line, 1.5, 1.1, 9) * 0.62)
        if n > 1:
            ripple = np.sin(ground.y * (1.6 - 0.25 * n) + ground.relief(line, 1.5, 14, 25))
            shade(texture, (ripple * 0.035).astype(np.float32))
        textures.append(texture)
    return textures


def _snowfields(ground: Ground) -> list[Array]:
    mountains = _mountains(ground)[:2]
    for n in range(3):
        crest = ground.crest(20 + n, 3, 2)
        line = ground.horizon + ground.rows * (0.12 + 0.11 * n) - crest * ground.rows * 0.14
        colour = ink(mixed(ground.palette.haze, ground.palette.near, 0.4 + 0.3 * n))
        texture = ground.solid(line, colour, 0.2)
        shade(texture, ground.relief(line, 0.8, 0.3, 15))
        green = mixed(ground.palette.far, (18, 40, 46), 0.5 + 0.2 * n)
        trees = conifers(
            ground, line + ground.rows * 0.02, ground.chance(30 + n), height=0.09 + 0.05 * n, colour=green, crowd=0.3
        )
        mountains.append(on(texture, trees))
    return mountains


def _woods(ground: Ground) -> list[Array]:
    textures: list[Array] = []
    for n in range(5):
        depth = n / 4
        crest = ground.crest(n, 4, 2)
        line = ground.horizon + ground.rows * (-0.06 + 0.11 * n) - crest * ground.rows * 0.12
        colour = mixed(ground.colour(depth), ground.palette.haze, 0.5 * (1 - depth) ** 1.5)
        texture = ground.solid(line, ink(colour), 0.9 * (1 - depth))
        trees = conifers(
            ground, line, ground.chance(10 + n), height=0.13 + 0.1 * n, colour=colour, crowd=0.85 - 0.06 * n
        )
        textures.append(on(trees, texture))
    return textures


def _wooded(ground: Ground, texture: Array, colour: Colour, crowd: float) -> Array:
    alpha = texture[..., 3]
    line = np.argmax(alpha > 0.5, axis=0).astype(np.float32) + 3
    return on(conifers(ground, line, ground.chance(50), height=0.1, colour=colour, crowd=crowd), texture)


def _meadows(ground: Ground) -> list[Array]:
    textures = [_mountains(ground)[0]]
    for n in range(4):
        depth = n / 3
        crest = ground.crest(n, 3, 2)
        line = ground.horizon + ground.rows * (0.03 + 0.115 * n) - crest * ground.rows * 0.13
        colour = mixed(ground.colour(depth), ground.palette.haze, 0.3 * (1 - depth))
        texture = ground.solid(line, ink(colour), 0.25 * (1 - depth))
        blades = noise(ground.chance(40 + n), ground.rows, ground.columns, (12, 160), 3)
        shade(texture, (blades - 0.5) * np.float32(0.16 + 0.3 * depth) + ground.relief(line, 0.6, 0.16, 21))
        if n < 2:
            texture = on(round_trees(ground, line, ground.chance(60 + n), 0.09 + 0.06 * n, colour), texture)
        else:
            flowers(ground, texture, line, n)
        textures.append(texture)
    return textures

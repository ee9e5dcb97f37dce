"""A town's skyline in three rows of towers, whose windows are lit when it is dark."""

import math
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageDraw

from raincheck.upstream.preview.drawing.ground import Ground
from raincheck.upstream.preview.drawing.paint import Array, Chance, ink, premultiplied
from raincheck.upstream.preview.drawing.palettes import Colour, mixed

Box: TypeAlias = tuple[int, int, int, int]


def town(ground: Ground) -> list[Array]:
    lit = {"night": 0.5, "sunset": 0.38, "storm": 0.35, "overcast": 0.2, "sunrise": 0.14}.get(ground.shot.light, 0.05)
    textures: list[Array] = []
    for n in range(3):
        depth = (n + 0.6) / 3
        colour = mixed(ground.colour(depth), ground.palette.haze, 0.55 * (1 - depth))
        image = Image.new("RGBA", (ground.columns, ground.rows))
        _skyline(ground, ImageDraw.Draw(image), n, colour=colour, lit=lit)
        texture = premultiplied(image)
        foot = np.clip((ground.y - ground.horizon * 0.5) / (ground.horizon * 0.6), 0, 1) * np.float32(
            0.45 * (1 - depth)
        )
        texture[..., :3] += (ink(ground.palette.haze) * texture[..., 3:] - texture[..., :3]) * foot[..., None]
        textures.append(texture)
    return textures


def _skyline(ground: Ground, draw: ImageDraw.ImageDraw, n: int, *, colour: Colour, lit: float) -> None:
    chance, unit = ground.chance(80 + n), ground.rows / 240
    x = 0.0
    while x < ground.columns:
        width = float(chance.uniform(13, 30)) * unit * (1 + 0.25 * n)
        high = float(chance.uniform(0.25, 1.0)) ** 1.5 * (0.66 - 0.13 * n) * ground.horizon + 0.12 * ground.horizon
        box = (round(x), round(ground.horizon - high), min(ground.columns - 1, round(x + width)), ground.horizon)
        if box[2] > box[0]:
            shade = mixed(colour, (0, 0, 0), float(chance.uniform(0, 0.22)))
            _tower(draw, chance, box, colour=shade, unit=unit)
            _windows(draw, chance, box, colour=shade, step=max(3, round(4 * unit)), lit=lit)
        x += width + float(chance.choice([0, 0, 2, 5])) * unit


def _tower(draw: ImageDraw.ImageDraw, chance: Chance, box: Box, *, colour: Colour, unit: float) -> None:
    left, top, right, bottom = box
    draw.rectangle(box, fill=colour)
    draw.rectangle([left, top, left + max(1, round(unit)), bottom], fill=mixed(colour, (255, 255, 255), 0.12))
    middle = (left + right) / 2
    match int(chance.integers(5)):
        case 0:
            draw.line([(middle, top), (middle, top - 14 * unit)], fill=colour, width=max(1, round(unit)))
        case 1 if right - left > 6 * unit:
            draw.rectangle([left + 3 * unit, top - 6 * unit, right - 3 * unit, top], fill=colour)
        case 2:
            draw.polygon([(left, top), (middle, top - 10 * unit), (right, top)], fill=colour)
        case _:
            pass


def _windows(draw: ImageDraw.ImageDraw, chance: Chance, box: Box, *, colour: Colour, step: int, lit: float) -> None:
    left, top, right, bottom = box
    side = math.ceil(step / 2) - 1
    warm = mixed((255, 214, 140), (190, 225, 255), float(chance.choice([0, 0.1, 0.8])))
    for y in range(top + step, bottom - step, step + 1):
        for x in range(left + step - 1, right - step + 1, step):
            shine = float(chance.random())
            if shine < lit:
                pane = mixed(colour, warm, 0.55 + 0.45 * float(chance.random()))
            else:
                pane = mixed(colour, (150, 175, 205), 0.12 if shine < 0.9 else 0.2)
            draw.rectangle([x, y, x + side, y + side], fill=pane)

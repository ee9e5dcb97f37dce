"""What grows on the ground: firs, round trees, flowers; each a layer, or painted onto one."""

import numpy as np
from PIL import Image, ImageDraw

from raincheck.upstream.preview.drawing.ground import Ground
from raincheck.upstream.preview.drawing.paint import Array, Chance, dots, ink, premultiplied, tint
from raincheck.upstream.preview.drawing.palettes import Colour, mixed

_BLOOMS = ((255, 92, 120), (255, 205, 74), (250, 250, 255), (190, 120, 255), (255, 140, 60), (255, 150, 205))


def conifers(ground: Ground, line: Array, chance: Chance, *, height: float, colour: Colour, crowd: float) -> Array:
    """A row of firs standing on a line of rows."""
    tall = height * min(ground.rows, ground.columns * 0.5)
    image = Image.new("L", (ground.columns * 2, ground.rows * 2))
    draw = ImageDraw.Draw(image)
    x = 0.0
    while x < ground.columns:
        size = tall * float(chance.uniform(0.45, 1.0))
        if chance.random() < crowd:
            foot = float(line[int(x) % ground.columns]) + 2
            for lap in (-ground.columns, 0, ground.columns):
                if -size < x + lap < ground.columns + size:
                    _fir(draw, x + lap, foot, size)
        x += max(1.5, tall * float(chance.uniform(0.14, 0.34)))
    alpha = np.asarray(image.resize((ground.columns, ground.rows), Image.Resampling.BOX), np.float32) / 255
    return np.concatenate([alpha[..., None] * ink(colour), alpha[..., None]], axis=2)


def _fir(draw: ImageDraw.ImageDraw, x: float, foot: float, size: float) -> None:
    boughs = 5 if size > 12 else 3
    for n in range(boughs):
        upper = foot - size + size * 0.86 * n / boughs
        lower = upper + size * 1.5 / boughs
        half = size * (0.06 + 0.15 * (n + 1) / boughs)
        draw.polygon([(2 * x, 2 * upper), (2 * (x - half), 2 * lower), (2 * (x + half), 2 * lower)], fill=255)
    draw.rectangle([2 * x - size * 0.05, 2 * (foot - size * 0.2), 2 * x + size * 0.05, 2 * foot], fill=255)


def round_trees(ground: Ground, line: Array, chance: Chance, height: float, colour: Colour) -> Array:
    tall = height * min(ground.rows, ground.columns * 0.5)
    image = Image.new("RGBA", (ground.columns * 2, ground.rows * 2))
    draw = ImageDraw.Draw(image)
    dark, light = mixed(colour, (10, 30, 16), 0.5), mixed(colour, ground.palette.glow, 0.18)
    x = tall
    while x < ground.columns - tall:
        size = tall * float(chance.uniform(0.5, 1.0))
        foot = float(line[int(x)]) + 2
        draw.line([(2 * x, 2 * foot), (2 * x, 2 * (foot - size * 0.5))], fill=mixed(dark, (40, 26, 18), 0.6), width=2)
        for _ in range(9):
            dx, dy, radius = (float(chance.uniform(*span)) * size for span in ((-0.3, 0.3), (0.4, 0.95), (0.14, 0.26)))
            shade = mixed(dark, light, min(1.0, max(0.0, dy / size - 0.3)))
            box = [2 * (x + dx - radius), 2 * (foot - dy - radius), 2 * (x + dx + radius), 2 * (foot - dy + radius)]
            draw.ellipse(box, fill=shade)
        x += tall * float(chance.uniform(0.7, 2.6))
    return premultiplied(image.resize((ground.columns, ground.rows), Image.Resampling.BOX))


def flowers(ground: Ground, texture: Array, line: Array, n: int) -> None:
    chance = ground.chance(70 + n)
    dark = {"night": 0.3, "storm": 0.5, "sunset": 0.75}.get(ground.shot.light, 1.0)
    chosen = chance.permutation(np.array(_BLOOMS))[:4]
    for colour in chosen:
        count = ground.columns // 7
        x = chance.random(count, dtype=np.float32) * ground.columns
        low = chance.random(count, dtype=np.float32) ** 1.4
        y = line[x.astype(np.intp) % ground.columns] + 3 + low * (ground.rows - line.max())
        radius = min(ground.rows, ground.columns * 0.4) / 240 * (1.1 + 0.7 * (n - 2))
        # Once more at either side: the texture goes on where it ends.
        laps = np.concatenate([x - ground.columns, x, x + ground.columns])
        plane = dots((ground.rows, ground.columns), laps, np.tile(y, 3), radius, 1.1)
        tint(texture[..., :3], ink(tuple(colour)) * np.float32(dark), np.minimum(plane, 1) * texture[..., 3])

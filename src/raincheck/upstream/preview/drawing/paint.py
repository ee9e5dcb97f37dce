"""Brushes: everything the scenes are painted with.

A picture is a float32 array (rows, columns, 3) from 0 to 1 that brushes change in place. Positions are in pixels and
need not be whole: what moves slowly must not move in jerks.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from raincheck.upstream.preview.drawing.palettes import Colour

Array: TypeAlias = NDArray[np.floating[Any]]
"""All are float32; the type says less because it is lost in the arithmetic with plain numbers."""
Chance: TypeAlias = np.random.Generator


def chance_of(key: int, *names: str) -> Chance:
    """A generator of its own for each part of a scene, so that no part's dice depend on another's."""
    return np.random.Generator(np.random.PCG64([key, *"/".join(names).encode()]))


def ink(colour: Colour) -> Array:
    return np.array(colour, np.float32) / 255


def ramp(colours: Array, rows: int) -> Array:
    """A vertical gradient through the colours: (rows, 3)."""
    at = np.linspace(0, len(colours) - 1, rows)
    steps = np.arange(len(colours))
    return np.stack([np.interp(at, steps, colours[:, channel]) for channel in range(3)], axis=1).astype(np.float32)


def smooth(value: Array) -> Array:
    """0 below 0, 1 above 1, an S between."""
    cut = np.clip(value, 0, 1)
    return cut * cut * (3 - 2 * cut)


def noise(chance: Chance, rows: int, columns: int, cells: tuple[int, int], octaves: int = 4) -> Array:
    """Fractal noise from 0 to 1 that repeats in both directions."""
    total = np.zeros((rows, columns), np.float32)
    for octave in range(octaves):
        down, across = (max(1, count << octave) for count in cells)
        total += _lattice(chance, rows, columns, down, across) * np.float32(0.5**octave)
    low, high = float(total.min()), float(total.max())
    return (total - low) / max(high - low, 1e-6)


def _lattice(chance: Chance, rows: int, columns: int, down: int, across: int) -> Array:
    grid = chance.random((down, across), dtype=np.float32)
    y = np.arange(rows, dtype=np.float32) * np.float32(down / rows)
    x = np.arange(columns, dtype=np.float32) * np.float32(across / columns)
    upper, left = y.astype(np.intp), x.astype(np.intp)
    fy, fx = smooth(y - upper)[:, None], smooth(x - left)[None, :]
    tall = grid[upper % down] * (1 - fy) + grid[(upper + 1) % down] * fy
    return tall[:, left % across] * (1 - fx) + tall[:, (left + 1) % across] * fx


def eased(value: float) -> float:
    """The same for one number."""
    cut = min(1.0, max(0.0, value))
    return cut * cut * (3 - 2 * cut)


class Strip:
    """A texture that repeats sideways, seen through a window that slides along it."""

    def __init__(self, texture: Array, width: int) -> None:
        self._length = texture.shape[1]
        times = 1 + -(-(width + 1) // self._length)
        self._wide = np.concatenate([texture] * times, axis=1)[:, : self._length + width + 1]
        self._width = width

    def at(self, offset: float, rows: slice = slice(None)) -> Array:
        whole = math.floor(offset)
        left = whole % self._length
        seen = self._wide[rows, left : left + self._width + 1]
        return seen[:, :-1] + (seen[:, 1:] - seen[:, :-1]) * np.float32(offset - whole)


def over(picture: Array, layer: Array, opacity: float = 1.0) -> None:
    """Lay a layer (premultiplied RGBA of the same rows and columns) on the picture, which may be a layer itself."""
    if opacity < 1:
        layer = layer * np.float32(opacity)
    picture *= 1 - layer[..., 3:]
    picture += layer[..., : picture.shape[2]]


def tint(picture: Array, colour: Array, share: Array | float) -> None:
    """Move the picture towards a colour, by a share for all or each pixel (rows, columns)."""
    picture += (colour - picture) * np.asarray(share, np.float32)[..., None]


def glow(picture: Array, x: float, y: float, *, radius: float, colour: Array, strength: float) -> None:
    """Add light that fades away from a point."""
    rows, columns = picture.shape[:2]
    down = np.exp(-(((np.arange(rows, dtype=np.float32) - y) / radius) ** 2))
    across = np.exp(-(((np.arange(columns, dtype=np.float32) - x) / radius) ** 2)) * np.float32(strength)
    top, bottom = (max(0, min(rows, int(y + side * 2.4 * radius))) for side in (-1, 1))
    left, right = (max(0, min(columns, int(x + side * 2.4 * radius))) for side in (-1, 1))
    picture[top:bottom, left:right] += (down[top:bottom, None] * across[None, left:right])[..., None] * colour


def dots(shape: tuple[int, int], x: Array, y: Array, radius: float, strength: Array | float = 1.0) -> Array:
    """Soft points as one plane of light (rows, columns)."""
    rows, columns = shape
    reach = max(1, math.ceil(radius * 1.6))
    side = np.arange(-reach, reach + 1)
    oy, ox = (axis.ravel() for axis in np.meshgrid(side, side, indexing="ij"))
    column, row = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    xs, ys = column[:, None] + ox, row[:, None] + oy
    far = (xs - x[:, None]) ** 2 + (ys - y[:, None]) ** 2
    weight = np.exp(-far / (radius * radius)) * (strength[:, None] if isinstance(strength, np.ndarray) else strength)
    inside = (xs >= 0) & (xs < columns) & (ys >= 0) & (ys < rows)
    flat = np.bincount((ys * columns + xs)[inside], weight[inside], rows * columns)
    return flat.reshape(rows, columns).astype(np.float32)


def stamp(picture: Array, sprite: Array, x: float, y: float, opacity: float = 1.0) -> None:
    """Lay a small layer (premultiplied RGBA) on the picture, its middle at a point."""
    height, width = sprite.shape[:2]
    left, top = x - width / 2, y - height / 2
    column, row = math.floor(left), math.floor(top)
    rows, columns = picture.shape[:2]
    y0, y1 = max(0, row), min(rows, row + height + 1)
    x0, x1 = max(0, column), min(columns, column + width + 1)
    if y0 >= y1 or x0 >= x1 or opacity <= 0:
        return
    # A pixel gets a share of its own in the sprite and of its left and upper neighbours there.
    fx, fy = np.float32(left - column), np.float32(top - row)
    seen = np.zeros((y1 - y0 + 1, x1 - x0 + 1, 4), np.float32)
    a, b, c, d = max(0, y0 - row - 1), min(height, y1 - row), max(0, x0 - column - 1), min(width, x1 - column)
    at_row, at_column = a - (y0 - row - 1), c - (x0 - column - 1)
    seen[at_row : at_row + b - a, at_column : at_column + d - c] = sprite[a:b, c:d]
    across = seen[:, 1:] + (seen[:, :-1] - seen[:, 1:]) * fx
    over(picture[y0:y1, x0:x1], across[1:] + (across[:-1] - across[1:]) * fy, opacity)


def drawn(width: float, height: float, draw: Callable[[ImageDraw.ImageDraw, float, float], None]) -> Array:
    """A sprite from plain shapes, drawn four times as large and made small, for smooth edges."""
    columns, rows = max(2, math.ceil(width)), max(2, math.ceil(height))
    image = Image.new("RGBA", (columns * 4, rows * 4))
    draw(ImageDraw.Draw(image), columns * 4, rows * 4)
    return premultiplied(image.resize((columns, rows), Image.Resampling.BOX, reducing_gap=None))


def premultiplied(image: Image.Image) -> Array:
    layer = np.asarray(image.convert("RGBa"), np.float32) / 255
    return np.ascontiguousarray(layer)


def puff(radius: float, colour: Array, density: float = 1.0) -> Array:
    """A soft round cloud."""
    size = max(3, math.ceil(radius * 2) | 1)
    axis = (np.arange(size, dtype=np.float32) - size // 2) / np.float32(radius)
    alpha = smooth(1 - np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)) * np.float32(density)
    return np.concatenate([alpha[..., None] * colour, alpha[..., None]], axis=2).astype(np.float32)

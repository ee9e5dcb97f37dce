"""What all kinds of ground are made from: crests, the mass below them, light and shadow on it."""

import numpy as np

from raincheck.upstream.preview.drawing.paint import Array, Chance, chance_of, ink, noise
from raincheck.upstream.preview.drawing.palettes import Colour, mixed
from raincheck.upstream.preview.drawing.storyboard import Shot


class Ground:
    """The canvas of one shot's layers: as high as the picture, wider, and endless sideways."""

    def __init__(self, shot: Shot, rows: int, columns: int, horizon: int) -> None:
        self.shot = shot
        self.palette = shot.palette
        self.rows = rows
        self.columns = columns
        self.horizon = horizon
        self.y = np.arange(rows, dtype=np.float32)[:, None]
        self.x = np.arange(columns)[None, :]

    def chance(self, n: int) -> Chance:
        return chance_of(self.shot.key, "ground", str(n))

    def colour(self, depth: float) -> Colour:
        """From far (0) to near (1)."""
        return mixed(self.palette.far, self.palette.near, depth)

    def crest(self, n: int, cells: int, octaves: int) -> Array:
        """A line of heights from 0 to 1."""
        return noise(self.chance(n), 1, self.columns, (1, cells), octaves)[0]

    def solid(self, line: Array, colour: Array, fog: float) -> Array:
        """Everything below a line of rows; paler towards its foot, where haze lies."""
        steep = np.sqrt(1 + np.gradient(line) ** 2)  # or steep edges would show as stairs
        alpha = np.clip((self.y - line[None, :]) / steep[None, :] + 0.5, 0, 1)
        deep = np.clip((self.y - line.min()) / max(1.0, self.rows * 0.5), 0, 1) * np.float32(fog)
        body = colour + (ink(self.palette.haze) - colour) * deep[..., None]
        return np.concatenate([body * alpha[..., None], alpha[..., None]], axis=2)

    def relief(self, line: Array, lean: float, strength: float, reach: int) -> Array:
        """Light and shadow on the flanks below a line: each slope of the crest goes on down along a diagonal."""
        wide = np.ones(reach, np.float32) / reach
        slope = np.convolve(np.gradient(np.pad(line, reach, mode="wrap")), wide, mode="same")[reach:-reach]
        deep = np.clip(self.y - line[None, :], 0, None)
        along = self.x + deep * lean
        left = np.floor(along).astype(np.intp)
        part = along - left
        seen = slope[left % self.columns] * (1 - part) + slope[(left + 1) % self.columns] * part
        return (np.tanh(seen * 1.6) * np.exp(-deep / (self.rows * 0.35)) * strength).astype(np.float32)


def shade(texture: Array, light: Array) -> None:
    """Brighten or darken the painted part."""
    texture[..., :3] *= np.clip(1 + light, 0, 2)[..., None]


def on(lower: Array, upper: Array) -> Array:
    """One layer laid on another."""
    return lower * (1 - upper[..., 3:]) + upper

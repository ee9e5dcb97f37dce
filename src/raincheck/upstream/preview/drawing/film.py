"""Plan → frames: takes the storyboard, paints each shot small, moves the camera over it, dissolves one into the next.

Scenes are painted at half the clip's size or less and made large by the camera's move, which is smooth to a fraction
of a pixel that way and four times as fast; letters are drawn at full size. One frame is in memory at a time.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from raincheck.upstream.preview.drawing.lettering import Lettering
from raincheck.upstream.preview.drawing.paint import Array, chance_of
from raincheck.upstream.preview.drawing.scene import Camera, Scene, scene_of
from raincheck.upstream.preview.drawing.storyboard import FADE, Plan, Shot

Frame = NDArray[np.uint8]

_ROOM = 1.16
"""How much larger than the view the canvas is, for the camera to move in."""
_PAINTED = 420
"""The most rows, or columns if those are fewer, a scene is painted with."""
_SOLID = 0.25
"""Seconds in which a caption comes and goes."""


def frames(plan: Plan, *, start: int = 0, first: Frame | None = None) -> Iterator[Frame]:
    """The clip's frames from number `start` on: RGB, each (height, width, 3) of exactly `plan.size`.

    `first` is a picture (RGB, of any size) to begin with: it is held for a third of the clip under a slow zoom and
    then dissolves into the scene within a second.
    """
    lettering = Lettering(plan)
    opening = _Opening(plan, first, start) if first is not None else None
    stage = _Stage(plan)
    for number in range(start, plan.frames):
        frame = stage.frame(number)
        if opening:
            frame = opening.into(frame, number)
        lettering.draw(frame, number, _captions(plan, number))
        yield np.asarray(frame)


class _Stage:
    """The shots that are seen just now, at most two."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._views: dict[int, _View] = {}

    def frame(self, number: int) -> Image.Image:
        shots = self._plan.shots
        now = max(n for n, shot in enumerate(shots) if shot.start <= number)
        since = (number - shots[now].start) / self._plan.fps
        share = min(1.0, since / FADE) if now else 1.0
        seen = self._view(now).at(number)
        if share < 1:
            seen = Image.blend(self._view(now - 1).at(number), seen, share * share * (3 - 2 * share))
        else:
            self._views.pop(now - 1, None)
        return seen

    def _view(self, n: int) -> "_View":
        if n not in self._views:
            self._views[n] = _View(self._plan, self._plan.shots[n])
        return self._views[n]


class _View:
    """One shot through its camera."""

    def __init__(self, plan: Plan, shot: Shot) -> None:
        self._plan = plan
        self._shot = shot
        width, height = plan.size
        scale = min(0.5, _PAINTED / min(width, height)) * _ROOM
        self._columns, self._rows = max(24, round(width * scale)), max(24, round(height * scale))
        self._scene: Scene = scene_of(shot, self._rows, self._columns)
        self._camera = Camera(shot)
        self._finish = _vignette(self._rows, self._columns)
        # Without it, slow gradients would show as steps.
        self._dither = chance_of(shot.key, "dither").random((self._rows, self._columns, 1), dtype=np.float32)

    def at(self, number: int) -> Image.Image:
        picture = self._scene.paint((number - self._shot.begun) / self._plan.fps)
        picture *= self._finish
        picture += self._dither
        canvas = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        since = (number - self._shot.start) / self._plan.fps
        box = self._camera.box(since, self._columns, self._rows)
        return canvas.resize(self._plan.size, Image.Resampling.BICUBIC, box=box)


class _Opening:
    """A given picture at the beginning."""

    def __init__(self, plan: Plan, picture: Frame, start: int) -> None:
        seconds = (plan.frames - start) / plan.fps
        self._start, self._fps, self._size = start, plan.fps, plan.size
        self._hold = seconds / 3
        self._dissolve = min(1.0, seconds / 2)
        self._picture = Image.fromarray(picture).convert("RGB")

    def into(self, frame: Image.Image, number: int) -> Image.Image:
        t = (number - self._start) / self._fps
        share = max(0.0, min(1.0, (t - self._hold) / self._dissolve))
        if share >= 1:
            return frame
        return Image.blend(self._shown(t), frame, share * share * (3 - 2 * share))

    def _shown(self, t: float) -> Image.Image:
        """The picture cut to the clip's shape, a little closer every moment."""
        (width, height), (wide, high) = self._picture.size, self._size
        fit = min(width / wide, height / high) / (1 + 0.03 * t)
        left, top = (width - wide * fit) / 2, (height - high * fit) / 2
        box = (left, top, left + wide * fit, top + high * fit)
        return self._picture.resize(self._size, Image.Resampling.BICUBIC, box=box)


def _captions(plan: Plan, number: int) -> list[tuple[str, float]]:
    """The caption of the shot and, while it goes, that of the one before."""
    now = max(n for n, shot in enumerate(plan.shots) if shot.start <= number)
    since = (number - plan.shots[now].start) / plan.fps
    if now and plan.shots[now].caption == plan.shots[now - 1].caption:
        return [(plan.shots[now].caption, 1.0)]
    shown = [(plan.shots[now].caption, 1.0 if not now else min(1.0, max(0.0, since / _SOLID - 1)))]
    if now and since < _SOLID:
        shown.append((plan.shots[now - 1].caption, 1 - since / _SOLID))
    return shown


def _vignette(rows: int, columns: int) -> Array:
    """Darker corners, and the step from 1 to 255."""
    y, x = np.linspace(-1, 1, rows, dtype=np.float32)[:, None], np.linspace(-1, 1, columns, dtype=np.float32)[None, :]
    return (255 * (1 - 0.13 * (x * x + y * y) ** 1.3))[..., None].astype(np.float32)

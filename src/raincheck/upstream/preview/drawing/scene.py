"""A shot as a picture for each moment: takes a Shot, composes sky, ground, water, things and weather."""

import math
from typing import Protocol

from raincheck.upstream.preview.drawing.land import layers_of
from raincheck.upstream.preview.drawing.launch import Launch
from raincheck.upstream.preview.drawing.paint import Array, chance_of
from raincheck.upstream.preview.drawing.sky import Sky
from raincheck.upstream.preview.drawing.space import Space
from raincheck.upstream.preview.drawing.storyboard import Shot
from raincheck.upstream.preview.drawing.subjects import Balloon, Boat, Fire, Lighthouse
from raincheck.upstream.preview.drawing.under_water import UnderWater
from raincheck.upstream.preview.drawing.water import Water
from raincheck.upstream.preview.drawing.weather import Birds, Embers, Fireflies, Mist, Rain, Snow


class Scene(Protocol):
    """Its picture is a function of the seconds since its first frame, and of nothing else."""

    def paint(self, t: float) -> Array: ...


def scene_of(shot: Shot, rows: int, columns: int) -> Scene:
    match shot.place:
        case "launch":
            return Launch(shot, rows, columns)
        case "space":
            return Space(shot, rows, columns)
        case "underwater":
            return UnderWater(shot, rows, columns)
        case _:
            return Outdoors(shot, rows, columns)


_HORIZONS = {"ocean": 0.56, "city": 0.76, "mountains": 0.52, "forest": 0.5, "desert": 0.5, "garden": 0.5, "snow": 0.5}
_SLIDES = {"pan left": -3.0, "pan right": 3.0}


class Outdoors:
    """All scenes under a sky."""

    def __init__(self, shot: Shot, rows: int, columns: int) -> None:
        horizon = round(rows * _HORIZONS.get(shot.place, 0.5))
        self._sky = Sky(shot, rows, columns, horizon)
        self._land = [] if shot.place == "ocean" else layers_of(shot, rows, columns, horizon)
        self._water = Water(shot, rows, columns, horizon) if shot.place in {"ocean", "city"} else None
        self._slide = _SLIDES.get(shot.camera, 1.0 if chance_of(shot.key, "way").random() < 0.5 else -1.0)
        self._things = _things(shot, rows, columns, horizon)
        self._behind = _behind(shot, rows, columns)

    def paint(self, t: float) -> Array:
        picture = self._sky.paint(t)
        for thing in self._behind:
            thing.paint(picture, t)
        for layer in self._land:
            layer.paint(picture, t, self._slide)
        flash = self._sky.flash(t)
        if self._water:
            self._water.paint(picture, t, self._sky.sun(t), flash)
        for thing in self._things:
            thing.paint(picture, t)
        if flash:
            picture *= 1 + 0.35 * flash
        return picture


class _Thing(Protocol):
    def paint(self, picture: Array, t: float) -> None: ...


def _behind(shot: Shot, rows: int, columns: int) -> list[_Thing]:
    """What flies in front of the sky and behind the ground."""
    calm_day = shot.light in {"sunset", "sunrise", "day"} and not {"rain", "snow"} & {*shot.things}
    things: list[_Thing] = []
    if "birds" in shot.things or (calm_day and shot.place in {"ocean", "mountains", "garden"}):
        things.append(Birds(shot, rows, columns))
    return things


def _things(shot: Shot, rows: int, columns: int, horizon: int) -> list[_Thing]:
    """From the farthest to the nearest."""
    said = {*shot.things}
    things: list[_Thing] = []
    if "balloon" in said:
        things.append(Balloon(shot, rows, columns))
    if "fog" in said or shot.light == "overcast" or (shot.light == "sunrise" and shot.place != "ocean"):
        things.append(Mist(shot, rows, columns, horizon, 0.75 if "fog" in said else 0.4))
    if shot.place == "ocean" and "lighthouse" in said:
        things.append(Lighthouse(shot, rows, columns, horizon))
    if shot.place == "ocean" and "boat" in said:
        things.append(Boat(shot, rows, columns, horizon))
    if "fire" in said:
        things += [Fire(shot, rows, columns), Embers(shot, spread=0.2)]
    if "embers" in said:
        things.append(Embers(shot, spread=1.0, count=140))
    if "fireflies" in said:
        things.append(Fireflies(shot))
    if "snow" in said:
        things.append(Snow(shot, rows))
    if "rain" in said and "snow" not in said:
        things.append(Rain(shot, rows, columns))
    return things


class Camera:
    """Which part of the painted canvas is seen: it moves fast at first and ever slower, and never stops with a jerk."""

    def __init__(self, shot: Shot) -> None:
        self._camera = shot.camera
        self._pace = shot.pace

    def box(self, t: float, width: float, height: float) -> tuple[float, float, float, float]:
        way = 1 - math.exp(-1.4 * t / self._pace)
        scale, x, y = 0.9, 0.5, 0.5
        match self._camera:
            case "zoom in":
                scale = 1.0 - 0.2 * way
            case "zoom out":
                scale = 0.8 + 0.2 * way
            case "pan left":
                x = 1 - way
            case "pan right":
                x = way
            case "tilt up":
                y = 1 - way
            case "tilt down":
                y = way
            case _:
                pass
        left, top = (1 - scale) * width * x, (1 - scale) * height * y
        return left, top, left + scale * width, top + scale * height

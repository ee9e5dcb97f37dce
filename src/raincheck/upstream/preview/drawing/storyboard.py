"""Prompt → storyboard: what is seen when, decided once; everything that draws takes it from here.

A Plan is plain data and rides in the clip's metadata, so that an extension goes on exactly where the clip ended. The
same prompt and seed give the same plan: every choice comes from a generator seeded with their SHA-256.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from raincheck.upstream.preview.drawing.palettes import Light, Palette, palette_for, tinted
from raincheck.upstream.preview.drawing.words import Look, is_direction, look_of

SHOTS = 5
"""The most a prompt is split into; what is said after them is not shown."""
SHORTEST = 1.0
"""Seconds of a shot. A clip has as many shots as fit."""
FADE = 0.6
"""Seconds of a cross-fade. It begins with the new shot, so a clip's last frames never depend on what follows."""

_KEPT = 500
"""Characters of a prompt or a caption that ride in the metadata."""


class Shot(msgspec.Struct, frozen=True, kw_only=True):
    """A scene from its first frame until the next shot's, or the end."""

    start: int
    """Its first frame."""
    begun: int
    """The frame in which its scene's time began: a shot that only moves the camera anew goes on with the scene, and
    a rocket that has left does not stand on its pad again."""
    pace: float
    """The seconds in which it tells its story; it goes on, slower, for as long as it is shown."""
    key: int
    """The seed of all chance in it."""
    caption: str
    place: str
    light: Light
    camera: str
    things: tuple[str, ...]
    palette: Palette


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A clip before it is drawn."""

    prompt: str
    """The beginning of it; of an extended clip, of the first. Shots were made from the whole."""
    seed: int
    size: tuple[int, int]
    fps: int
    parts: tuple[int, ...]
    """Frames of the clip and of each extension."""
    shots: tuple[Shot, ...]

    @property
    def frames(self) -> int:
        return sum(self.parts)

    @property
    def seconds(self) -> float:
        return self.frames / self.fps


def plan(
    prompt: str, *, seed: int, seconds: float, size: tuple[int, int], fps: int = 24, palette_of: Path | None = None
) -> Plan:
    """The storyboard of a new clip; `palette_of` is a picture whose colours it borrows."""
    prompt = _writable(prompt)
    frames = max(1, round(seconds * fps))
    shots = _shots(prompt, seed=seed, first=0, frames=frames, fps=fps, before=None)
    if palette_of:
        shots = [msgspec.structs.replace(shot, palette=tinted(shot.palette, palette_of)) for shot in shots]
    return Plan(prompt=prompt[:_KEPT], seed=seed, size=size, fps=fps, parts=(frames,), shots=tuple(shots))


def extended(before: Plan, seconds: float, prompt: str = "") -> Plan:
    """The same clip and more: every frame it had stays what it was.

    Without a prompt, or with one that asks for what is seen already, the last scene goes on.
    """
    prompt = _writable(prompt)
    frames = max(1, round(seconds * before.fps))
    shots = _shots(
        prompt, seed=before.seed, first=before.frames, frames=frames, fps=before.fps, before=before.shots[-1]
    )
    if _told(prompt, goes_on=True)[0][1].camera is None and _alike(shots[0], before.shots[-1]):
        shots = shots[1:]
    return msgspec.structs.replace(before, parts=(*before.parts, frames), shots=(*before.shots, *shots))


def sentences(prompt: str) -> list[str]:
    """The prompt in the pieces that become shots."""
    pieces = re.split(r"[.!?;]+(?=\s|$)|[。！？；\n]+|,?\s+(?:and\s+)?then\b,?", prompt, flags=re.IGNORECASE)
    plain = [_LEAD.sub("", piece).strip(" ,\t") for piece in pieces]
    return [piece for piece in plain if piece] or [""]


_LEAD = re.compile(r"^(?:[\s,]*(?:and|then)(?:[\s,]+|$))+", re.IGNORECASE)


def _told(prompt: str, *, goes_on: bool) -> list[tuple[str, Look]]:
    """What is said of each shot. A sentence that only moves the camera belongs to the shot before it, or to the one
    after it when there is none; where that has a move of its own it becomes a shot without words.
    """
    told: list[tuple[str, Look]] = []
    for sentence in sentences(prompt):
        look, directs = look_of(sentence), is_direction(sentence)
        if directs and told and told[-1][1].camera is None:
            told[-1] = (told[-1][0], msgspec.structs.replace(told[-1][1], camera=look.camera))
        elif len(told) == 1 and not goes_on and not told[0][0] and look.camera is None:
            told = [(sentence, msgspec.structs.replace(look, camera=told[0][1].camera))]
        else:
            told.append(("" if directs else sentence, look))
    return told


def _shots(prompt: str, *, seed: int, first: int, frames: int, fps: int, before: Shot | None) -> list[Shot]:
    told = _told(prompt, goes_on=before is not None)[: max(1, min(SHOTS, int(frames / fps / SHORTEST)))]
    digest = hashlib.sha256(f"{seed}\n{first}\n{prompt}".encode()).digest()
    chance = np.random.Generator(np.random.PCG64(int.from_bytes(digest)))
    shots: list[Shot] = []
    for n, (words, look) in enumerate(told):
        scene = _scene(words, look, before, chance)
        start, key = first + n * frames // len(told), int(chance.integers(1 << 48))
        same = before if before and (look.camera or scene.place == "launch") and _alike(scene, before) else None
        before = Shot(
            start=start,
            begun=same.begun if same else start,
            pace=same.pace if same else frames / fps / len(told),
            key=same.key if same else key,
            caption=words[:_KEPT] or (before.caption if before else ""),
            place=scene.place,
            light=scene.light,
            camera=scene.camera,
            things=scene.things,
            palette=palette_for(scene.light, scene.place),
        )
        shots.append(before)
    return shots


@dataclass(frozen=True, slots=True)
class _Scene:
    place: str
    light: Light
    camera: str
    things: tuple[str, ...]


def _scene(words: str, look: Look, before: Shot | None, chance: np.random.Generator) -> _Scene:
    """What the sentence does not say stays as it was before; of a first sentence it is a matter of habit or chance."""
    usual_place = str(chance.choice(["mountains", "ocean", "garden", "forest"]))
    usual_light: Light = ("day", "sunset", "sunrise")[int(chance.integers(3))]
    usual_camera = str(chance.choice(["zoom in", "zoom out", "pan left", "pan right"]))
    things = {*look.things}
    if before and look.place is look.light is None and not things:
        things = {*before.things}
    if {"fire", "fireflies", "aurora"} & things:
        usual_light = "night"
    elif look.place == "launch":
        usual_light = "sunset"
    if {"boat", "lighthouse"} & things:
        usual_place = "ocean"
    elif "fire" in things:
        usual_place = "forest"
    elif {"snow", "aurora"} & things:
        usual_place = "snow"
    elif look.light in _HABITS:
        usual_place = _HABITS[look.light]
    if before:
        usual_place = "space" if before.place == "launch" and words else before.place
    return _Scene(
        place=look.place or usual_place,
        light=look.light or (before.light if before else usual_light),
        camera=look.camera or usual_camera,
        things=tuple(sorted(things)),
    )


_HABITS: dict[Light, str] = {"sunset": "ocean", "sunrise": "mountains", "storm": "ocean", "overcast": "forest"}


def _writable(prompt: str) -> str:
    """Half a surrogate pair is nothing that a file can hold."""
    return prompt.encode(errors="replace").decode()


def _alike(one: Shot | _Scene, other: Shot) -> bool:
    return (one.place, one.light, one.things) == (other.place, other.light, other.things)

"""From edits to one filter graph: keeps count of size, length and sound while each edit adds its filters.

Everything in the graph is made of constants and numbers; words of a prompt become pictures (`job.Cue`) instead.
Every edit that changes time says how many frames there are afterwards, so the length of the result is known before
ffmpeg starts and comes out exactly.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import assert_never

from raincheck.upstream.preview.editing.edits import (
    Blur,
    Boomerang,
    Caption,
    Crop,
    Edit,
    Fade,
    Grain,
    Gray,
    Invert,
    Loop,
    Mirror,
    Mute,
    Reverse,
    Sepia,
    Sharpen,
    Speed,
    Tone,
    Trim,
    Turn,
    Vignette,
)
from raincheck.upstream.preview.job import Cue

LONGEST = 600
"""Seconds that an edited video may play."""
MOST_BUFFERED = 512 << 20
"""Bytes of frames that reverse, boomerang and loop may keep in memory; one takes 1.5 bytes a pixel."""
NARROWEST = 16
"""Pixels that a crop may leave."""
SOUND_RATE = 48_000


class CannotCut(Exception):
    """The video is too long or too short for an edit; the message says the range."""


@dataclass(slots=True)
class Reel:
    """A video on its way through the graph."""

    width: int
    height: int
    fps: Fraction
    frames: int
    sound: bool
    seed: int
    statements: list[str] = field(default_factory=list[str])
    cues: list[Cue] = field(default_factory=list[Cue])
    video_out: str = "0:V:0"
    sound_out: str = "0:a:0"
    _buffered: int = 0

    @property
    def seconds(self) -> float:
        return float(self.frames / self.fps)

    @property
    def graph(self) -> str:
        return ";".join(self.statements)

    def begin(self) -> None:
        """Bring whatever the input is to one size, one rate and square pixels."""
        self._video(f"scale={self.width}:{self.height}:flags=bicubic,setsar=1,format=yuv420p,fps={self.fps}")
        if self.sound:
            self._sound(f"aresample={SOUND_RATE}:async=1:first_pts=0,aformat=channel_layouts=stereo")
        self._exactly()

    def fit(self, width: int, height: int) -> None:
        """Scale to this size; what then stands over is cropped."""
        self.width, self.height = width, height
        self._video(f"scale={width}:{height}:force_original_aspect_ratio=increase,crop={width}:{height},setsar=1")

    def cut(self, edit: Edit) -> None:
        """Add an edit. Raises CannotCut."""
        match edit:
            case Reverse() | Boomerang() | Loop() | Speed() | Trim() | Fade():
                self._in_time(edit)
            case Crop() | Turn() | Mirror():
                self._in_shape(edit)
            case Caption(text, place):
                self.cues.append(Cue(text, place == "top", self.width, self.height))
                self._join(f"[{self.video_out}][{len(self.cues)}:v:0]overlay=0:0:format=auto,format=yuv420p")
            case Mute():
                if self.sound:
                    self.statements.append(f"[{self.sound_out}]anullsink")
                self.sound = False
            case _:
                self._video(_look(edit, self))

    def end(self) -> None:
        """Name what comes out. The sound is made as long as the picture."""
        if self.sound:
            self._sound(f"apad=whole_dur={self.seconds:.6f},atrim=end={self.seconds:.6f}")

    # --- time

    def _in_time(self, edit: Reverse | Boomerang | Loop | Speed | Trim | Fade) -> None:
        match edit:
            case Reverse():
                self._buffer("reverse")
                self._video("reverse")
                self._sound("areverse")
            case Boomerang():
                self._buffer("boomerang")
                self._boomerang()
            case Loop(times):
                self._buffer("loop")
                self._sound(f"aloop=loop={times - 1}:size={round(self.seconds * SOUND_RATE)}")
                self._video(f"loop=loop={times - 1}:size={self.frames}:start=0")
                self._lasts(self.frames * times)
            case Speed(factor):
                self._speed(factor)
            case Trim(end, seconds, keep):
                self._trim(end, seconds, keep=keep)
            case Fade(way, seconds):
                seconds = min(seconds, self.seconds)
                start = 0.0 if way == "in" else self.seconds - seconds
                self._video(f"fade=t={way}:st={start:.6f}:d={seconds:.6f}")
                self._sound(f"afade=t={way}:st={start:.6f}:d={seconds:.6f}")
            case _:
                assert_never(edit)

    def _boomerang(self) -> None:
        there, back, turned = (f"b{len(self.statements)}{way}" for way in "xyz")
        self.statements += [f"[{self.video_out}]split[{there}][{back}]", f"[{back}]reverse[{turned}]"]
        self._join(f"[{there}][{turned}]concat=n=2:v=1:a=0")
        if self.sound:
            self.statements += [f"[{self.sound_out}]asplit[{there}s][{back}s]", f"[{back}s]areverse[{turned}s]"]
            self._sound_from(f"[{there}s][{turned}s]concat=n=2:v=0:a=1")
        self._lasts(self.frames * 2)

    def _speed(self, factor: float) -> None:
        blend = f"minterpolate=fps={self.fps}:mi_mode=blend" if factor < 1 else f"fps={self.fps}"
        self._video(f"setpts=PTS/{factor:.6f},{blend}")
        tempos = list[str]()
        rest = factor
        while not 0.5 <= rest <= 2:  # beyond that, atempo skips or stutters
            tempos.append("atempo=2" if rest > 2 else "atempo=0.5")
            rest = rest / 2 if rest > 2 else rest * 2
        self._sound(",".join([*tempos, f"atempo={rest:.6f}"]))
        self._lasts(max(1, round(self.frames / factor)))

    def _trim(self, end: str, seconds: float, *, keep: bool) -> None:
        some = round(seconds * self.fps)
        if not 1 <= some <= (self.frames if keep else self.frames - 1):
            raise CannotCut(
                f"The video plays {self.seconds:.2f} s by then, so {seconds:g} s cannot be "
                f"{'kept' if keep else 'removed'} of it; say {float(1 / self.fps):.2f} s at the least, and not more "
                "than there is."
            )
        left = some if keep else self.frames - some
        skipped = 0 if (end == "first") == keep else self.frames - left
        begin, over = float(skipped / self.fps), float((skipped + left) / self.fps)
        self._video(f"trim=start_frame={skipped}:end_frame={skipped + left},setpts=PTS-STARTPTS")
        self._sound(f"atrim=start={begin:.6f}:end={over:.6f},asetpts=PTS-STARTPTS")
        self._lasts(left)

    def _lasts(self, frames: int) -> None:
        self.frames = frames
        if self.seconds > LONGEST:
            raise CannotCut(f"The video would play {self.seconds:.0f} s; an edited one plays {LONGEST} s at most.")
        self._exactly()

    def _exactly(self) -> None:
        """Rounding may leave a frame too few or too many."""
        spare = max(2, round(self.fps))
        even = f"setpts=N/({self.fps})/TB"
        self._video(f"tpad=stop={spare}:stop_mode=clone,trim=end_frame={self.frames},{even}")

    def _buffer(self, what: str) -> None:
        self._buffered += self.frames * self.width * self.height * 3 // 2
        if self._buffered > MOST_BUFFERED:
            most = MOST_BUFFERED / (self.width * self.height * 1.5) / float(self.fps)
            raise CannotCut(
                f"{what} keeps every frame in memory; of {self.width}x{self.height} it can take {most:.0f} s in all, "
                f"not {self.seconds:.0f} s. Trim or crop the video first."
            )

    # --- shape

    def _in_shape(self, edit: Crop | Turn | Mirror) -> None:
        match edit:
            case Crop(across, down):
                self._crop(across, down)
            case Turn(quarters):
                self._video(("null", "transpose=clock", "hflip,vflip", "transpose=cclock")[quarters])
                if quarters % 2:
                    self.width, self.height = self.height, self.width
            case Mirror(axis):
                self._video("hflip" if axis == "horizontal" else "vflip")
            case _:
                assert_never(edit)

    def _crop(self, across: int, down: int) -> None:
        width = min(self.width, int(self.height * across / down) // 2 * 2)
        height = min(self.height, int(self.width * down / across) // 2 * 2)
        if min(width, height) < NARROWEST:
            raise CannotCut(
                f"Cropped to {across}:{down}, {width}x{height} pixels would be left; it takes {NARROWEST} a side."
            )
        self.width, self.height = width, height
        self._video(f"crop={width}:{height}")

    # --- statements

    def _video(self, filters: str) -> None:
        self._join(f"[{self.video_out}]{filters}")

    def _join(self, filters: str) -> None:
        self.video_out = f"v{len(self.statements)}"
        self.statements.append(f"{filters}[{self.video_out}]")

    def _sound(self, filters: str) -> None:
        if self.sound:
            self._sound_from(f"[{self.sound_out}]{filters}")

    def _sound_from(self, filters: str) -> None:
        self.sound_out = f"s{len(self.statements)}"
        self.statements.append(f"{filters}[{self.sound_out}]")


def _look(edit: Gray | Sepia | Invert | Tone | Blur | Sharpen | Vignette | Grain, reel: Reel) -> str:
    """The filters of an edit that changes each frame by itself."""
    match edit:
        case Gray():
            return "hue=s=0"
        case Sepia():
            return "colorchannelmixer=.393:.769:.189:0:.349:.686:.168:0:.272:.534:.131,format=yuv420p"
        case Invert():
            return "negate"
        case Tone(of, amount):
            return _tone(of, amount)
        case Blur(amount):
            return f"gblur=sigma={max(0.5, amount * reel.height / 90):.3f}"
        case Sharpen(amount):
            return f"unsharp=5:5:{amount:.3f}"
        case Vignette():
            return "vignette=angle=PI/4.5"
        case Grain(amount):
            return f"noise=alls={round(16 * amount)}:allf=t:all_seed={reel.seed % (1 << 31)}"
        case _:
            assert_never(edit)


def _tone(of: str, amount: float) -> str:
    match of:
        case "warmth":
            shift = 0.16 * amount  # of middle and light tones: in dark ones it would turn black into a colour
            return f"colorbalance=rm={shift:.3f}:rh={shift / 2:.3f}:bm={-shift:.3f}:bh={-shift / 2:.3f},format=yuv420p"
        case "brightness":
            return f"eq=brightness={0.12 * amount:.3f}"
        case "contrast":
            return f"eq=contrast={1 + 0.3 * amount:.3f}"
        case _:
            return f"eq=saturation={1 + 0.5 * amount:.3f}"

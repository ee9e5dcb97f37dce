"""From a prompt in plain English to edits: `parse` understands all of it or says which part it does not.

GRAMMAR is the whole of it: the parser, the error's list and the reference page are made from that table.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

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
from raincheck.upstream.preview.editing.tokens import Token, tokens

MOST_EDITS = 20
"""Instructions in one prompt."""
SPEEDS = (0.1, 10.0)
LOOPS = (2, 20)
LONGEST_CAPTION = 200
LONGEST_PROMPT = 1000
"""Characters."""
_MOST_NOISE = 16
"""Words in a row that may change nothing, one less."""


class NotUnderstood(Exception):
    """Some part of a prompt is no instruction; the message quotes it and lists what is one."""


class OutOfRange(Exception):
    """An instruction was understood and asks for more than can be done; the message says the range."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the words of one instruction say beside its name."""

    numbers: tuple[float, ...] = ()
    ratio: tuple[int, int] = (1, 1)
    text: str = ""
    how: float = 1.0
    """Half as much for "slightly", more for "much"."""

    def number(self, otherwise: float) -> float:
        return self.numbers[0] if self.numbers else otherwise


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of instruction.

    A form is words; `a|b` either, `[a]` perhaps, `{n}` a number, `{ratio}` as in 4:3, `{text}` in quotes, `{how}` a
    word of degree. The longest form that fits is meant.
    """

    says: str
    """An example that the error lists and the reference shows."""
    does: str
    forms: tuple[str, ...]
    make: Callable[[Said], Edit | tuple[Edit, ...]]


def parse(prompt: str) -> tuple[Edit, ...]:
    """The edits that a prompt asks for, in its order; at least one. Raises NotUnderstood and OutOfRange."""
    if len(prompt) > LONGEST_PROMPT:
        raise OutOfRange(f"The prompt of an edit has {LONGEST_PROMPT} characters at most, not {len(prompt)}.")
    words = tokens(prompt)
    edits: list[Edit] = []
    strange: list[str] = []
    at = 0
    while at < len(words):
        if fit := _longest(words, at):
            rule, said, at = fit
            made = rule.make(said)
            edits += made if isinstance(made, tuple) else (made,)
        elif words[at].kind == "link":
            at += 1
        else:
            end = _next_link(words, at)
            if any(token.value not in NOISE for token in words[at:end]) or not edits:
                strange.append(prompt[words[at].start : words[end - 1].end])
            at = end
    if strange or not edits:
        raise NotUnderstood(_refusal(strange))
    if len(edits) > MOST_EDITS:
        raise OutOfRange(f"The prompt has {len(edits)} instructions; at most {MOST_EDITS} are done at once.")
    return tuple(edits)


def understood() -> str:
    """Everything that is understood, in one line."""
    return "; ".join(rule.says for rules in GRAMMAR.values() for rule in rules)


def reference() -> str:
    """The grammar as tables in Markdown, for the reference page."""
    parts = list[str]()
    for group, rules in GRAMMAR.items():
        rows = [f"| {rule.says} | {rule.does} |" for rule in rules]
        parts.append("\n".join([f"### {group}", "", "| Say | It does |", "|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _refusal(strange: Sequence[str]) -> str:
    if not strange:
        return f"The prompt names no edit. Understood are: {understood()}."
    shown = ", ".join(f"“{part[:80]}”" for part in strange[:3])
    return f"Not understood: {shown}. Nothing was changed. Understood are: {understood()}."


# --- matching


def _longest(words: Sequence[Token], at: int) -> tuple[Rule, Said, int] | None:
    best: tuple[Rule, Said, int] | None = None
    for rule, form in _FORMS:
        for said, end in _fits(form, words, at, Said()):
            if best is None or end > best[2]:
                best = rule, said, end
    return best


def _fits(form: Sequence[str], words: Sequence[Token], at: int, said: Said) -> Iterator[tuple[Said, int]]:
    """Every way in which a form fits the words from `at` on: what they said, and where they end."""
    if not form:
        yield said, at
        return
    step, *rest = form
    for here in range(at, min(at + _MOST_NOISE, len(words))):
        if (told := _takes(step.strip("[]"), words[here], said)) is not None:
            yield from _fits(rest, words, here + 1, told)
            break
        if words[here].value not in NOISE:
            break
    if step.startswith("["):
        yield from _fits(rest, words, at, said)


def _takes(step: str, token: Token, said: Said) -> Said | None:
    match step:
        case "{n}" if (number := token.number) is not None:
            return replace(said, numbers=(*said.numbers, number))
        case "{ratio}" if token.kind == "ratio":
            across, down = map(int, token.value.split(":"))
            return replace(said, ratio=(across, down))
        case "{text}" if token.kind == "text":
            return replace(said, text=token.value)
        case "{how}" if token.value in HOW:
            return replace(said, how=said.how * HOW[token.value])
        case _:
            return said if token.kind in ("word", "link") and token.value in step.split("|") else None


def _next_link(words: Sequence[Token], at: int) -> int:
    while at < len(words) and words[at].kind != "link":
        at += 1
    return at


# --- the words

_NOISE = (
    "please make it its the this that video clip movie footage picture image a an my of with by to into in at be look "
    "add apply put give some effect filter turn convert change set create do can could you i want would like now just "
    "play as on whole entire everything for style version bit little"
)
NOISE = frozenset(_NOISE.split())
"""Words that change nothing. None of them denies anything: `not` and `no` never are noise."""

HOW = {
    **dict.fromkeys(("slightly", "bit", "little", "somewhat", "subtly", "subtle", "gently"), 0.5),
    **dict.fromkeys(("much", "very", "lot", "strongly", "strong", "heavily", "really", "far", "way"), 1.75),
}


def _speed(factor: float) -> Speed:
    low, high = SPEEDS
    if not low <= factor <= high:
        raise OutOfRange(f"The speed may change from {low:g}× to {high:g}×, not {factor:g}×.")
    return Speed(factor)


def _slower(by: float) -> Speed:
    if by <= 0:
        raise OutOfRange(f"Slower by {by:g}× is no speed; say from 1× to {1 / SPEEDS[0]:g}×.")
    return _speed(1 / by if by >= 1 else by)


def _loop(times: float) -> Loop:
    low, high = LOOPS
    if not (low <= times <= high and times == int(times)):
        raise OutOfRange(f"A video can be looped from {low} to {high} times, not {times:g}.")
    return Loop(int(times))


def _trim(said: Said, end: str, *, keep: bool) -> Trim:
    seconds = said.number(1)
    if seconds <= 0:
        raise OutOfRange("Say how many seconds to trim by a number above 0.")
    return Trim("first" if end == "first" else "last", seconds, keep)


def _crop(across: int, down: int) -> Crop:
    if not across or not down or not 1 / 4 <= across / down <= 4:
        raise OutOfRange(f"A video can be cropped to shapes from 1:4 to 4:1, not {across}:{down}.")
    return Crop(across, down)


def _turn(degrees: float) -> tuple[Edit, ...]:
    quarters, rest = divmod(degrees, 90)
    if rest or not -360 <= degrees <= 360:
        raise OutOfRange(f"A video can be rotated by 90, 180 or 270 degrees, not {degrees:g}.")
    return (Turn(int(quarters) % 4),)


def _fade(said: Said, *ways: str) -> tuple[Edit, ...]:
    seconds = said.number(1)
    if not 0 < seconds <= 30:
        raise OutOfRange(f"A fade may take up to 30 seconds, not {seconds:g}.")
    return tuple(Fade("in" if way == "in" else "out", seconds) for way in ways)


def _caption(said: Said, place: str) -> Caption:
    if not 1 <= len(said.text) <= LONGEST_CAPTION:
        raise OutOfRange(f"A caption has from 1 to {LONGEST_CAPTION} characters, not {len(said.text)}.")
    return Caption(said.text, "top" if place == "top" else "bottom")


_MORE = "more|increase|increased|higher|boost|raise|stronger"
_LESS = "less|decrease|decreased|reduce|reduced|lower|weaker"
_SECONDS = "seconds|second|secs|sec|s"
_CAPTION = "caption|title|text|words|subtitle|write"

# fmt: off
GRAMMAR: dict[str, tuple[Rule, ...]] = {
    "Time": (
        Rule("reverse", "Plays it backwards.",
             ("reverse|reversed|backwards|backward|rewind",),
             lambda _: Reverse()),
        Rule("boomerang", "Plays it forwards, then backwards: twice as long.",
             ("boomerang [loop]", "ping pong", "back and forth"),
             lambda _: Boomerang()),
        Rule("slow motion", "Half the speed; frames in between are blended.",
             ("slow|slowed motion", "slow|slowed mo", "slow|slowed down", "slow", "slower", "slowmo",
              "[slow] [down] half speed", "half as fast"),
             lambda _: _speed(0.5)),
        Rule("slower 3×", "A third of the speed; down to a tenth.",
             ("slow|slower|slowed [down] {n} [x|times]", "{n} x|times slower|slow", "twice slow|slower"),
             lambda said: _slower(said.number(2))),
        Rule("double speed", "Twice the speed.",
             ("double|twice speed", "speed|sped up", "fast motion", "fast|faster|quicker", "double fast",
              "twice [as] fast", "fast forward"),
             lambda _: _speed(2)),
        Rule("faster 4×", "So many times the speed; up to ten.",
             ("fast|faster [{n}] [x|times]", "speed|sped up {n} [x|times]", "{n} x|times faster|fast|speed",
              "speed {n} [x|times]"),
             lambda said: _speed(said.number(2))),
        Rule("loop 3 times", "Plays it over and over, 2 to 20 times.",
             ("loop|looped|repeat|repeated|play {n} [x|times]", "loop|looped|repeat|repeated"),
             lambda said: _loop(said.number(2))),
        Rule("trim to the first 2 seconds", "Keeps the start and drops the rest.",
             (f"trim|keep|only|shorten|cut first {{n}} {_SECONDS}", f"first {{n}} {_SECONDS} only",
              f"trim|shorten|cut {{n}} {_SECONDS}"),
             lambda said: _trim(said, "first", keep=True)),
        Rule("trim to the last 2 seconds", "Keeps the end.",
             (f"trim|keep|only|shorten|cut last {{n}} {_SECONDS}", f"last {{n}} {_SECONDS} only"),
             lambda said: _trim(said, "last", keep=True)),
        Rule("remove the first 2 seconds", "Drops the start.",
             (f"remove|drop|skip|delete first {{n}} {_SECONDS}", f"cut|trim off first {{n}} {_SECONDS}"),
             lambda said: _trim(said, "first", keep=False)),
        Rule("remove the last 2 seconds", "Drops the end.",
             (f"remove|drop|skip|delete last {{n}} {_SECONDS}", f"cut|trim off last {{n}} {_SECONDS}"),
             lambda said: _trim(said, "last", keep=False)),
    ),
    "Colour": (
        Rule("black and white", "Takes the colours out; `grayscale` too.",
             ("black and white", "b and w", "black white", "grayscale|greyscale|monochrome|desaturate|desaturated"),
             lambda _: Gray()),
        Rule("sepia", "The browns of old photographs.", ("sepia [tone|toned]",), lambda _: Sepia()),
        Rule("warmer", "More red and yellow.",
             ("[{how}] warmer|warm [colors|colours|tones]",),
             lambda said: Tone("warmth", said.how)),
        Rule("cooler", "More blue.",
             ("[{how}] cooler|cool|colder|cold [colors|colours|tones]",),
             lambda said: Tone("warmth", -said.how)),
        Rule("brighter", "More light.",
             ("[{how}] brighter|bright|lighter|brighten", f"[{{how}}] {_MORE} brightness|light"),
             lambda said: Tone("brightness", said.how)),
        Rule("darker", "Less light.",
             ("[{how}] darker|dark|dimmer|dim|darken", f"[{{how}}] {_LESS} brightness|light"),
             lambda said: Tone("brightness", -said.how)),
        Rule("more contrast", "Pulls light and dark apart.",
             (f"[{{how}}] {_MORE}|high contrast",),
             lambda said: Tone("contrast", said.how)),
        Rule("less contrast", "Brings them together.",
             (f"[{{how}}] {_LESS}|low contrast",),
             lambda said: Tone("contrast", -said.how)),
        Rule("more saturated", "Stronger colours.",
             (f"[{{how}}] {_MORE} saturated|saturation|colorful|colourful|vivid|color|colour", "saturate",
              "[{how}] vivid|colorful|colourful|saturated"),
             lambda said: Tone("saturation", said.how)),
        Rule("less saturated", "Paler colours.",
             (f"[{{how}}] {_LESS} saturated|saturation|colorful|colourful|vivid|color|colour", "[{how}] paler|pale"),
             lambda said: Tone("saturation", -said.how)),
        Rule("negative", "Each colour for its opposite.",
             ("negative", "invert|inverted [colors|colours]"), lambda _: Invert()),
    ),
    "Frame": (
        Rule("crop to square", "Keeps the middle.",
             ("[crop|cropped] square [crop|format]",), lambda _: Crop(1, 1)),
        Rule("crop to vertical", "9:16, for phones.",
             ("[crop|cropped] vertical|portrait [crop|format]",), lambda _: Crop(9, 16)),
        Rule("crop to widescreen", "16:9.",
             ("[crop|cropped] widescreen|landscape|horizontal [crop|format]",), lambda _: Crop(16, 9)),
        Rule("crop to 4:3", "Any shape from 1:4 to 4:1.",
             ("[crop|cropped] {ratio} [crop|format]",), lambda said: _crop(*said.ratio)),
        Rule("rotate 90", "Clockwise, by 90, 180 or 270 degrees; `left` for the other way.",
             ("rotate|rotated {n} [degrees] [clockwise|right]", "turn {n} degrees [clockwise|right]",
              "rotate|rotated [right]"),
             lambda said: _turn(said.number(90))),
        Rule("rotate left", "A quarter turn the other way.",
             ("rotate|rotated [{n}] [degrees] left|counterclockwise|anticlockwise",
              "rotate|rotated [{n}] [degrees] counter|anti clockwise"),
             lambda said: _turn(-said.number(90))),
        Rule("upside down", "Half a turn.", ("[turn|rotate|flip] upside down",), lambda _: _turn(180)),
        Rule("mirror", "Left for right; `flip` too.",
             ("flip|flipped|mirror|mirrored [horizontally|horizontal]",), lambda _: Mirror("horizontal")),
        Rule("flip vertically", "Top for bottom.",
             ("flip|flipped|mirror|mirrored vertically|vertical",), lambda _: Mirror("vertical")),
    ),
    "Finish": (
        Rule("blur", "Out of focus.",
             ("[{how}] blur|blurry|blurred|blurrier", "soft focus"), lambda said: Blur(said.how)),
        Rule("sharpen", "Crisper edges.",
             ("[{how}] sharpen|sharper|sharp|crisper",), lambda said: Sharpen(said.how)),
        Rule("vignette", "Dark corners.", ("[{how}] vignette|vignetting", "dark corners"), lambda _: Vignette()),
        Rule("film grain", "Noise, the same for the same seed.",
             ("[{how}] [film] grain|grainy|noise|noisy",), lambda said: Grain(said.how)),
        Rule("fade in", "From black, over 1 second or as long as is said: `fade in 2 seconds`.",
             (f"fade in [{{n}}] [{_SECONDS}]", f"fade [in] from black [{{n}}] [{_SECONDS}]"),
             lambda said: _fade(said, "in")),
        Rule("fade out", "To black.",
             (f"fade out [{{n}}] [{_SECONDS}]", f"fade [out] to black [{{n}}] [{_SECONDS}]"),
             lambda said: _fade(said, "out")),
        Rule("fade in and out", "Both.",
             (f"fade in and out [{{n}}] [{_SECONDS}]",), lambda said: _fade(said, "in", "out")),
        Rule('caption "Hello"', "Writes it at the bottom, on a dark band over what the clip has there.",
             (f"{_CAPTION} [saying|reading|says] {{text}} [bottom]",
              f"{_CAPTION} [bottom] [saying|reading|says] {{text}}"),
             lambda said: _caption(said, "bottom")),
        Rule('caption "Hello" at the top', "Writes it there, below the mark of our own clips.",
             (f"{_CAPTION} [saying|reading|says] {{text}} top", f"{_CAPTION} top [saying|reading|says] {{text}}"),
             lambda said: _caption(said, "top")),
    ),
    "Sound": (
        Rule("mute", "Drops the sound.",
             ("mute|muted|silent|silence", "no|without|remove|drop|delete|strip sound|audio|music"),
             lambda _: Mute()),
    ),
}
# fmt: on

_FORMS = [(rule, form.split()) for rules in GRAMMAR.values() for rule in rules for form in rule.forms]

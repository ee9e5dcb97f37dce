"""Fonts and measures: which font has the letters of a text, and where its lines are broken.

The built-in font knows Latin script. For others a font of the machine is used where there is one.
"""

from functools import cache

from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont

_OTHERS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "Arial Unicode.ttf", "msyh.ttc")
_TRIED = 24
"""The size at which letters are looked for."""


def font_for(text: str, size: int) -> tuple[Font, set[str]]:
    """The first font with all letters of a text, or else the one that lacks the fewest; and the letters it lacks."""
    letters = {letter for letter in text if not letter.isspace()}
    lacks = [(name, lacking(letters, name)) for name in ("", *_OTHERS) if _font(name, _TRIED)]
    name, missing = min(lacks, key=lambda each: len(each[1]))
    return built_in(size) if not name else _font(name, size) or built_in(size), missing


def lacking(letters: set[str], name: str = "") -> set[str]:
    """The letters that a font, by default the built-in one, has no shape for."""
    return {letter for letter in letters if not _has(name, letter)}


@cache
def built_in(size: int) -> Font:
    font = ImageFont.load_default(size)
    if not isinstance(font, Font):
        raise ImportError("Pillow was built without FreeType.")
    return font


def broken(text: str, font: Font, width: float) -> list[str]:
    """A text in lines of at most this width, but for words that are wider."""
    lines = [""]
    for piece in _pieces(text):
        if not lines[-1] or font.getlength((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.strip() for line in lines]


def _pieces(text: str) -> list[str]:
    """Where a line may be broken: after spaces, and after any character of a script without them."""
    pieces = [""]
    for character in " ".join(text.split()):
        pieces[-1] += character
        if character == " " or character >= "\u2e80":
            pieces.append("")
    return pieces


@cache
def _font(name: str, size: int) -> Font | None:
    try:
        return ImageFont.truetype(name, size) if name else built_in(size)
    except OSError:
        return None


@cache
def _has(name: str, letter: str) -> bool:
    """A font draws the same box for all letters that it lacks."""
    font = _font(name, _TRIED)
    return font is not None and letter.isprintable() and _shape(font, letter) != _shape(font, "\U0010fffe")


def _shape(font: Font, letter: str) -> tuple[tuple[int, int], bytes]:
    left, top, right, bottom = map(round, font.getbbox(letter))
    image = Image.new("L", (max(1, right - left), max(1, bottom - top)))
    ImageDraw.Draw(image).text((-left, -top), letter, font=font, fill=255)
    return image.size, image.tobytes()

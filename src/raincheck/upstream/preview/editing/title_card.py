"""The caption of an edit: words → a transparent picture of a video's size; drawn here, so that no filter reads them.

It keeps clear of what is written into our own clips (`lettering`): at the top it stands below their mark, at the
bottom on a dark band over their captions.
"""

from pathlib import Path

from PIL import Image, ImageDraw

from raincheck.upstream.preview.job import Cue
from raincheck.upstream.preview.letters import Font, broken, font_for

_SMALLEST = 8
_CLEAR = 0.1
"""The share of the shorter side that the mark at the top takes."""
_BAND = 0.2
"""The same for two lines of a caption at the bottom."""

_DARK = (0, 0, 0, 225)


class Undrawable(Exception):
    """No font has a shape for some character; the message names it."""


def draw_title(cue: Cue, to: Path) -> None:
    """Write a PNG of the cue. Raises Undrawable."""
    picture = Image.new("RGBA", (cue.width, cue.height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    font, lines = _fitted(cue)
    text = "\n".join(lines)
    edge = max(1, round(font.size / 14))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), text, font=font, align="center", stroke_width=edge)
    short = min(cue.width, cue.height)
    x = (cue.width - (right - left)) / 2 - left
    if cue.at_top:
        y = round(_CLEAR * short) - top
    else:
        margin = short // 25
        band = max(round(_BAND * short), round(bottom - top) + 2 * margin)
        pen.rectangle((0, cue.height - band, cue.width, cue.height), fill=_DARK)
        y = cue.height - (band + bottom - top) / 2 - top
    pen.multiline_text((x, y), text, font=font, align="center", fill="white", stroke_width=edge, stroke_fill=_DARK)
    picture.save(to)


def _fitted(cue: Cue) -> tuple[Font, list[str]]:
    """The largest size, from a twelfth of the shorter side down, at which the words take a third of the picture."""
    size = max(_SMALLEST, min(cue.height, cue.width) // 12)
    while True:
        font, missing = font_for(cue.text, size)
        if missing:
            raise Undrawable(f"No font on the server has a shape for: {' '.join(sorted(missing)[:5])}")
        lines = broken(cue.text, font, cue.width * 0.92)
        wide = max(font.getlength(line) for line in lines)
        if size <= _SMALLEST or (len(lines) * size * 1.3 <= cue.height / 3 and wide <= cue.width * 0.95):
            return font, lines
        size -= max(1, size // 10)

"""Words in the picture: the shot's caption, the mark that says what this is, the line that shows how far it is.

Where no font has all the letters, what can be drawn is drawn, and a caption that would lose most of them is left out.
"""

import unicodedata
from functools import cache

from PIL import Image, ImageDraw

from raincheck.upstream.preview.drawing.storyboard import Plan
from raincheck.upstream.preview.letters import Font, broken, built_in, font_for, lacking


class Lettering:
    """Draws on finished frames of one size."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        width, height = plan.size
        self._unit = min(width, height) / 480
        self._mark = _label(f"preview · seed {plan.seed}", max(10.0, 13 * self._unit), width * 0.6, 0.75)

    def draw(self, frame: Image.Image, number: int, captions: list[tuple[str, float]]) -> None:
        """Captions come each with its opacity."""
        width, height = frame.size
        edge = round(14 * self._unit)
        if self._mark:
            frame.paste(self._mark, (width - self._mark.width - edge, edge), self._mark)
        for caption, opacity in captions:
            label = _label(caption, 21 * self._unit, width * 0.9, 1.0)
            if label and opacity > 0:
                mask = label.getchannel("A").point([round(level * min(1.0, opacity)) for level in range(256)])
                frame.paste(label, ((width - label.width) // 2, height - label.height - 2 * edge), mask)
        self._line(frame, number)

    def _line(self, frame: Image.Image, number: int) -> None:
        """Of the clip, or of the extension that the frame belongs to: what came before must not change."""
        for frames in self._plan.parts:
            if number < frames:
                break
            number -= frames
        else:
            return
        width, height = frame.size
        thick = max(2, round(3 * self._unit))
        done = round(width * (number + 1) / frames)
        shade = frame.crop((0, height - thick, width, height)).point([level * 5 // 10 for level in range(256)] * 3)
        shade.paste((255, 255, 255), (0, 0, done, thick))
        strip = frame.crop((0, height - thick, width, height))
        frame.paste(Image.blend(strip, shade, 0.55), (0, height - thick))


@cache
def _label(text: str, size: float, width: float, opacity: float) -> Image.Image | None:
    """White letters with a soft shadow, at most two lines; None when there is nothing that can be drawn."""
    if size < 5:
        return None
    font, drawable = _legible(" ".join(text.split()), max(6, round(size)))
    if not drawable:
        return None
    lines = _two_lines(drawable, font, width)
    pad = max(2, round(size / 3))
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), lines, font=font, align="center")
    image = Image.new("RGBA", (round(right - left) + 2 * pad, round(bottom - top) + 2 * pad))
    at, shadow = (pad - left, pad - top), max(1, round(size / 14))
    pen = ImageDraw.Draw(image)
    for dx, dy, dark in ((0, 0, 70), (shadow, shadow, 150), (-shadow, shadow, 60), (shadow, -shadow, 60)):
        fill = (0, 0, 0, round(dark * opacity))
        layer = Image.new("RGBA", image.size)
        ImageDraw.Draw(layer).multiline_text((at[0] + dx, at[1] + dy), lines, font=font, align="center", fill=fill)
        image.alpha_composite(layer)
    letters = Image.new("RGBA", image.size)
    white = (255, 255, 255, round(255 * opacity))
    ImageDraw.Draw(letters).multiline_text(at, lines, font=font, align="center", fill=white)
    image.alpha_composite(letters)
    return image


def _two_lines(text: str, font: Font, width: float) -> str:
    """One line or two, the rest given up with an ellipsis."""
    lines = broken(text, font, width)
    shown, cut = lines[:2], len(lines) > 2
    for n, line in enumerate(shown):
        while line and font.getlength(line) > width:
            cut, line = True, line[:-1]  # noqa: PLW2901
        shown[n] = line
    return "\n".join(shown) + ("…" if cut else "")


def _legible(text: str, size: int) -> tuple[Font, str]:
    """A font that has every letter, or the built-in one with the letters that it has."""
    font, missing = font_for(text, size)
    if not missing:
        return font, text
    plain = unicodedata.normalize("NFKD", text)
    missing = lacking({*plain} - {" "})
    kept = "".join(one for one in plain if one not in missing)
    is_most = 2 * len(kept.replace(" ", "")) >= len(text.replace(" ", ""))
    return built_in(size), " ".join(kept.split()) if is_most else ""

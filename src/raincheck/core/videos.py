"""What every dialect's call for a video becomes, and what every upstream's answer does: the one video domain.

`VideoAsk` is the payload of `video.generation`, `video.edit` and `video.extension`; `VideoAnswer` is their result,
whose files are output attachments.
"""

import re
from typing import Any, Literal, get_args

import msgspec

from raincheck.core.errors import BadInput

AspectRatio = Literal["1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3"]
Resolution = Literal["480p", "720p", "1080p"]
ASPECT_RATIOS: tuple[AspectRatio, ...] = get_args(AspectRatio)
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)
_SIZE = re.compile("([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")

VIDEO = "video.mp4"
THUMBNAIL = "thumbnail.webp"
SPRITESHEET = "spritesheet.webp"
"""The names of output attachments. An upstream may call its video otherwise, as in `video.webm`: a request's video is
its first output whose content type begins with `video/`."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an input is: exactly one of the two is set."""

    url: str | None = None
    """http or https. (What came inside a call, as a data URI or a part, is an attachment.)"""
    attachment: str | None = None
    """The name of an input attachment of the same request."""


class VideoAsk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The payload. What nobody asked for is left to the upstream."""

    model: str
    prompt: str = ""
    seconds: float | None = None
    """How long the video shall play; of an extension, the part that is added."""
    size: str | None = None
    """Width and height in pixels, as in `1280x720`; then there is neither ratio nor resolution."""
    aspect_ratio: AspectRatio | None = None
    resolution: Resolution | None = None
    seed: int | None = None
    image: Source | None = None
    """The first frame."""
    reference_images: tuple[Source, ...] = ()
    video: Source | None = None
    """What to edit or to extend."""
    of: str | None = None
    """The request whose video that is, when it is one of ours."""
    user: str | None = None
    extra: dict[str, msgspec.Raw] = {}
    """Members that no dialect knows, for the upstream to understand."""


class VideoAnswer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="object", tag="video"):
    """The result. What the upstream did not say and nobody could measure is left out."""

    model: str
    """What made it, which need not be what was asked for."""
    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    seed: int | None = None
    usage: Any = None
    """A JSON object; a Raw is written as it is. Not `Raw | None`, which msgspec could write and not read back."""


def dimensions(ask: VideoAsk, *, shape: tuple[int, int] | None = None) -> tuple[int, int]:
    """Width and height in even pixels. What was not asked for follows `shape`, the input's, else it is 16:9 at 480p.

    Raises BadInput for a `size` that is none.
    """
    if ask.size is not None:
        if (found := _SIZE.fullmatch(ask.size)) is None:
            raise BadInput(f"size must be a width and a height as in 1280x720, not {ask.size!r}.", param="size")
        return _even(int(found[1])), _even(int(found[2]))
    if shape is not None and ask.aspect_ratio is None and ask.resolution is None:
        return _even(shape[0]), _even(shape[1])
    short = int((ask.resolution or "480p").removesuffix("p"))
    if ask.aspect_ratio is not None:
        across, down = map(int, ask.aspect_ratio.split(":"))
    else:
        across, down = shape or (16, 9)
    if across >= down:
        return _even(short * across / down), _even(short)
    return _even(short), _even(short * down / across)


def _even(length: float) -> int:
    """Common encodings halve the colours in both directions, so odd lengths do not work."""
    return max(2, round(length / 2) * 2)

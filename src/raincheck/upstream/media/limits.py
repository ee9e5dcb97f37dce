"""What an input may be."""

from dataclasses import dataclass

from raincheck.core.clock import SECOND
from raincheck.core.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaLimits:
    """The bounds of one input; see the settings `media.…`."""

    max_bytes: int = 512 << 20
    max_duration: int = 600 * SECOND
    """Microseconds a video may play."""
    max_pixels: int = 4096 * 4096
    """Of a picture, or of one frame of a video."""
    hosts: tuple[str, ...] = ()
    """Hosts, addresses and networks that may be fetched from though they are private."""

    @classmethod
    def of(cls, settings: Settings) -> "MediaLimits":
        return cls(
            max_bytes=settings.media_max_bytes,
            max_duration=settings.media_max_duration,
            max_pixels=settings.media_max_pixels,
            hosts=settings.media_hosts,
        )


def show_size(size: int) -> str:
    """A number of bytes for people, as in `512 MiB`."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{round(size / unit, 1):g} {name}"
    return f"{size} bytes"

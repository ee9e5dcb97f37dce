"""How the renderer writes video: the options of its one encoding and container, and ffmpeg's command line for a run."""

from raincheck.upstream.media.ffmpeg import program

H264 = (
    *("-c:v", "libx264", "-profile:v", "high", "-preset", "veryfast", "-crf", "21", "-threads", "1"),
    *("-pix_fmt", "yuv420p", "-flags:v", "+bitexact"),
)
MP4 = ("-fflags", "+bitexact", "-movflags", "+faststart+use_metadata_tags", "-f", "mp4")


class NoFfmpeg(Exception):
    """There is none to run."""


def command(*arguments: str) -> list[str]:
    """Nobody's words may stand on it: everyone on the machine can read it."""
    ffmpeg = program()
    if ffmpeg is None:
        raise NoFfmpeg('There is no ffmpeg: pip install "raincheck[preview]".')
    return [ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "error", "-y", *arguments]
